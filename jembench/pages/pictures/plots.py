"""Plots: panels of curves and points, what all of them share, and those of training runs and robustness."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from jembench.pages.pictures import style
from jembench.pages.tables.robustness import NORMS, ROBUST
from jembench.store.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jembench.metrics.metric import Metric
    from jembench.store.results import ResultDocument

HASH = 8  # of the first digits of a hash that a picture shows
EDGE = 0.04  # inches, beside the words above a figure
BOUND = "\u00a0"  # a space where no line ends
HEADROOM = 0.14  # of a panel, for a line of its legend
GROWTH = 1.2  # of a line in a legend over one of text
SAMPLE = 0.45  # inches, of a line in a legend with its gaps
FEW = 4  # largest over smallest value, to which a linear scale will do
BLOCK = 3  # panels of a training run in a row
HEIGHT = 1.75  # inches, of a row of panels

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


@contextmanager
def blank(
    width: float, height: float, shape: tuple[int, int] = (1, 1), **options: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure and its panels row by row, to be drawn on in the style of all pictures.

    Args:
        width: width of the figure in inches.
        height: height of all panels in inches; what :func:`head` and :func:`legend` need comes to it.
        shape: rows and columns of the panels.
        options: keywords of ``Figure.subplots``.
    """
    from matplotlib.figure import Figure

    with style.settings():
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(*shape, squeeze=False, **options).ravel())


def head(figure: Figure, words: str) -> None:
    """Words above all panels, in as many lines as they need."""
    lines = style.wrapped(words, figure.get_figwidth() - 2 * EDGE, style.TEXT)
    figure.set_figheight(figure.get_figheight() + style.height(lines, style.TEXT))
    figure.suptitle(lines, x=EDGE / figure.get_figwidth(), ha="left", linespacing=style.LEADING)


def caption(documents: Sequence[ResultDocument], n: Mapping[str, Collection[int]]) -> str:
    """What a picture is of: the model, if it is one; the track, numbers of images, and the protocols by their hashes.

    Args:
        documents: the results that are shown.
        n: set of images, by its name -> the numbers of them behind what is shown (:func:`sizes`).
    """
    models, tracks = (
        list(dict.fromkeys(names))
        for names in ((document.model.name for document in documents), (document.track for document in documents))
    )
    counts = [f"{name} {_span(numbers)}".replace(" ", BOUND) for name, numbers in n.items() if numbers]
    protocols: dict[str, list[str]] = {}
    for document in documents:
        hashes, short = protocols.setdefault(document.protocol.name, []), document.protocol_hash[:HASH]
        if short not in hashes:
            hashes.append(short)
    names = ", ".join(f"{name} ({', '.join(hashes)})" for name, hashes in protocols.items())
    parts = [*(models if len(models) == 1 else ()), *tracks, *([f"n: {', '.join(counts)}"] if counts else ())]
    return " · ".join([*parts, f"protocol {names}".replace(" ", BOUND)])


def sizes(metrics: Iterable[Metric]) -> dict[str, set[int]]:
    """Set of images, by its name -> the numbers of them that metrics are of."""
    n: dict[str, set[int]] = {}
    for metric in metrics:
        for name, number in metric.n.items():
            n.setdefault(name, set()).add(number)
    return n


