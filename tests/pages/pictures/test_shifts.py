"""Curves under shift: every point is a metric of the result, and what is missing is no line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from jembench.metrics.metric import Metric
from jembench.pages.pictures import shifts

KINDS = ("blur", "noise")
SEVERITIES = (1, 2, 3)


def calibrated(start: float) -> list[Metric]:
    """Metrics of suite calibration."""
    found = [Metric("ece15", "test", variant, start + k) for k, variant in enumerate(("raw", "temperature"))]
    for s in SEVERITIES:
        found += [Metric("accuracy", f"severity-{s}", "", start - s), Metric("accuracy", f"blur-{s}", "", 9.0)]
        found += [Metric("ece15", f"severity-{s}", v, start + 10 * s + k) for k, v in enumerate(("raw", "temperature"))]
    return found


def stressed(missing: bool = False) -> list[Metric]:
    """Metrics of suite ood."""
    found = [
        Metric("shift_auroc", f"{kind}-{s}", score, 0.5 + 0.1 * s + 0.02 * k)
        for score in ("log_px", "mass")
        for k, kind in enumerate(KINDS)
        for s in SEVERITIES
    ]
    if missing:
        found[1] = Metric("shift_auroc", "blur-2", "log_px", reason="NaN")
    return found


def lines(axis: Any) -> dict[str, list[float]]:
    return {f"{line.get_label()}": list(line.get_ydata()) for line in axis.lines if line.get_gid() is None}


def test_every_point_is_a_metric(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    """Two suites of one model are one line; severity 0 is the clean test split."""
    clean = Metric("accuracy", "test", "", 0.9)
    documents = [document("a", [clean, *calibrated(1.0)]), document("b", calibrated(2.0)), document("a", stressed())]
    figure = legible(shifts.shifts(documents))
    accuracy, ece, auroc = figure.axes
    assert lines(accuracy) == {"a": [0.9, 0.0, -1.0, -2.0], "b": [1.0, 0.0, -1.0]}
    assert list(accuracy.lines[0].get_xdata()) == [0, 1, 2, 3]
    assert list(accuracy.lines[1].get_xdata()) == [1, 2, 3]  # whose clean accuracy is not known
    assert lines(ece) == {"a": [1, 11, 21, 31], "b": [2, 12, 22, 32], "_a": [2, 12, 22, 32], "_b": [3, 13, 23, 33]}
    assert [line.get_linestyle() for line in ece.lines] == ["-", "-", "--", "--"]
    assert lines(auroc)["a"] == pytest.approx([0.5, 0.61, 0.71, 0.81])
    assert {line.get_color() for axis in figure.axes for line in axis.lines if "a" in str(line.get_label())[-1:]} == {
        accuracy.lines[0].get_color()
    }
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["a", "b", "ECE, raw", "ECE, temperature"]


def test_a_mean_over_kinds_needs_all_of_them(document: Callable[..., Any]) -> None:
    assert list(shifts.shift_aurocs(document("a", stressed(missing=True)))) == [0, 1, 3]
    assert shifts.shift_aurocs(document("a", calibrated(0.0))) == {}


def test_what_no_model_has_is_no_panel(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    figure = legible(shifts.shifts([document("glow", stressed())]))
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["clean against shifted, log p(x)"]
    missing = [Metric("accuracy", f"severity-{s}", reason="no logits") for s in SEVERITIES]
    assert shifts.shifts([document("glow", missing)]) is None


def estimates() -> list[Metric]:
    found = []
    for k, source in enumerate(("clean", "blur-1", "mixed-noise")):
        found.append(Metric("accuracy", source, "true", 0.9 - 0.1 * k, evaluator="unlabelled"))
        for j, method in enumerate(("atc", "energy", "other")):
            value = 0.8 - 0.1 * k - 0.01 * j
            ends = (value - 0.1, value + 0.05) if method == "atc" else (None, None)
            found.append(Metric("estimated_accuracy", source, method, value, *ends, evaluator="unlabelled"))
    found.append(Metric("mean_error", "shifts", "atc", 0.1234, evaluator="unlabelled"))
    return [*found, Metric("estimated_accuracy", "clean", "doc", reason="absent", evaluator="unlabelled")]


def test_estimates_stand_against_the_truth(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    atc, energy = legible(shifts.unlabelled(document("a", estimates()))).axes
    assert [atc.get_title(loc="left"), energy.get_title(loc="left")] == ["ATC", "energy (ours)"]
    shown = {line.get_label(): line for line in atc.lines}
    assert list(shown["clean and shifted"].get_xdata()) == [0.9, 0.8]
    assert list(shown["clean and shifted"].get_ydata()) == [0.8, 0.7000000000000001]
    assert list(shown["mixed with OOD images"].get_xdata()) == pytest.approx([0.7])
    segments = np.array([segment for part in atc.collections for segment in part.get_segments()])  # type: ignore[attr-defined]
    np.testing.assert_allclose(segments[0], [[0.9, 0.7], [0.9, 0.85]])
    assert [text.get_text() for text in atc.texts] == ["mean error 0.123"]


def test_without_the_evaluator_there_is_no_picture(document: Callable[..., Any]) -> None:
    assert shifts.unlabelled(document("a", calibrated(0.0))) is None
    others = [Metric("estimated_accuracy", "clean", "atc", 0.5, evaluator="another")]
    assert shifts.unlabelled(document("a", others)) is None
