"""Plots: the pixels are those of the images, and every value of a run has its line."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jembench.metrics.metric import Metric
from jembench.pages.pictures import plots
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


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    return image


@pytest.mark.parametrize(("n", "channels", "side", "factor"), [(64, 1, 8, 8), (11, 3, 32, 2), (3, 1, 80, 1)])
def test_every_pixel_of_a_grid_is_that_of_its_image(n: int, channels: int, side: int, factor: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (n, channels, side, side))
    image = opened(plots.grid((images / 255).astype(np.float32)))
    rows, columns, step = -(-n // 8), min(n, 8), side * factor + plots.GAP
    assert image.size == (columns * step - plots.GAP, rows * step - plots.GAP)
    assert image.mode == ("L" if channels == 1 else "RGB")
    drawn = np.asarray(image).reshape(*image.size[::-1], channels)
    for i, expected in enumerate(images):
        tile = drawn[i // 8 * step :, i % 8 * step :][: side * factor, : side * factor]
        for shift in (0, factor - 1):  # the first and the last pixel of every square
            assert np.array_equal(tile[shift::factor, shift::factor].transpose(2, 0, 1), expected)
    if n == 11:
        assert (drawn[step:, 3 * step :] == 255).all()  # no image there


def test_values_out_of_range_are_drawn_at_its_ends() -> None:
    drawn = np.asarray(opened(plots.grid(np.array([-0.5, 1.5, 0.5, 0.0]).reshape(4, 1, 1, 1))))
    assert drawn[0, :: 64 + plots.GAP].tolist() == [0, 255, 128, 0]


def test_rows_of_a_grid_have_words_beside_them() -> None:
    """To the left of each row and nowhere else; the images stay as they are."""
    images = np.random.default_rng(0).random((6, 3, 32, 32)).astype(np.float32)
    bare, words = (np.asarray(opened(plots.grid(images, side=3, rows=rows))) for rows in ((), ("0 steps", "20 steps")))
    height, width = bare.shape[:2]
    assert bare.shape[:2] == (2 * 66 - 2, 3 * 66 - 2)
    margin = words.shape[1] - width
    assert margin > 2 * plots.MARGIN
    assert np.array_equal(words[:, margin:], bare)
    ink = (words[:, :margin] < 128).all(axis=2)
    for row in range(2):
        lines = np.flatnonzero(ink[row * 66 : row * 66 + 64].any(axis=1))
        assert lines.mean() == pytest.approx(32, abs=6)
    assert not ink[:, : plots.MARGIN - 1].any()
    assert not ink[:, margin - plots.MARGIN + 1 :].any()
    assert height == words.shape[0]


def test_the_curve_shows_every_value_rollback_and_the_choice(figures: list[Figure]) -> None:
    names = [name for panel in plots.PANELS.values() for name in panel]
    values = [{name: float(i + k) for k, name in enumerate(names)} for i in range(4)]
    image = opened(plots.curve(history(*values, rollbacks=2)))
    assert image.width == 900
    (figure,) = figures
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


def test_what_a_model_does_not_have_is_no_panel(figures: list[Figure]) -> None:
    plots.curve(history({"log_px": 1.0, "gap": None}, {"log_px": None, "gap": 2.0}))
    panels = {axis.get_title(loc="left"): axis for axis in figures[0].axes if axis.axison}
    assert list(panels) == ["log p(x), nats", "gap of log p(x), nats"]
    x, y = panels["gap of log p(x), nats"].lines[0].get_data()
    assert (list(x), list(y)) == ([20], [2.0])


def test_a_run_without_validation_says_so(figures: list[Figure]) -> None:
    assert opened(plots.curve(history())).width == 900
    assert figures[0].axes[0].get_title(loc="left") == "no validation"


@pytest.mark.parametrize(("values", "scale"), [([10, 41], "log"), ([10, 39], "linear"), ([0, -1], "linear")])
def test_a_scale_is_logarithmic_where_values_spread(values: list[float], scale: str) -> None:
    _, (axis,) = plots.blank(3, 3)
    plots.spread(axis, "y", values)
    assert (axis.get_xscale(), axis.get_yscale()) == ("linear", scale)


@pytest.mark.parametrize(("value", "drawn"), [(5.0, (5.0, "o", [2.0, 9.0])), (0.5, (1.0, "v", [1.0, 9.0]))])
def test_a_point_has_its_interval_and_none_is_below_the_floor(value: float, drawn: object) -> None:
    _, (axis,) = plots.blank(3, 3)
    low = 2.0 if value == 5 else -1.0
    plots.point(axis, 3.0, Metric("fd", "fresh", "", value, low, 9.0), plots.look(0), floor=1.0)
    bar, mark = axis.lines
    assert (mark.get_ydata()[0], mark.get_marker(), list(bar.get_ydata())) == drawn
    plots.point(axis, 3.0, Metric("fd", "fresh"), plots.look(0))
    assert len(axis.lines) == 2


def test_no_two_of_thirty_models_look_the_same() -> None:
    assert len({tuple(plots.look(place).items()) for place in range(30)}) == 30


def test_one_legend_names_everything_once(figures: list[Figure]) -> None:
    figure, axes = plots.blank(4, 3, (1, 2))
    for axis, names in zip(axes, (("a", "b"), ("b", "c")), strict=True):
        for name in names:
            axis.plot([0, 1], [0, 1], label=name)
    plots.legend(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_it_leaves_no_global_state(tmp_path: Path) -> None:
    import matplotlib

    backend = matplotlib.get_backend(auto_select=False)
    plots.curve(history({"nll": 1.0}))
    assert matplotlib.get_backend(auto_select=False) == backend