def _span(numbers: Collection[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def decorate(axis: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """A title and the names of the axes."""
    axis.set_title(title, loc="left")
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def legend(figure: Figure, columns: int = 10) -> None:
    """One legend below all panels: every name once, in the order of the panels, in as many columns as there is room."""
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, words in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(words, handle)
    room = int(figure.get_figwidth() / (SAMPLE + max(map(style.width, handles), default=0.0)))
    columns = max(1, min(columns, len(handles), room))
    lines = "\n" * (-(-len(handles) // columns) - 1)
    figure.set_figheight(figure.get_figheight() + GROWTH * style.height(lines or " "))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)


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


def point(axis: Axes, x: float, metric: Metric, look: Mapping[str, Any], floor: float = 0.0) -> None:
    """A metric with its interval at ``x``; one below the floor lies on it, as a triangle."""
    if metric.value is None:
        return
    at = max(metric.value, floor)
    low, high = (at if end is None else max(end, floor) for end in (metric.low, metric.high))
    axis.plot([x, x], [low, high], color=look["color"], linewidth=1, clip_on=False)
    marker = "v" if metric.value < floor else look["marker"]
    axis.plot([x], [at], color=look["color"], marker=marker, linestyle="none", clip_on=False)


def curve(history: History, name: str) -> Figure:
    """A training run: its values against the iteration, a panel for each kind of value that it has.

    Rollbacks are dashed vertical lines at the iteration of the diagnosis, the chosen checkpoint is a solid one.

    Args:
        history: the record of the run.
        name: name of the model.
    """
    values = series(history)
    panels = {title: [name for name in names if name in values] for title, names in PANELS.items()}
    panels = {title: names for title, names in panels.items() if names} or {"no validation": []}
    rows = -(-len(panels) // BLOCK)
    columns = -(-len(panels) // rows)
    with blank(style.PAGE, HEIGHT * rows + 0.2, (rows, columns)) as (figure, axes):
        run = f"training seed {history.seed} · recipe {history.recipe[:HASH]} · {history.iterations:,} iterations"
        head(figure, f"{name} · {run}")
        for axis, (title, names) in zip(axes, panels.items(), strict=False):
            for each in names:
                place = list(PANELS[title]).index(each)
                label, colour, dashes = PANELS[title][each], style.COLOURS[place], style.DASHES[place]
                axis.plot(*values[each], color=colour, linestyle=dashes, label=label)
            _marked(axis, title, history)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        handles = {text: line for axis in axes for line, text in zip(*_marks(axis), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    return figure


def robustness(documents: Sequence[ResultDocument]) -> Figure | None:
    """Worst-case accuracy against eps of all models, a panel for each norm, 95 % intervals; None without any."""
    panels = {norm: models for norm in NORMS if (models := curves(documents, norm))}
    if not panels:
        return None
    with blank(style.COLUMN if len(panels) == 1 else style.PAGE, 2.5, (1, len(panels)), sharey=True) as (figure, axes):
        shown = [metric for models in panels.values() for curve in models.values() for _, metric in curve]
        head(figure, caption(documents, sizes(shown)))
        names = list(dict.fromkeys(name for models in panels.values() for name in models))
        for axis, (norm, models) in zip(axes, panels.items(), strict=True):
            for name, curve in models.items():
                place = names.index(name)
                eps = [each for each, _ in curve]
                values, low, high = ([getattr(metric, end) for _, metric in curve] for end in ("value", "low", "high"))
                dashes = style.DASHES[place // len(style.COLOURS) % len(style.DASHES)]
                axis.plot(eps, values, **style.look(place), linestyle=dashes, label=name)
                axis.fill_between(eps, low, high, color=style.look(place)["color"], alpha=0.12, linewidth=0)
            words = f"worst case over all attacks, {NORMS[norm]}"
            decorate(axis, words, "eps, [0, 1] pixels", "robust accuracy" if axis is axes[0] else "")
            axis.set_ylim(-0.02, 1.02)
            axis.set_xlim(left=-0.02 * axis.get_xlim()[1])
        legend(figure)
    return figure


def curves(documents: Sequence[ResultDocument], norm: str) -> dict[str, list[tuple[float, Metric]]]:
    """Model -> eps and worst-case accuracy, from the clean accuracy at eps 0."""
    curves: dict[str, list[tuple[float, Metric]]] = {}
    for document in documents:
        points = []
        for metric in document.metrics:
            ball, _, attack = metric.variant.partition("/")
            if metric.name == ROBUST and metric.value is not None:
                if attack == "worst" and ball.startswith(f"{norm}-"):
                    points.append((float(ball.removeprefix(f"{norm}-")), metric))
                elif metric.variant == "clean":
                    points.append((0.0, metric))
        if len(points) > 1:
            curves[document.model.name] = sorted(points, key=lambda point: point[0])
    return curves


def series(history: History) -> dict[str, tuple[list[int], list[float]]]:
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
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + HEADROOM * len(PANELS[title]) * (high - low))  # no curve passes behind the words
        axis.legend(loc="upper right", frameon=False)
    label = f"chosen checkpoint: {history.chosen.iteration}, by {history.chosen.criterion}"
    axis.axvline(history.chosen.iteration, color=style.DARK, linewidth=1, label=label, gid="mark")
    for event in history.rollbacks:
        axis.axvline(event.iteration, color="#cc3311", linewidth=1, linestyle="--", label="rollback", gid="mark")


def _marks(axis: Axes) -> tuple[list[Any], list[str]]:
    """The vertical lines of a panel and their names."""
    lines = [line for line in axis.lines if line.get_gid() == "mark"]
    return lines, [str(line.get_label()) for line in lines]
