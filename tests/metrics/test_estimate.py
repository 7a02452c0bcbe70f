"""An estimate is a value: immutable, comparable."""

import dataclasses

import pytest

from jembench.metrics.estimate import Estimate


def test_estimates_are_values() -> None:
    """Equal content is equal, and nothing can be changed afterwards."""
    estimate = Estimate(0.5, 0.4, 0.6, "wilson")
    assert estimate == Estimate(0.5, 0.4, 0.6, "wilson")
    with pytest.raises(dataclasses.FrozenInstanceError):
        estimate.value = 1.0  # type: ignore[misc]
