"""The distance against n and the trade-off: every point is a metric of the result, with its interval."""

from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.figure import Figure

from jembench.metrics.metric import Metric
from jembench.pages.pictures import generation as generation_plots

SIZES = (100, 200, 500)


def settings(distance: str = "fd") -> Any:
    """The settings of a result with samples."""
    return {"extractor": {"name": "ref", "distance": distance}}


def curve(source: str, at: float, *, limit: float, words: str = "", distance: str = "fd") -> list[Metric]:
    """A source whose distance is ``at + 1000 / n``, at SIZES and at 360."""
    name = f"{source}{words}"
    points = [
        Metric(f"{distance}_n{n}", source, "ref", at + 1000 / n, n={name: n, "train": 900}) for n in reversed(SIZES)
    ]
    whole = Metric(distance, source, "ref", at + 1000 / 360, at, at + 5, n={name: 360, "train": 900})
    ends = (max(limit - 2, 0), limit + 2)
    return [*points, whole, Metric(f"{distance}_infinity", source, "ref", limit, *ends, n={name: 360, "train": 900})]


def test_points_lie_at_one_over_n_and_the_limit_at_zero(
    document: Callable[..., Any], legible: Callable[..., Figure]
) -> None:
    metrics = [*curve("fresh", 100.0, limit=90.0, words=", top 10 %"), *curve("test", 5.0, limit=-1.0)]
    (axis,) = legible(generation_plots.distances([document("a", metrics, generation=settings())])).axes
    shown = {line.get_label(): line for line in axis.lines}
    fresh = shown["fresh, top 10 %"]  # a filter is never hidden
    assert list(fresh.get_xdata()) == pytest.approx([1 / n for n in (100, 200, 360, 500)])
    assert list(fresh.get_ydata()) == pytest.approx([100 + 1000 / n for n in (100, 200, 360, 500)])
    limits = [line for line in axis.lines if list(line.get_xdata()) == [0.0]]
    assert [line.get_ydata()[0] for line in limits] == [90.0, axis.get_ylim()[0]]  # not above 0: at the lower edge
    assert [line.get_marker() for line in limits] == ["o", "v"]
    bars = [list(line.get_ydata()) for line in axis.lines if list(line.get_xdata()) == [0.0, 0.0]]
    assert bars == [[88.0, 92.0], [axis.get_ylim()[0], pytest.approx(axis.get_ylim()[0])]]
    assert axis.get_yscale() == "log"
    words = {mark.get_text(): place for mark, place in zip(axis.get_xticklabels(), axis.get_xticks(), strict=True)}
    assert words["∞"] == 0
    assert all(place == pytest.approx(1 / int(word)) for word, place in words.items() if word != "∞")


def test_a_panel_for_every_model_that_samples(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    """Five of them in two rows; one source has one colour everywhere, and references alone are no panel."""
    own = curve("buffer", 50.0, limit=40.0)
    floor = curve("uniform", 900.0, limit=890.0)
    models = [document(f"m{i}", [*own, *floor] if i % 2 else floor[:-1] + own, generation=settings()) for i in range(5)]
    softmax = document("softmax", floor, generation=settings())
    figure = legible(generation_plots.distances([softmax, *models]))
    shown = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title(loc="left") for axis in shown] == [f"m{i}" for i in range(5)]
    assert len({axis.lines[0].get_color() for axis in shown}) == 1
    assert generation_plots.distances([softmax]) is None


def test_missing_numbers_are_no_points(document: Callable[..., Any]) -> None:
    metrics = [Metric("fd", "fresh", "ref", reason="few"), Metric("fd_infinity", "fresh", "ref", reason="few")]
    assert generation_plots.curves(document("a", metrics, generation=settings())) == {}
    named = curve("fresh", 10.0, limit=5.0, distance="fid")
    assert list(generation_plots.curves(document("a", named, generation=settings("fid")))) == ["fresh"]
    assert generation_plots.curves(document("a", named, generation=settings())) == {}  # FD is not FID


def test_the_tradeoff_has_both_intervals(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    """Of one model from two suites; one without samples, or without logits, is a line."""
    distance = Metric("fd", "fresh", "ref", 30.0, 20.0, 60.0)
    accuracy = Metric("accuracy", "test", "", 0.9, 0.85, 0.93)
    missing = Metric("accuracy", "test", reason="no logits")
    documents = [
        document("jem", [accuracy]),
        document("jem", [distance], generation=settings()),
        document("softmax", [accuracy, Metric("fd", "fresh", "ref", reason="no samples")], generation=settings()),
        document("glow", [distance, missing], generation=settings()),
    ]
    figure = legible(generation_plots.tradeoff(documents))
    (axis,) = figure.axes
    (point,) = [line for line in axis.lines if line.get_label() == "jem"]
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([30.0], [0.9])
    bars = sorted(segment.tolist() for part in axis.collections for segment in part.get_segments())  # type: ignore[attr-defined]
    assert bars == [[[20.0, 0.9], [60.0, 0.9]], [[30.0, 0.85], [30.0, 0.93]]]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["jem", "softmax, no samples", "glow, no classifier"]


def test_without_a_hybrid_model_there_is_no_tradeoff(document: Callable[..., Any]) -> None:
    accuracy, distance = Metric("accuracy", "test", "", 0.9), Metric("fd", "fresh", "ref", 30.0)
    assert generation_plots.tradeoff([document("a", [accuracy])]) is None
    others = [document("a", [accuracy], generation=settings()), document("b", [distance], generation=settings())]
    assert generation_plots.tradeoff(others) is None


def test_a_filter_stands_beside_the_tradeoff(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    distance = Metric("fd", "fresh", "ref", 30.0, n={"fresh, top 10 %": 100, "train": 900})
    both = [distance, Metric("accuracy", "test", "", 0.9)]
    figure = legible(generation_plots.tradeoff([document("a", both, generation=settings())]))
    assert "FD of samples, fresh, top 10 %; ref" in figure.axes[0].get_xlabel()


def test_means_over_training_seeds_are_told(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    """And those of one training are not."""
    found = {}
    for name, end in (("a", ", 5 training seeds"), ("b", "")):
        metrics = [Metric("accuracy", "test", "", 0.9, method=f"wilson{end}"), Metric("fd", "fresh", "ref", 30.0)]
        found[name] = document(name, metrics, generation=settings())
    figure = legible(generation_plots.tradeoff(list(found.values())))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a ×5", "b"]
    assert generation_plots.MEANS in figure.get_suptitle()
    assert generation_plots.MEANS not in legible(generation_plots.tradeoff([found["b"]])).get_suptitle()
