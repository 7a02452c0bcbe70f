"""Copies are counted exactly, seldom by chance, and planted ones are found."""

from collections.abc import Callable
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.metrics.memorisation import memorisation
from jembench.metrics.neighbours import nearest

VALUES = st.lists(st.integers(0, 4).map(float) | st.floats(0, 9), min_size=1, max_size=30)


@given(VALUES, VALUES)
def test_copies_are_counted_exactly(y: list[float], x: list[float]) -> None:
    """k below the nearest test image by chance: all orders in which the first k are samples."""
    found, k, m, total = memorisation(y, x), sum(v < min(x) for v in y), len(y), len(y) + len(x)
    assert found.copies == k
    assert found.copies_p_value == pytest.approx(comb(m, k) / comb(total, k))


def distances(rng: np.random.Generator, copied: int, m: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Of m samples, `copied` of them training images with a little noise, and of 120 test images."""
    train, test, samples = (rng.normal(size=(n, 4)) for n in (300, 120, m))
    samples[:copied] = train[:copied] + 0.01 * rng.normal(size=(copied, 4))
    return nearest(samples, train, 1)[1][:, 0], nearest(test, train, 1)[1][:, 0]


def test_the_count_has_its_level_given_the_training_set() -> None:
    """Nothing copied: p below .05 in at most about .05 of 400 sets."""
    rng = np.random.default_rng(0)
    assert np.mean([memorisation(*distances(rng, 0)).copies_p_value < 0.05 for _ in range(400)]) <= 0.08


def test_planted_copies_are_found() -> None:
    """Half of the samples: by the share that is nearer. Eight of 150: by the count alone."""
    half, few = (memorisation(*distances(np.random.default_rng(1), copied)) for copied in (75, 8))
    assert half.nearer.low > 0.6
    assert few.nearer.low < 0.5
    assert few.copies >= 8
    assert few.copies_p_value < 0.02


def test_malformed_inputs_are_refused(refused: Callable[..., None]) -> None:
    refused("non-empty", memorisation, [], [1.0])
    refused("NaN", memorisation, [1.0], [float("nan")])
    refused("negative", memorisation, [-1.0], [1.0])
