"""Histograms of scores: nothing is lost off an axis, no order is changed, and what is drawn is what was counted."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

from jembench import data
from jembench.metrics.auroc import auroc
from jembench.metrics.metric import Metric
from jembench.pages.pictures import ood

TRACK = data.track("digits")
SETS = [source.name for source in TRACK.ood]
VALUES = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6) | st.floats(-1, 1))


def examples(seed: int = 0, **changed: Any) -> dict[str, Any]:
    """Examples of a model with all three scores, 50 of every source."""
    rng = np.random.default_rng(seed)
    source = np.repeat(["train", "test", *SETS], 50)
    n = len(source)
    scores = {"log_px": rng.normal(size=n), "max_py": rng.uniform(0.1, 1, n), "mass": -rng.lognormal(size=n)}
    return {"source": source, **scores, **changed}


@settings(deadline=None)
@given(VALUES, VALUES, VALUES)
def test_every_example_is_in_a_bin_or_said_to_be_outside(test: Any, first: Any, second: Any) -> None:
    for values, shown in zip(
        (test, first, second), ood.histograms({"test": test, "first": first, "second": second}).values(), strict=True
    ):
        inside = (shown.density * np.diff(shown.edges)).sum()
        assert inside + shown.below + shown.above == pytest.approx(1)
        assert shown.below == np.mean(values < shown.edges[0])


@settings(deadline=None)
@given(VALUES, VALUES)
def test_an_axis_holds_the_test_scores_and_reaches_so_far_at_most(test: Any, other: Any) -> None:
    low, high = ood.span(test, [other])
    first, last = np.quantile(test, ood.CENTRAL, method="nearest")
    slack = 1e-8 * max(1, abs(first), abs(last))
    assert low <= first + slack
    assert high >= last - slack
    if last - first > slack:
        reach = (ood.BEYOND * (1 + 2 * ood.EDGE) + 2 * ood.EDGE) * (last - first)
        assert low >= first - reach - slack
        assert high <= last + reach + slack


def test_far_outliers_do_not_press_the_test_scores_into_a_bin() -> None:
    rng = np.random.default_rng(0)
    test = np.append(rng.normal(size=999), -np.inf)
    shown = ood.histograms({"test": test, "far": np.full(10, -1e6)})
    assert np.count_nonzero(shown["test"].density) >= 3
    assert (shown["test"].below, shown["far"].below) == (0.001, 1.0)


@pytest.mark.parametrize("name", list(ood.SCALES))
def test_an_axis_keeps_the_order_of_its_score(name: str) -> None:
    """The AUROC of positions is that of scores: the picture and the number speak of the same."""
    columns = examples(1)
    found = ood.by_source(columns, name, SETS)
    for source in SETS:
        scores = [columns[name][columns["source"] == each] for each in ("test", source)]
        assert auroc(found["test"], found[source]) == auroc(*scores)


def test_certain_predictions_and_flat_densities_have_a_place(
    document: Callable[..., Any], legible: Callable[..., Figure]
) -> None:
    columns = examples(max_py=np.ones(400), mass=np.zeros(400))
    for name in ("max_py", "mass"):
        assert all(np.isfinite(values).all() for values in ood.by_source(columns, name, SETS).values())
    legible(ood.scores(columns, TRACK, document("a")))


def test_what_is_drawn_is_what_was_counted(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    """Every row in units of its larger peak, above its name."""
    columns = examples()
    columns["log_px"][columns["source"] == SETS[1]] = np.nan  # chains that diverge, say
    columns["max_py"][0] = np.nan  # of the training split, which is not drawn
    figure = legible(ood.scores(columns, TRACK, document("a", [Metric("auroc", SETS[0], "log_px", 0.1234)])))
    assert len(figure.axes) == len(ood.SCALES)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == SETS[::-1]
    for axis, name in zip(figure.axes, ood.SCALES, strict=True):
        shown = ood.histograms(ood.by_source(columns, name, SETS))
        patches = iter(axis.patches)
        for base, source in reversed(list(enumerate(names))):
            if name == "log_px" and source == SETS[1]:
                continue
            peak = max(shown[of].density.max() for of in ("test", source))
            for of in ("test", source):
                values, edges, baseline = next(patches).get_data()  # type: ignore[attr-defined]
                assert baseline == base
                np.testing.assert_allclose((values - base) / ood.PEAK * peak, shown[of].density, atol=1e-12)
                assert np.array_equal(edges, shown[of].edges)
        assert next(patches, None) is None
    words = {text.get_text(): text.get_position()[1] for axis in figure.axes for text in axis.texts}
    assert words["AUROC 0.123"] == pytest.approx(names.index(SETS[0]) + ood.UPPER)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["test", "OOD set"]


def test_what_lies_outside_is_written(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    columns = examples()
    columns["log_px"][columns["source"] == SETS[0]] = -1e6
    axes = legible(ood.scores(columns, TRACK, document("a"))).axes
    assert "◂ 100 %" in [text.get_text() for text in axes[0].texts]
    assert "◂ 100 %" not in [text.get_text() for axis in axes[1:] for text in axis.texts]


def test_a_score_that_a_model_lacks_is_no_panel(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    columns = examples(max_py=np.full(400, np.nan))
    del columns["mass"]
    figure = legible(ood.scores(columns, TRACK, document("a")))
    assert [axis.get_xlabel() for axis in figure.axes] == ["log p(x), nats"]
    assert ood.scores({"source": columns["source"]}, TRACK, document("a")) is None


def test_marks_of_an_axis_are_where_they_say() -> None:
    for low, high in ((-0.1, 12.3), (-2.0, -1.4), (0.045, 0.08), (3.0, 3.1)):
        marks = ood.ticks(low, high)
        assert len(marks) >= 3
        assert all(low <= mark <= high for mark in marks)
        words = [ood.SCALES["mass"].words(ood._argument(mark)) for mark in marks]  # type: ignore[misc]
        assert -np.log10([-float(word.replace("−", "-")) for word in words]) == pytest.approx(marks, abs=1e-9)
