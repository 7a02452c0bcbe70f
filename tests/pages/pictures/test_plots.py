"""Plots: every value of a run has its line, and words say what is shown."""

from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.figure import Figure

from jembench.metrics.metric import Metric
from jembench.pages.pictures import plots, style
from jembench.store import provenance
from jembench.store.history import Chosen, Epoch, History, Rollback, TrainingCost


def history(*epochs: dict[str, float | None], rollbacks: int = 0, chosen: int = 20) -> History:
    """A run of 40 iterations with a validation every ten."""
    return History(
        recipe="r",
        seed=0,
        iterations=40,
        parameters=7,
        chosen=Chosen(criterion="nll", iteration=chosen, value=0.5),
        rollbacks=[
            Rollback(iteration=15 + i, reason="the loss is nan", signals={}, back_to=10, change="learning rate x 0.3")
            for i in range(rollbacks)
        ],
        epochs=[Epoch(iteration=10 * i, values=values) for i, values in enumerate(epochs, start=1)],
        cost=TrainingCost(seconds=10.0, sampling_seconds=5.0, gradients=100, processes=1),
        environment=provenance.environment("cpu"),
    )


def test_the_curve_shows_every_value_rollback_and_the_choice(legible: Callable[..., Figure]) -> None:
    names = [name for panel in plots.PANELS.values() for name in panel]
    values = [{name: float(i + k) for k, name in enumerate(names)} for i in range(4)]
    figure = legible(plots.curve(history(*values, rollbacks=2), "jem"))
    assert figure.get_suptitle() == "jem · training seed 0 · recipe r · 40 iterations"
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes}
    assert list(panels) == list(plots.PANELS)
    for title, axis in panels.items():
        lines = [line for line in axis.lines if line.get_gid() != "mark"]
        assert [line.get_label() for line in lines] == list(plots.PANELS[title].values())
        for name, line in zip(plots.PANELS[title], lines, strict=True):
            x, y = line.get_data()
            assert list(x) == [10, 20, 30, 40]
            assert list(y) == [value[name] for value in values]
        marks = [(line.get_xdata()[0], line.get_linestyle()) for line in axis.lines if line.get_gid() == "mark"]
        assert marks == [(20, "-"), (15, "--"), (16, "--")]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["chosen checkpoint: 20, by nll", "rollback"]


def test_what_a_model_does_not_have_is_no_panel(legible: Callable[..., Figure]) -> None:
    figure = legible(plots.curve(history({"log_px": 1.0, "gap": None}, {"log_px": None, "gap": 2.0}), "jem"))
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes if axis.axison}
    assert list(panels) == ["log p(x), nats", "gap of log p(x), nats"]
    x, y = panels["gap of log p(x), nats"].lines[0].get_data()
    assert (list(x), list(y)) == ([20], [2.0])


def test_a_run_without_validation_says_so(legible: Callable[..., Figure]) -> None:
    assert legible(plots.curve(history(), "jem")).axes[0].get_title(loc="left") == "no validation"


@pytest.mark.parametrize(("values", "scale"), [([10, 41], "log"), ([10, 39], "linear"), ([0, -1], "linear")])
def test_a_scale_is_logarithmic_where_values_spread(values: list[float], scale: str) -> None:
    with plots.blank(3, 3) as (_, (axis,)):
        plots.spread(axis, "y", values)
    assert (axis.get_xscale(), axis.get_yscale()) == ("linear", scale)


@pytest.mark.parametrize(("value", "drawn"), [(5.0, (5.0, "o", [2.0, 9.0])), (0.5, (1.0, "v", [1.0, 9.0]))])
def test_a_point_has_its_interval_and_none_is_below_the_floor(value: float, drawn: object) -> None:
    low = 2.0 if value == 5 else -1.0
    with plots.blank(3, 3) as (_, (axis,)):
        plots.point(axis, 3.0, Metric("fd", "fresh", "", value, low, 9.0), style.look(0), floor=1.0)
    bar, mark = axis.lines
    assert (mark.get_ydata()[0], mark.get_marker(), list(bar.get_ydata())) == drawn
    plots.point(axis, 3.0, Metric("fd", "fresh"), style.look(0))
    assert len(axis.lines) == 2


def test_one_legend_names_everything_once() -> None:
    with plots.blank(4, 3, (1, 2)) as (figure, axes):
        for axis, names in zip(axes, (("a", "b"), ("b", "c")), strict=True):
            for name in names:
                axis.plot([0, 1], [0, 1], label=name)
        plots.legend(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_a_caption_says_of_what_and_by_which_protocols(document: Callable[..., Any]) -> None:
    """The model where it is one, ranges of n where they differ, and every hash once."""
    a, b, c = document("a"), document("b"), document("a")
    c.protocol_hash = "fedcba9876543210"
    n = plots.sizes([Metric("x", "test", n={"test": 1000}), Metric("y", "test", n={"test": 90, "train": 5})])
    words = plots.caption([a, a], n).replace(plots.BOUND, " ")
    assert words == "a · digits-v1 · n: test 90–1,000, train 5 · protocol v1 (01234567)"
    words = plots.caption([a, b, c], {}).replace(plots.BOUND, " ")
    assert words == "digits-v1 · protocol v1 (01234567, fedcba98)"


def test_many_models_are_legible(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    """Twelve of them with long names; no two lines look alike."""
    documents = []
    for place in range(12):
        n = {"test": 360}
        metrics = [Metric("robust_accuracy", "test", "clean", 0.9, 0.8, 1.0, n=n)]
        for norm in ("linf", "l2"):
            for eps in (0.1, 0.2):
                value = 0.9 - 0.05 * place - eps
                metrics.append(
                    Metric("robust_accuracy", "test", f"{norm}-{eps}/worst", value, value - 0.02, value + 0.02, n=n)
                )
        documents.append(document(f"a-model-with-a-name-{place}", metrics))
    figure = legible(plots.robustness(documents))
    for axis in figure.axes:
        looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axis.lines}
        assert len(looks) == len(axis.lines) == 12
        assert len({(line.get_marker(), line.get_linestyle()) for line in axis.lines}) == 12  # in grey too
    assert plots.robustness([document("a", [Metric("robust_accuracy", "test", "clean", 0.9)])]) is None
