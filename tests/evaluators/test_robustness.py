"""The evaluator against the truth: closed forms on gauss, certificates below what attacks leave, metrics."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import integrate, stats

import jembench
from jembench import data
from jembench.attacks.defences import Defence
from jembench.choices import evaluators
from jembench.data import gauss
from jembench.data.sets import Grid


@pytest.fixture
def shorten(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that overrides the settings of every battery."""
    made = evaluators.battery

    def shorten(**changes: Any) -> None:
        monkeypatch.setattr(
            evaluators, "battery", lambda *arguments, **options: replace(made(*arguments, **options), **changes)
        )

    return shorten


def population(norm: str, eps: float) -> float:
    """P over the mixture that no class is within eps: with z the coordinates along the class patterns, in sigma,

    z_k < z_y + delta - c eps / sigma for all 9 others; c = sqrt 2 in L2, 8 in L-infinity, where ‖w_y - w_k‖_1 = 8.
    """
    shift = gauss.SEPARATION - (math.sqrt(2) if norm == "l2" else 8) * eps / gauss.SIGMA
    return integrate.quad(lambda z: stats.norm.pdf(z) * stats.norm.cdf(z + shift) ** 9, -10, 10)[0]


def test_the_oracle_is_as_robust_as_theory_says(tmp_path: Path, shorten: Any, nearest: Any) -> None:
    shorten(attacks=("square",), queries=100, restarts=3, sigma=0.05)
    result = jembench.evaluate("oracle", "robustness", track="gauss", output=tmp_path)
    for grid in data.track("gauss").threats:
        truth = nearest(grid.norm)
        assert result.metrics[f"test/{grid.norm}/reliable"].value == 1, result.metrics[
            f"test/{grid.norm}/reliable"
        ].reason
        frame = result.records("robustness")
        for eps in grid.eps:
            metric = result.metrics[f"test/{grid.norm}-{eps:g}/worst/robust_accuracy"]
            left = frame[f"{grid.norm}-{eps:g}/worst"].to_numpy() == 1
            assert not (~left & (truth > eps * 1.0001)).any()  # what cannot be broken is not
            assert (left & (truth < eps / 1.01)).sum() <= 1  # what can is, but for one image
            assert metric.low < population(grid.norm, eps) < metric.high
        distances = frame[f"{grid.norm}-{grid.headline:g}/distance"].to_numpy()
        broken = frame[f"{grid.norm}-{grid.headline:g}/worst"].to_numpy() == 0
        assert (distances[broken] >= truth[broken] / 1.0001).all()
    certified = [result.metrics[f"test/l2-{eps:g}/certified_accuracy"].value for eps in (0.03, 0.06, 0.1)]
    assert certified == sorted(certified, reverse=True)


def test_certified_is_at_most_empirical_for_the_same_smoothed_model(tmp_path: Path, shorten: Any) -> None:
    """And neither is trivial."""
    shorten(attacks=("square",), few=20, images=60, steps=10, copies=8, draws=25, surrogates=())
    options = jembench.Options(norms=("l2",), eps=(0.1, 0.25))
    result = jembench.evaluate(
        "softmax-adv", "robustness", defence=Defence.smoothing(0.2), options=options, limit=60, output=tmp_path
    )
    certificate, empirical = (
        [result.metrics[f"test/l2-{eps}/{name}"].value for eps in ("0.1", "0.25")]
        for name in ("certified_accuracy", "worst/robust_accuracy")
    )
    assert all(below <= above for below, above in zip(certificate, empirical, strict=True))
    assert certificate[0] > 0.3
    assert empirical[1] < 1


def test_a_defended_result_has_its_null_attack_and_its_costs(tmp_path: Path, shorten: Any) -> None:
    shorten(attacks=("square",), few=5, subset=10, images=20, queries=10, steps=3, surrogates=())
    result = jembench.evaluate("softmax", "robustness", defence=Defence(1), limit=20, output=tmp_path)
    names = set(result.metrics)
    for ball in ("linf-0.1", "l2-0.5"):
        for attack in ("pgd-none", "pgd-straight-through", "pgd-full", "square", "worst"):
            assert f"test/{ball}/{attack}/robust_accuracy" in names
            assert f"test/{ball}/{attack}/one_shot_accuracy" in names
        assert result.metrics[f"test/{ball}/gain"].value is not None
        full, none = (result.metrics[f"test/{ball}/pgd-{rung}/gradients"].value for rung in ("full", "none"))
        assert full > none > 0
        worst = result.metrics[f"test/{ball}/worst/robust_accuracy"]
        assert worst.n == {"test": 20}
        assert result.metrics[f"test/{ball}/square/robust_accuracy"].n == {"test": 5}
    assert {"test/clean/robust_accuracy", "test/clean/one_shot_accuracy"} <= names
    table = result.to_markdown()
    assert "PGD-3 × 2, EOT 4, 5 draws behind a verdict" in table
    assert "defences · digits-v1" in table


def test_a_worst_case_is_no_better_than_any_of_its_attacks(tmp_path: Path, shorten: Any) -> None:
    shorten(attacks=("square", "autoattack"), queries=50, grids=(Grid("linf", (0.05, 0.1), 0.1),), few=5)
    result = jembench.evaluate("glow-cond", "robustness", limit=12, output=tmp_path)
    frame = result.records("robustness")
    worst = frame["linf-0.1/worst"].to_numpy()
    for name in ("pgd", "square", "autoattack", "transfer"):
        assert (worst <= frame[f"linf-0.1/{name}"].to_numpy()).all()
    assert (worst <= frame["linf-0.05/worst"].to_numpy()).all()
    assert (frame["linf-0.1/distance"].to_numpy() <= 0.1 + 1e-6).all()
    assert result.metrics["test/linf-0.1/reject/robust_accuracy"].value >= 0


def test_a_model_without_logits_has_empty_cells(tmp_path: Path) -> None:
    result = jembench.evaluate("glow", "robustness", output=tmp_path)
    assert result.metrics["test/clean/robust_accuracy"].reason == "the model gives no logits"
    assert "the model gives no logits" in result.to_markdown()


@pytest.mark.parametrize("goal", ["targeted", "least-likely"])
def test_a_target_is_harder_to_reach_than_any_error(goal: str, tmp_path: Path, shorten: Any) -> None:
    shorten(attacks=("square",), queries=20, grids=(Grid("linf", (0.1,), 0.1),))
    values = []
    for options in (None, jembench.Options(norms=("linf",), goal=goal)):
        result = jembench.evaluate("softmax", "robustness", limit=40, options=options, output=tmp_path)
        values.append(result.metrics["test/linf-0.1/worst/robust_accuracy"].value)
    assert values[1] > values[0] + 0.2
