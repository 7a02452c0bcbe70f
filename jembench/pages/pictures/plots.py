"""Plots: pictures of training runs and results, from arrays and records; matplotlib and pillow without global state."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from jembench.store.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jembench.metrics.metric import Metric
    from jembench.store.results import ResultDocument

SIDE = 8  # images in a row of a grid
LARGE = 64  # pixels that the side of an image in a grid has at least
GAP = 2  # pixels between images
TEXT = 16  # pixels, of the words beside a grid
SAMPLE, LETTER = 0.5, 0.068  # inches, of a line in a legend with its gaps, and of a letter beside it
FEW = 4  # largest over smallest value, to which a linear scale will do
MARGIN = 8  # pixels to the left and right of them
DPI = 100
WIDTH = 9.0  # inches, of two panels
HEIGHT = 2.7  # inches, of a row of panels

#: Title of a panel -> the values it shows and what they are called. Values of training are means between validations.
PANELS: dict[str, dict[str, str]] = {
    "loss": {"train_loss": "training loss", "nll": "validation NLL"},
    "validation accuracy": {"accuracy": "accuracy"},
    "validation ECE": {"ece": "ECE"},
    "log p(x), nats": {"train_log_px_data": "training", "train_log_px_samples": "samples", "log_px": "validation"},
    "gap of log p(x), nats": {"train_gap": "training - samples", "gap": "validation - outliers"},
    "AUROC, validation against outliers": {
        "auroc_log_px": "log p(x)",
        "auroc_max_py": "max p(y|x)",
        "auroc_mass": "mass",
    },
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe & Ito: for the colour-blind too
MARKERS = ("o", "s", "^", "D", "v")
STYLES = ("-", "--", "-.")


def grid(images: NDArray[np.floating[Any]], *, side: int = SIDE, rows: Sequence[str] = ()) -> bytes:
    """Images ``(n, C, H, W)`` in [0, 1], C = 1 or 3, as the PNG of a grid.

    Every pixel becomes a square of whole pixels, so that small images can be seen; values are rounded to 8 bits.

    Args:
        images: the images, row by row of the grid.
        side: number of images in a row.
        rows: words to the left of each row; no margin if empty.
    """
    from PIL import Image

    canvas = _tiled(images, side)
    if rows:
        canvas = np.concatenate([_margin(rows, *canvas.shape[::2]), canvas], axis=1)
    file = io.BytesIO()
    Image.fromarray(canvas[:, :, 0] if canvas.shape[2] == 1 else canvas).save(file, "PNG")
    return file.getvalue()


def _tiled(images: NDArray[np.floating[Any]], side: int) -> NDArray[np.uint8]:
    """The images side by side, ``(height, width, C)``; white where there is none."""
    n, channels, height, width = images.shape
    factor = max(1, -(-LARGE // max(height, width)))
    levels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    large = levels.repeat(factor, axis=1).repeat(factor, axis=2)
    rows, columns = -(-n // side), min(n, side)
    down, right = height * factor + GAP, width * factor + GAP
    canvas = np.full((rows * down - GAP, columns * right - GAP, channels), 255, dtype=np.uint8)
    for i, image in enumerate(large):
        y, x = i // side * down, i % side * right
        canvas[y : y + height * factor, x : x + width * factor] = image
    return canvas


def _margin(rows: Sequence[str], height: int, channels: int) -> NDArray[np.uint8]:
    """The words of every row, right-aligned at its middle, ``(height, width, C)``."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TEXT)
    width = 2 * MARGIN + max(int(np.ceil(font.getlength(words))) for words in rows)
    margin = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(margin)
    for place, words in enumerate(rows):
        draw.text((width - MARGIN, (place + 0.5) * (height + GAP) / len(rows) - GAP / 2), words, 0, font, anchor="rm")
    return np.asarray(margin)[:, :, None].repeat(channels, axis=2)


def blank(width: float, height: float, shape: tuple[int, int] = (1, 1), **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of that many inches, and its panels row by row; options are those of ``Figure.subplots``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(*shape, squeeze=False, **options).ravel())


def decorate(axis: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """What all panels have: a title and the names of the axes, a pale grid, no box."""
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, columns: int = 4) -> None:
    """One legend below all panels: every name once, in the order of the panels, in as many columns as there is room."""
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, words in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(words, handle)
    room = int(figure.get_figwidth() / (SAMPLE + LETTER * max((len(words) for words in handles), default=0)))
    style: dict[str, Any] = {"fontsize": 8, "frameon": False, "ncols": max(1, min(columns, len(handles), room))}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", **style)


def spread(axis: Axes, which: Literal["x", "y"], values: Iterable[float]) -> None:
    """A logarithmic scale with marks at 1, 2 and 5 where positive values differ by more than a factor of four."""
    positive = [value for value in values if value > 0]
    if not positive or max(positive) <= FEW * min(positive):
        return
    axis.set(**{f"{which}scale": "log"})
    scale = axis.xaxis if which == "x" else axis.yaxis
    from matplotlib.ticker import LogLocator, NullLocator

    scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scale.set_minor_locator(NullLocator())
    scale.set_major_formatter("{x:g}")


