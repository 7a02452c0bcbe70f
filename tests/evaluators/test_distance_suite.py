"""Suite ``distance``: the paper's curve, held against the closed form on gauss."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import jembench
from jembench import data
from jembench.attacks.defences import Defence


def test_the_oracles_curve_is_the_closed_form(tmp_path: Path, nearest: Callable[[str], np.ndarray]) -> None:
    result = jembench.evaluate("oracle", "distance", track="gauss", limit=60, output=tmp_path)
    frame = result.records("distance")
    for grid in data.track("gauss").threats:
        truth, found = nearest(grid.norm)[:60], frame[f"{grid.norm}/distance"].to_numpy()
        assert (found >= truth * (1 - 1e-3) - 1e-6).all()
        assert (found <= truth * 1.02 + 1e-5).mean() > 0.97
        for eps in grid.eps:
            assert result.metrics[f"test/{grid.norm}-{eps:g}/accuracy_beyond"].value == (found > eps).mean()
        middle = result.metrics[f"test/{grid.norm}/median_distance"]
        assert middle.value == pytest.approx(np.sort(truth)[29], rel=0.03)
    assert "minimal distance L2 · gauss-v1" in result.to_markdown()


def test_behind_a_refinement(tmp_path: Path) -> None:
    options = jembench.Options(norms=("linf",), steps=3, restarts=1)
    result = jembench.evaluate("softmax", "distance", options=options, defence=Defence(1), limit=6, output=tmp_path)
    assert result.metrics["test/linf-0.4/accuracy_beyond"].value < 0.9


def test_a_model_without_logits_has_an_empty_cell(tmp_path: Path) -> None:
    result = jembench.evaluate("glow", "distance", output=tmp_path)
    assert result.metrics["test/linf/median_distance"].reason == "the model gives no logits"
