"""Class imbalance: half the distance of the shares from equal ones, and a band that holds balanced labels."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.metrics.class_balance import class_imbalance

RNG = np.random.default_rng(0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_it_is_what_too_frequent_classes_have_too_much(labels: list[int]) -> None:
    found = class_imbalance(labels, 6, rng=RNG, replicates=20)
    surplus = np.maximum(np.bincount(labels, minlength=6) / len(labels) - 1 / 6, 0)
    assert found.value == pytest.approx(surplus.sum())


def test_the_band_holds() -> None:
    """Balanced labels, 100 of 10 classes: outside the band in about .05 of 600 sets."""
    rng = np.random.default_rng(0)
    outside = []
    for _ in range(600):
        found = class_imbalance(rng.integers(0, 10, 100), 10, rng=rng, replicates=400)
        outside.append(not found.low <= found.value <= found.high)
    assert np.mean(outside) <= 0.08


def test_extremes() -> None:
    """Perfect balance: 0. One class of ten: .9, far above the band."""
    assert class_imbalance(np.arange(100) % 10, 10, rng=RNG).value == pytest.approx(0)
    one = class_imbalance(np.zeros(100, dtype=int), 10, rng=RNG)
    assert one.value == pytest.approx(0.9)
    assert one.high < 0.3


def test_malformed_inputs_are_refused(refused: Callable[..., None]) -> None:
    refused("non-empty", class_imbalance, [], 3, rng=RNG)
    refused("0..2", class_imbalance, [3], 3, rng=RNG)
    refused("integers", class_imbalance, [0.5], 3, rng=RNG)
    refused("at least 1", class_imbalance, [0], 0, rng=RNG)
