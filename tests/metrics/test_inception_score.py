"""Inception score: torch-fidelity's value, closed forms, exact jackknife, and coverage of its interval."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from jembench.metrics.estimate import Estimate
from jembench.metrics.inception_score import inception_score_estimate


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def log_plug_in(p: np.ndarray) -> float:
    """torch-fidelity's log IS of probabilities `(N, K)`, all as one set: biased."""
    logits = torch.from_numpy(np.log(np.maximum(p, 1e-300)))
    return math.log(isc_features_to_metric(logits, splits=1, shuffle=False)["inception_score_mean"])


def test_closed_forms() -> None:
    """Certain and balanced: K. One answer for all: 1."""
    assert inception_score_estimate(np.tile(np.eye(10), (50, 1))).value == pytest.approx(10)
    same = inception_score_estimate(np.tile([0.2, 0.8], (7, 1)))
    assert (same.value, same.low, same.method) == (pytest.approx(1.0), None, "none")


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, 5.0, 60.0])
def test_it_is_the_jackknife_of_torch_fidelitys_score(scale: float) -> None:
    """Leaving out each sample in turn, the whole score computed anew, from constant to certain labels."""
    p = softmax(scale * np.random.default_rng(1).normal(size=(40, 6)))
    logs = [log_plug_in(np.delete(p, i, axis=0)) for i in range(40)]
    unbiased = min(max(40 * log_plug_in(p) - 39 * np.mean(logs), 0.0), math.log(6))
    assert math.log(inception_score_estimate(p).value) == pytest.approx(unbiased, rel=1e-9, abs=1e-9)


KINDS: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float | None]] = {
    "certain, balanced": (lambda rng, n: np.eye(10)[rng.integers(0, 10, n)], math.log(10)),
    "certain, two of ten": (lambda rng, n: np.eye(10)[(rng.random(n) < 0.3).astype(int)], None),
    "spread": (lambda rng, n: rng.dirichlet(np.full(10, 0.1), n), None),
    "vague": (lambda rng, n: softmax(0.5 * rng.normal(size=(n, 10))), None),
    "mixed": (lambda rng, n: softmax(rng.gamma(2, 3, (n, 1)) * np.eye(10)[rng.integers(0, 10, n)]), None),
}


def cover(kind: str, n: int, sets: int) -> float:
    draw, known = KINDS[kind]
    rng = np.random.default_rng(0)
    truth = math.exp(known if known is not None else log_plug_in(draw(rng, 500_000)))
    found = [inception_score_estimate(draw(rng, n)) for _ in range(sets)]
    return float(np.mean([_holds(e, truth) for e in found]))


def _holds(e: Estimate, truth: float) -> bool:
    return e.low is not None and e.high is not None and e.low - 1e-9 <= truth <= e.high + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_covers(kind: str) -> None:
    """200 sets of 200; conservative at the top of the scale."""
    assert cover(kind, 200, 200) >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 360])
@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_covers_at_length(kind: str, n: int) -> None:
    """1,000 sets; the bar is lower for 100 samples, whose entropy is skewed."""
    share = cover(kind, n, 1000)
    print(f"IS {kind} n {n}: {share:.3f}")  # noqa: T201
    assert share >= (0.92 if n > 100 else 0.89)


def test_the_plug_in_would_be_caught() -> None:
    """Planted bug: without the bias removed, 100 samples of 100 certain classes are a third short."""
    rng = np.random.default_rng(0)
    p = [np.eye(100)[rng.choice(100, 100, p=_zipf(100))] for _ in range(100)]
    truth = -float((_zipf(100) * np.log(_zipf(100))).sum())
    plain = np.mean([log_plug_in(each) for each in p])
    ours = np.mean([math.log(inception_score_estimate(each).value) for each in p])
    assert truth - plain > 0.25
    assert abs(truth - ours) < (truth - plain) / 2


def _zipf(k: int) -> np.ndarray:
    weights = 1 / (1 + np.arange(k))
    return weights / weights.sum()


P = np.full((4, 2), 0.5)


def test_malformed_inputs_are_refused(refused: Callable[..., None]) -> None:
    refused("sum to 1", inception_score_estimate, P * 0.9)
    refused("NaN", inception_score_estimate, P * np.nan)
    refused("at least 2 samples", inception_score_estimate, P[:1])