def look(place: int) -> dict[str, Any]:
    """Colour and marker of the model or series at a place: no two of the first thirty have the same."""
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def point(axis: Axes, x: float, metric: Metric, look: Mapping[str, Any], floor: float = 0.0) -> None:
    """A metric with its interval at ``x``; one below the floor lies on it, as a triangle."""
    if metric.value is None:
        return
    at = max(metric.value, floor)
    low, high = (at if end is None else max(end, floor) for end in (metric.low, metric.high))
    axis.plot([x, x], [low, high], color=look["color"], linewidth=1, clip_on=False)
    marker = "v" if metric.value < floor else look["marker"]
    axis.plot([x], [at], color=look["color"], marker=marker, markersize=4.5, linestyle="none", clip_on=False)


def curve(history: History) -> bytes:
    """The PNG of a training run: its values against the iteration, a panel for each kind of value that it has.

    Rollbacks are dashed vertical lines at the iteration of the diagnosis, the chosen checkpoint is a solid one.
    """
    series = _series(history)
    panels = {title: [name for name in names if name in series] for title, names in PANELS.items()}
    panels = {title: names for title, names in panels.items() if names} or {"no validation": []}
    rows = -(-len(panels) // 2)
    figure, axes = blank(WIDTH, HEIGHT * rows + 0.3, (rows, 2))
    for axis, (title, names) in zip(axes, panels.items(), strict=False):
        for name in names:
            place = list(PANELS[title]).index(name)
            label, colour, style = PANELS[title][name], COLOURS[place], STYLES[place]
            axis.plot(*series[name], color=colour, linestyle=style, linewidth=1.3, label=label)
        _marked(axis, title, history)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    handles = {text: line for axis in axes for line, text in zip(*_marks(axis), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return png(figure)


def robustness(documents: Sequence[ResultDocument]) -> dict[str, bytes]:
    """Worst-case accuracy against eps of all models, a panel for each norm, 95 % intervals: PNG and SVG by kind."""
    panels = {norm: models for norm in ("linf", "l2") if (models := _curves(documents, norm))}
    count = max(1, len(panels))
    figure, axes = blank(4.8 * count, 3.6, (1, count))
    for axis, (norm, models) in zip(axes, panels.items(), strict=False):
        for place, (name, (eps, values, low, high)) in enumerate(models.items()):
            style = STYLES[place // len(COLOURS) % len(STYLES)]
            axis.plot(eps, values, **look(place), linestyle=style, markersize=4, linewidth=1.3, label=name)
            axis.fill_between(eps, low, high, color=look(place)["color"], alpha=0.12, linewidth=0)
        words = f"worst case over all attacks, {'L∞' if norm == 'linf' else 'L2'}"
        decorate(axis, words, "eps, [0, 1] pixels", "robust accuracy")
        axis.set_ylim(-0.02, 1.02)
        axis.set_xlim(left=0)
    legend(figure)
    import matplotlib

    vector = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "jembench"}):  # the same figure, the same bytes
        figure.savefig(vector, format="svg", metadata={"Date": None})
    return {"png": png(figure), "svg": vector.getvalue()}


Curve = tuple[list[float], list[float], list[float], list[float]]


def _curves(documents: Sequence[ResultDocument], norm: str) -> dict[str, Curve]:
    """Model -> eps, worst-case accuracy and its interval, from the clean accuracy at eps 0."""
    curves: dict[str, Curve] = {}
    for document in documents:
        points = []
        for metric in document.metrics:
            ball, _, attack = metric.variant.partition("/")
            if metric.name == "robust_accuracy" and metric.value is not None:
                if attack == "worst" and ball.startswith(f"{norm}-"):
                    points.append((float(ball.removeprefix(f"{norm}-")), metric))
                elif metric.variant == "clean":
                    points.append((0.0, metric))
        if len(points) > 1:
            points.sort(key=lambda point: point[0])
            columns = [(eps, m.value, m.low, m.high) for eps, m in points]
            curves[document.model.name] = tuple(map(list, zip(*columns, strict=True)))  # type: ignore[assignment]
    return curves


def png(figure: Figure, *, colours: int = 64) -> bytes:
    """The PNG of a figure with a few colours: a third of the size, for pictures that are kept in a repository.

    Many lines need 256, lest the colour of a thin one is replaced.
    """
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png")
    small = io.BytesIO()
    Image.open(file).convert("RGB").quantize(colours).save(small, "PNG", optimize=True)
    return small.getvalue()


def _series(history: History) -> dict[str, tuple[list[int], list[float]]]:
    """Iterations and values of every name that has one."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for epoch in history.epochs:
        for name, value in epoch.values.items():
            if value is not None:
                x, y = series.setdefault(name, ([], []))
                x.append(epoch.iteration)
                y.append(value)
    return series


def _marked(axis: Axes, title: str, history: History) -> None:
    """Title, legend, and the marks of what happened."""
    decorate(axis, title, "iteration")
    axis.set_xlim(0, 1.02 * max(1, history.iterations))
    if len(PANELS.get(title, ())) > 1:
        axis.legend(fontsize=8, frameon=False)
    label = f"chosen checkpoint: {history.chosen.iteration}, by {history.chosen.criterion}"
    axis.axvline(history.chosen.iteration, color="#444444", linewidth=1, label=label, gid="mark")
    for event in history.rollbacks:
        axis.axvline(event.iteration, color="#cc3311", linewidth=1, linestyle="--", label="rollback", gid="mark")


def _marks(axis: Axes) -> tuple[list[Any], list[str]]:
    """The vertical lines of a panel and their names."""
    lines = [line for line in axis.lines if line.get_gid() == "mark"]
    return lines, [str(line.get_label()) for line in lines]
