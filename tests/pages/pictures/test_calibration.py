"""Reliability diagrams: what is drawn is what the bins hold."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from jembench.metrics.reliability import reliability
from jembench.pages.pictures import calibration
from jembench.pages.pictures.calibration import Predictions, of_examples, reliability_diagram


def predictions(seed: int, n: int = 400) -> Predictions:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.2, 1, n)
    return Predictions(confidence, rng.random(n) < confidence)


def test_points_intervals_and_counts_are_those_of_the_bins(legible: Callable[..., Figure]) -> None:
    models = {f"m{i}": {"raw": predictions(i), "vector": predictions(10 + i)} for i in range(5)}
    figure = legible(reliability_diagram(models, head="models · digits-v1", bins=10))
    shown = [axis for axis in figure.axes if axis.axison]
    uppers = [axis for axis in shown if axis.get_title(loc="left")]
    assert [axis.get_title(loc="left") for axis in uppers] == list(models)
    assert len(shown) == 2 * len(models)
    lowers = [axis for axis in shown if axis not in uppers]
    for upper, lower, series in zip(uppers, lowers, models.values(), strict=True):
        lines = {line.get_label(): line for line in upper.lines if not str(line.get_label()).startswith("_")}
        bars = iter(lower.patches)
        segments = [path for part in upper.collections for path in part.get_segments()]
        for name, given in series.items():
            found = reliability(*given, bins=10)
            assert lines[name].get_xdata().tolist() == [b.confidence for b in found]
            assert lines[name].get_ydata().tolist() == [b.accuracy for b in found]
            assert [next(bars).get_height() + calibration.BASE for _ in found] == [b.examples for b in found]
            for b in found:
                segment = segments.pop(0)
                np.testing.assert_allclose(segment, [[b.confidence, b.low], [b.confidence, b.high]])
        assert next(bars, None) is None
        assert lower.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["raw", "vector"]


def test_one_name_has_one_colour_in_all_panels() -> None:
    figure = reliability_diagram(
        {"a": {"raw": predictions(0), "vector": predictions(1)}, "b": {"vector": predictions(2)}}
    )
    colours = [line.get_color() for axis in figure.axes for line in axis.lines if line.get_label() in ("raw", "vector")]
    assert colours[1] == colours[2] != colours[0]


def test_certain_predictions_and_a_single_example_can_be_drawn() -> None:
    figure = reliability_diagram(
        {"sure": {"raw": Predictions(np.ones(20), np.ones(20))}, "one": {"raw": Predictions([0.4], [0])}}
    )
    lower = figure.axes[2]
    assert lower.get_ylim()[0] == calibration.BASE
    assert lower.get_ylim()[1] > 20


def test_nothing_to_draw_is_said() -> None:
    for models in ({}, {"m": {}}):
        with pytest.raises(ValueError, match="at least one model"):
            reliability_diagram(models)


def test_the_predictions_of_a_result() -> None:
    """Of the test split alone; a vector's correctness by its own predictions; older results have the raw ones."""
    columns = {
        "source": np.array(["validation", "test", "test"]),
        "label": np.array([0, 1, 2]),
        "prediction": np.array([0, 1, 1]),
        "confidence": np.array([0.5, 0.6, 0.7]),
    }
    found = of_examples(columns)
    assert list(found) == ["raw"]
    assert np.asarray(found["raw"].confidence).tolist() == [0.6, 0.7]
    assert np.asarray(found["raw"].correct).tolist() == [True, False]
    twins = {
        "temperature_confidence": np.array([0.5, 0.8, 0.9]),
        "vector_confidence": np.array([0.1, 0.2, 0.3]),
        "vector_prediction": np.array([0, 0, 2]),
    }
    found = of_examples({**columns, **twins})
    assert list(found) == ["raw", "temperature", "vector"]
    assert np.asarray(found["temperature"].correct).tolist() == [True, False]
    assert np.asarray(found["vector"].correct).tolist() == [False, True]
