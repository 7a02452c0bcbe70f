"""Precision and recall are torch-fidelity's, density and coverage their definitions'; intervals cover."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from jembench.metrics import neighbours
from jembench.metrics.estimate import Estimate
from jembench.metrics.manifold import density_coverage, precision_recall, reaches, recall

CASES = ["random", "apart", "n < dimension", "equal sets", "constant columns", "shared points"]


def sets(case: str) -> tuple[np.ndarray, np.ndarray]:
    """(samples, reals)."""
    rng = np.random.default_rng(0)
    d = 100 if case == "n < dimension" else 4
    y, x = rng.normal(0.3, 0.8, (70, d)), rng.normal(size=(60, d))
    if case == "apart":
        y = y + 100
    if case == "equal sets":
        y = x.copy()
    if case == "constant columns":
        y[:, 0] = x[:, 0] = 2.0
    if case == "shared points":
        y[:20] = x[:20]
        y[30:35] = y[30]
    return y, x


@pytest.mark.parametrize("block", [1, 64, 1 << 22])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 3])
def test_they_are_torch_fidelitys(case: str, k: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    y, x = sets(case)
    theirs = prc_features_to_metric(torch.from_numpy(y), torch.from_numpy(x), prc_neighborhood=k, verbose=False)
    ours = precision_recall(y, x, k=k)
    assert (ours.precision.value, ours.recall.value) == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-6)


@pytest.mark.parametrize("block", [1, 64, 1 << 22])
@pytest.mark.parametrize("case", CASES)
def test_density_and_coverage_are_their_definitions(case: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point by point."""
    monkeypatch.setattr(neighbours, "BLOCK", block)
    y, x = sets(case)
    to = np.sqrt(np.square(x[:, None] - y[None]).sum(axis=2))
    own = np.sort(np.sqrt(np.square(x[:, None] - x[None]).sum(axis=2)), axis=1)[:, 5]
    held = to <= own[:, None] + 1e-9
    found = density_coverage(y, x, rng=np.random.default_rng(0))
    assert found.density.value == pytest.approx(held.sum() / (5 * len(y)))
    assert found.coverage.value == pytest.approx(held.any(axis=1).mean())
    assert reaches(x) == pytest.approx(own, rel=1e-9)
    assert density_coverage(y, x, rng=np.random.default_rng(0), reach=reaches(x)) == found
    assert recall(y, x) == precision_recall(y, x).recall


def test_laws() -> None:
    """One law: density about 1. Apart: all 0. Dropped modes: recall and coverage fall, precision does not."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1000, 3)), rng.normal(size=(1000, 3))
    assert density_coverage(y, x, rng=rng).density.value == pytest.approx(1, abs=0.06)
    far = precision_recall(y + 50, x)
    assert (far.precision.value, far.recall.value) == (0, 0)
    assert density_coverage(y + 50, x, rng=rng).coverage.value == 0
    modes = rng.integers(0, 2, 1000)[:, None] * 20.0
    half = precision_recall(y, x + modes)
    assert half.precision.value > 0.9
    assert half.recall.value == pytest.approx(0.5, abs=0.1)
    assert density_coverage(y, x + modes, rng=rng).coverage.value == pytest.approx(0.5, abs=0.06)


def conditional(sets_drawn: int, scale: float) -> dict[str, float]:
    """Shares of intervals that hold the mean over draws of the set that they are conditional on."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(120, 3)), rng.normal(0, scale, (100, 3))
    found: dict[str, list[Estimate]] = {"precision": [], "recall": [], "density": [], "coverage": []}
    for _ in range(sets_drawn):
        fresh = rng.normal(0, scale, (100, 3))
        found["precision"].append(precision_recall(fresh, x).precision)
        both = density_coverage(fresh, x, rng=rng)
        found["density"].append(both.density)
        found["coverage"].append(both.coverage)
    truth = {name: float(np.mean([e.value for e in each])) for name, each in found.items() if each}
    for _ in range(sets_drawn):  # reals against the one set of samples
        found["recall"].append(precision_recall(y, rng.normal(size=(120, 3))).recall)
    truth["recall"] = float(np.mean([e.value for e in found["recall"]]))
    return {name: float(np.mean([_holds(e, truth[name]) for e in each])) for name, each in found.items()}


def _holds(e: Estimate, truth: float) -> bool:
    return (e.low is None or e.low <= truth) and (e.high is None or truth <= e.high)


@pytest.mark.parametrize("scale", [0.7, 1.0])
def test_the_intervals_cover(scale: float) -> None:
    """150 sets each; coverage's jackknife is conservative."""
    assert min(conditional(150, scale).values()) >= 0.89


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.4, 0.7, 1.0, 1.5])
def test_the_intervals_cover_at_length(scale: float) -> None:
    """1,000 sets each. Wilson's interval dips to .89 for a precision near 1, as of any share."""
    shares = conditional(1000, scale)
    print(f"manifold scale {scale}: {shares}")  # noqa: T201
    assert min(shares.values()) >= (0.87 if scale < 0.5 else 0.92)


X = np.random.default_rng(0).normal(size=(8, 3))
RNG = np.random.default_rng(0)


def test_malformed_inputs_are_refused(refused: Callable[..., None]) -> None:
    refused("features need at least 4 examples for neighbour 3, got 3", precision_recall, X[:3], X)
    refused("reference need at least 6 examples", density_coverage, X, X[:5], rng=RNG)
    refused("k must be at least 1", precision_recall, X, X, k=0)
    refused("NaN", precision_recall, X * np.nan, X)
    refused("3 dimensions, reference 2", density_coverage, X, X[:, :2], rng=RNG)
