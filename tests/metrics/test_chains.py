"""Effective size: AR(1) in closed form, independent draws, stuck chains."""

import numpy as np
import pytest
from numpy.typing import NDArray

from jembench.metrics.chains import effective_size


def autoregressive(phi: float, m: int, t: int, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    x = np.empty((m, t))
    x[:, 0] = rng.normal(size=m)
    for s in range(1, t):
        x[:, s] = phi * x[:, s - 1] + np.sqrt(1 - phi**2) * rng.normal(size=m)
    return x


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.6, 0.9])
def test_an_autoregression_is_worth_what_its_closed_form_says(phi: float) -> None:
    """1 + 2 sum phi^t = (1 + phi) / (1 - phi)."""
    traces = autoregressive(phi, 200, 200)
    assert traces.size / effective_size(traces) == pytest.approx((1 + phi) / (1 - phi), rel=0.15)


def test_chains_that_never_move_are_worth_one_draw_each() -> None:
    start = np.random.default_rng(0).normal(size=(50, 1))
    stuck = start + 1e-3 * np.random.default_rng(1).normal(size=(50, 20))
    assert effective_size(stuck) == pytest.approx(50, rel=0.15)


def test_scale_and_place_do_not_matter() -> None:
    traces = autoregressive(0.5, 10, 30)
    assert effective_size(3 * traces - 7) == pytest.approx(effective_size(traces))


def test_constant_chains_have_nothing_to_tell() -> None:
    assert effective_size(np.ones((3, 5))) == 15


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="at least 2 chains and 4 times, got 1 and 9"):
        effective_size(np.ones((1, 9)))
    with pytest.raises(ValueError, match="NaN"):
        effective_size(np.full((4, 5), np.nan))
