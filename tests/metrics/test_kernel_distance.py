"""Kernel distance: torch-fidelity's values, the U-statistic pair by pair, and coverage of its interval."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_kid import kid_features_to_metric

from jembench.metrics import kernel_distance as module
from jembench.metrics.estimate import Estimate
from jembench.metrics.kernel_distance import kernel_distance_estimate


def by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / a.size + 1) ** 3)

    xx = np.mean([k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(len(y)) for j in range(len(y)) if i != j])
    return float(xx + yy - 2 * np.mean([k(a, b) for a in x for b in y]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(4, 9), st.integers(4, 12), st.integers(1, 6), st.integers(1, 40))
def test_it_is_the_u_statistic_for_any_block(seed: int, m: int, n: int, d: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(m, d)), rng.normal(0.5, 1, size=(n, d))
    expected = by_pairs(x, y)
    two = kernel_distance_estimate(x, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        one = kernel_distance_estimate(x, y)
    assert one.value == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (one.low, one.high) == pytest.approx((two.low, two.high), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("case", ["random", "n < dimension", "equal sets", "constant columns"])
def test_it_is_torch_fidelitys_of_one_subset_that_holds_all(case: str) -> None:
    rng = np.random.default_rng(0)
    d = 80 if case == "n < dimension" else 8
    x, y = rng.normal(size=(50, d)), rng.normal(0.3, 1.2, size=(50, d))
    y = x.copy() if case == "equal sets" else y
    if case == "constant columns":
        x[:, :3] = y[:, 2:4] = 1.0
    theirs = kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=1, kid_subset_size=50, verbose=False
    )["kernel_inception_distance_mean"]
    assert kernel_distance_estimate(x, y).value == pytest.approx(theirs, rel=1e-6, abs=1e-12)


def law(kind: str) -> Callable[[np.random.Generator, int, float], np.ndarray]:
    fixed = np.random.default_rng(7)
    weights, bias = fixed.normal(size=(10, 24)) / 3, fixed.normal(size=24) / 2
    if kind == "normal":
        return lambda rng, n, shift: rng.normal(shift, 1, (n, 4))
    return lambda rng, n, shift: np.maximum(rng.normal(shift, 1, (n, 10)) @ weights + bias, 0)


def cover(kind: str, m: int, n: int, shift: float, sets: int) -> float:
    """Share of sets whose interval holds the truth, which is the mean over 20 large sets."""
    rng, draw = np.random.default_rng(0), law(kind)

    def large() -> float:
        return kernel_distance_estimate(draw(rng, 1500, shift), draw(rng, 1500, 0.0)).value

    truth = float(np.mean([large() for _ in range(20)])) if shift else 0.0
    return float(
        np.mean([holds(kernel_distance_estimate(draw(rng, m, shift), draw(rng, n, 0.0)), truth) for _ in range(sets)])
    )


def holds(e: Estimate, truth: float) -> bool:
    return e.low is not None and e.high is not None and e.low <= truth <= e.high


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_the_interval_covers(shift: float) -> None:
    """250 sets; 3 standard errors around the bar."""
    assert cover("relu", 100, 80, shift, 250) >= 0.89


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("kind", ["normal", "relu"])
@pytest.mark.parametrize(("m", "n"), [(100, 100), (300, 150)])
def test_the_interval_covers_at_length(kind: str, m: int, n: int, shift: float) -> None:
    """1,000 sets: 92-98 %; conservative where the truth is 0, the edge of its scale."""
    share = cover(kind, m, n, shift, 1000)
    print(f"KID {kind} {m}, {n} shift {shift}: {share:.3f}")  # noqa: T201
    assert 0.92 <= share <= (0.985 if shift > 0.1 else 1.0)


def test_sets_without_spread() -> None:
    """Constant sets: the kernel's own distance and no interval; equal sets: the estimate holds 0."""
    flat = kernel_distance_estimate(np.ones((5, 2)), np.zeros((6, 2)))
    assert flat.value == pytest.approx(8 + 1 - 2)
    assert (flat.low, flat.high, flat.method) == (None, None, "none")
    x = np.random.default_rng(0).normal(size=(50, 3))
    assert holds(kernel_distance_estimate(x, x), 0.0)


X = np.random.default_rng(0).normal(size=(6, 3))


def test_malformed_inputs_are_refused(refused: Callable[..., None]) -> None:
    refused("at least 4 examples, got 3 and 6", kernel_distance_estimate, X[:3], X)
    refused("3 dimensions, the reference has 2", kernel_distance_estimate, X, X[:, :2])
    refused("NaN", kernel_distance_estimate, X * np.nan, X)
