"""Plots: pictures of training runs and results, from arrays and records; matplotlib and pillow without global state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jembench.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jembench.results import ResultDocument

SIDE = 8  # images in a row of a grid
LARGE = 64  # pixels that the side of an image in a grid has at least
GAP = 2  # pixels between images
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


def grid(images: NDArray[np.floating[Any]]) -> bytes:
    """Images ``(n, C, H, W)`` in [0, 1], C = 1 or 3, as the PNG of a grid with rows of 8.

    Every pixel becomes a square of whole pixels, so that small images can be seen; values are rounded to 8 bits.
    """
    from PIL import Image

    n, channels, height, width = images.shape
    factor = max(1, -(-LARGE // max(height, width)))
    levels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    large = levels.repeat(factor, axis=1).repeat(factor, axis=2)
    rows, columns = -(-n // SIDE), min(n, SIDE)
    down, right = height * factor + GAP, width * factor + GAP
    canvas = np.full((rows * down - GAP, columns * right - GAP, channels), 255, dtype=np.uint8)
    for i, image in enumerate(large):
        top, left = i // SIDE * down, i % SIDE * right
        canvas[top : top + height * factor, left : left + width * factor] = image
    file = io.BytesIO()
    Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas).save(file, "PNG")
    return file.getvalue()


def curve(history: History) -> bytes:
    """The PNG of a training run: its values against the iteration, a panel for each kind of value that it has.

    Rollbacks are dashed vertical lines at the iteration of the diagnosis, the chosen checkpoint is a solid one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = _series(history)
    shown = {title: [name for name in names if name in series] for title, names in PANELS.items()}
    shown = {title: names for title, names in shown.items() if names} or {"no validation": []}
    rows = -(-len(shown) // 2)
    figure = Figure(figsize=(WIDTH, HEIGHT * rows + 0.3), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for axis, (title, names) in zip(axes, shown.items(), strict=False):
        for name in names:
            place = list(PANELS[title]).index(name)
            label, colour, style = PANELS[title][name], COLOURS[place], STYLES[place]
            axis.plot(*series[name], color=colour, linestyle=style, linewidth=1.3, label=label)
        _decorate(axis, title, history)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    handles = {text: line for axis in axes for line, text in zip(*_marks(axis), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return _drawn(figure)


def robustness(documents: Sequence[ResultDocument]) -> dict[str, bytes]:
    """Worst-case accuracy against eps of all models, a panel for each norm, 95 % intervals: PNG and SVG by kind."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = {norm: _curves(documents, norm) for norm in ("linf", "l2")}
    shown = {norm: found for norm, found in curves.items() if found}
    figure = Figure(figsize=(4.8 * max(1, len(shown)), 3.6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, max(1, len(shown)), squeeze=False).ravel()
    for axis, (norm, found) in zip(axes, shown.items(), strict=False):
        for place, (name, (eps, values, low, high)) in enumerate(found.items()):
            colour, style = COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS) % len(STYLES)]
            marker = MARKERS[place % len(MARKERS)]
            axis.plot(
                eps, values, color=colour, linestyle=style, marker=marker, markersize=4, linewidth=1.3, label=name
            )
            axis.fill_between(eps, low, high, color=colour, alpha=0.12, linewidth=0)
        axis.set_title(f"worst case over all attacks, {'L∞' if norm == 'linf' else 'L2'}", fontsize=10, loc="left")
        axis.set_xlabel("eps, [0, 1] pixels", fontsize=8)
        axis.set_ylabel("robust accuracy", fontsize=8)
        axis.set_ylim(-0.02, 1.02)
        axis.set_xlim(left=0)
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    handles = {text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    vector = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "jembench"}):  # the same figure, the same bytes
        figure.savefig(vector, format="svg", metadata={"Date": None})
    return {"png": _drawn(figure), "svg": vector.getvalue()}


Curve = tuple[list[float], list[float], list[float], list[float]]


def _curves(documents: Sequence[ResultDocument], norm: str) -> dict[str, Curve]:
    """Model -> eps, worst-case accuracy and its interval, from the clean accuracy at eps 0."""
    found: dict[str, Curve] = {}
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
            found[document.model.name] = tuple(map(list, zip(*columns, strict=True)))  # type: ignore[assignment]
    return found


def _drawn(figure: Figure) -> bytes:
    """The PNG of a figure with 64 colours: a third of the size, for pictures that are kept in a repository."""
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png")
    small = io.BytesIO()
    Image.open(file).convert("RGB").quantize(64).save(small, "PNG", optimize=True)
    return small.getvalue()


def _series(history: History) -> dict[str, tuple[list[int], list[float]]]:
    """Iterations and values of every name that has one."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for epoch in history.epochs:
        for name, value in epoch.values.items():
            if value is not None:
                x, y = found.setdefault(name, ([], []))
                x.append(epoch.iteration)
                y.append(value)
    return found


def _decorate(axis: Axes, title: str, history: History) -> None:
    """Title, legend, and the marks of what happened."""
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlim(0, 1.02 * max(1, history.iterations))
    axis.set_xlabel("iteration", fontsize=8)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    if len(PANELS.get(title, ())) > 1:
        axis.legend(fontsize=8, frameon=False)
    chosen = f"chosen checkpoint: {history.chosen.iteration}, by {history.chosen.criterion}"
    axis.axvline(history.chosen.iteration, color="#444444", linewidth=1, label=chosen, gid="mark")
    for event in history.rollbacks:
        axis.axvline(event.iteration, color="#cc3311", linewidth=1, linestyle="--", label="rollback", gid="mark")


def _marks(axis: Axes) -> tuple[list[Any], list[str]]:
    """The vertical lines of a panel and their names."""
    lines = [line for line in axis.lines if line.get_gid() == "mark"]
    return lines, [str(line.get_label()) for line in lines]
