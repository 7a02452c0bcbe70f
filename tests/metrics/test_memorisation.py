"""The test of memorisation is scipy's Mann-Whitney, level where nothing is copied, and finds planted copies."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

from jembench.metrics.memorisation import mann_whitney, memorisation
from jembench.metrics.neighbours import nearest

VALUES = st.lists(st.integers(0, 4).map(float) | st.floats(0, 9), min_size=1, max_size=30)


@given(VALUES, VALUES)
def test_z_is_scipys(y: list[float], x: list[float]) -> None:
    """One-sided p-value without correction for continuity, ties included."""
    z = mann_whitney(y, x)
    if len({*y, *x}) == 1:
        assert z is None
    else:
        expected = mannwhitneyu(y, x, alternative="less", method="asymptotic", use_continuity=False).pvalue
        assert z is not None
        assert norm.cdf(z) == pytest.approx(expected, abs=1e-9)


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


def test_both_tests_have_their_level_given_the_training_set() -> None:
    """Nothing copied: p below .05 in about .05 of 400 sets, and never often; cells change nothing of that."""
    rng = np.random.default_rng(0)
    p, q, r = [], [], []
    for _ in range(400):
        y, x = distances(rng, 0)
        cells = (rng.integers(0, 5, y.size), rng.integers(0, 5, x.size))
        plain, split = memorisation(y, x), memorisation(y, x, cells=cells)
        assert plain.p_value is not None
        assert split.p_value is not None
        p.append(plain.p_value < 0.05)
        q.append(split.p_value < 0.05)
        r.append(plain.copies_p_value < 0.05)
    assert 0.02 <= np.mean(p) <= 0.09
    assert 0.02 <= np.mean(q) <= 0.09
    assert np.mean(r) <= 0.08


def test_planted_copies_are_found() -> None:
    """Half of the samples: both tests. Eight of 150: the count alone."""
    half = memorisation(*distances(np.random.default_rng(1), 75))
    assert half.z is not None
    assert half.z < -5
    assert half.nearer.low is not None
    assert half.nearer.low > 0.6
    few = memorisation(*distances(np.random.default_rng(1), 8))
    assert few.copies >= 8
    assert few.copies_p_value < 0.02
    assert few.p_value is not None
    assert few.p_value > 0.01


def test_cells_see_what_the_whole_does_not() -> None:
    """Copies in one cell, bad samples in another: the whole averages them out."""
    rng = np.random.default_rng(0)
    test, cell = rng.uniform(1, 2, 200), np.repeat([0, 1], 100)
    samples = np.where(cell == 0, rng.uniform(0, 0.1, 200), rng.uniform(1, 2, 200) + np.repeat([0.0, 0.0], 100))
    samples[100:] += np.where(np.arange(100) < 100, 1.5, 0.0)
    mixed = memorisation(samples, test)
    one = memorisation(samples[:100], test[:100], cells=(cell[:100], cell[:100]))
    assert mixed.z == pytest.approx(0, abs=0.1)
    assert one.z is not None
    assert one.z < -10
    weighted = memorisation(samples, test, cells=(cell, cell)).z
    other = mann_whitney(samples[100:], test[100:])
    assert other is not None
    assert weighted == pytest.approx((one.z + other) / np.sqrt(2))
    assert memorisation(samples, test, cells=(cell, cell + 2)).z is None


def test_malformed_inputs_are_refused() -> None:
    for call in (
        lambda: memorisation([], [1.0]),
        lambda: memorisation([1.0], [float("nan")]),
        lambda: memorisation([-1.0], [1.0]),
        lambda: memorisation([1.0], [1.0], cells=([0, 1], [0])),
        lambda: memorisation([1.0], [1.0], level=1.5),
    ):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            call()
