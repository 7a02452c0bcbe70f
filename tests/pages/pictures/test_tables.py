"""A picture and the table beside it show the same numbers, of the results that are shipped."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jembench
from jembench import data
from jembench.metrics.metric import Metric
from jembench.pages.boards import gather, markdown
from jembench.pages.boards.board import Board
from jembench.pages.pictures import calibration, generation, plots, shifts
from jembench.pages.seeds import combined, read_seeds
from jembench.pages.tables import robustness, samples
from jembench.pages.tables import shifts as shift_tables
from jembench.pages.tables.table import Cell
from jembench.store.records import decode
from jembench.store.results import EXAMPLES, ResultDocument, read_result
from jembench.zoo import baselines

TRACKS = ("digits", "cifar10")
BOARDS = Path(jembench.__file__).parents[1] / "leaderboards"
NUMBER = re.compile(r"-?[\d,]*\.?\d+(?:e[-+]?\d+)?")


@cache
def rows(track: str) -> list[ResultDocument]:
    """The rows of a leaderboard: means over training seeds, where there are several."""
    documents = []
    for folder in baselines.all_golden(track):
        document, seeds = read_result(folder), read_seeds(folder.parent)
        documents.append(document if seeds is None else combined(document, seeds))
    return documents


@cache
def board(track: str) -> Board:
    """The leaderboard of what is shipped."""
    folders = [*baselines.all_golden(track), *baselines.all_golden(track, baselines.attacked("*"))]
    return gather.board(data.track(track), "", folders)


def protocols(documents: Sequence[ResultDocument]) -> list[list[ResultDocument]]:
    order = sorted(documents, key=lambda document: (document.protocol_hash, document.model.name))
    return [list(group) for _, group in groupby(order, key=lambda document: document.protocol_hash)]


def metric(cell: Cell) -> Metric:
    assert isinstance(cell, Metric)
    return cell


def curve(axis: Axes, name: str, dashes: str | None = None) -> list[tuple[float, float]]:
    """The points of a model's line in a panel."""
    (line,) = [
        line for line in axis.lines if line.get_label() == name and (dashes is None or line.get_linestyle() == dashes)
    ]
    return [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]


def segments(axis: Axes) -> set[tuple[float, ...]]:
    """The error bars of a panel, rounded."""
    found = [segment for part in axis.collections for segment in part.get_segments()]  # type: ignore[attr-defined]
    return {tuple(np.round(np.ravel(segment), 9).tolist()) for segment in found}


@pytest.mark.parametrize("track", TRACKS)
def test_the_tradeoff(track: str, legible: Callable[..., Figure]) -> None:
    """Of the leaderboard: points, intervals and lines are the cells of its table hybrid."""
    figures = markdown.pictures(board(track))
    (axis,) = legible(figures[f"{track}-hybrid.png"]).axes
    (documents,) = [group for group in protocols(rows(track)) if generation.tradeoff(group) is not None]
    (table,) = samples.hybrid(documents)
    lines = {re.split(r"[ ,]", str(line.get_label()))[0]: line for line in axis.lines}
    del lines["_nolegend_"]  # the ends of intervals
    bars = segments(axis)
    for name, *cells in table.rows:
        accuracy, distance = metric(cells[0]), metric(cells[2])
        if accuracy.value is None or distance.value is None:
            drawn = lines[str(name)].get_ydata() if distance.value is None else lines[str(name)].get_xdata()
            assert set(np.asarray(drawn)) == {accuracy.value if distance.value is None else distance.value}
            continue
        assert [*lines[str(name)].get_xydata()[0]] == [distance.value, accuracy.value]
        x, y = distance.value, accuracy.value
        across = (distance.low, y, distance.high, y)
        upright = (x, accuracy.low, x, accuracy.high)
        assert {tuple(np.round(np.array(bar, float), 9).tolist()) for bar in (across, upright)} <= bars
    assert len(lines) == sum(any(metric(cell).value is not None for cell in row[1:4:2]) for row in table.rows)


@pytest.mark.parametrize("track", TRACKS)
def test_robust_accuracy(track: str, legible: Callable[..., Figure]) -> None:
    """Every point and interval is a cell of the table of its norm."""
    for documents in [markdown.documents_of(group) for group in board(track).groups if group.bare]:
        figure = legible(plots.robustness(documents))
        tables = [table for table in robustness.robustness(documents) if table.title.startswith("robustness")]
        assert len(tables) == len(figure.axes) == 2
        for axis, table in zip(figure.axes, tables, strict=True):
            assert axis.get_title(loc="left").split(", ")[1] in table.title
            for row, band in zip(table.rows, axis.collections, strict=True):
                cells = [metric(cell) for cell in row[2:]]
                assert [y for _, y in curve(axis, str(row[0]))] == [cell.value for cell in cells]
                corners = np.concatenate([path.vertices for path in band.get_paths()])
                for low, high in ((cell.low, cell.high) for cell in cells):
                    assert {low, high} <= set(corners[:, 1])


@pytest.mark.parametrize("track", TRACKS)
def test_shifts(track: str, legible: Callable[..., Figure]) -> None:
    for documents in protocols(rows(track)):
        figure = shifts.shifts(documents)
        if figure is None:
            continue
        accuracy, ece, auroc = legible(figure).axes
        (table,) = shift_tables.shifts(documents)
        along = shift_tables.stress(documents)[1]
        compared = 0
        for name, label, clean, *cells in table.rows:
            values = [metric(cell).value for cell in (clean, *cells[: table.header.index("5") - 2])]
            if label not in ("accuracy", "ECE raw", "ECE T") or None in values:
                continue
            axis, title, dashes = {
                "accuracy": (accuracy, name, "-"),
                "ECE raw": (ece, name, "-"),
                "ECE T": (ece, f"_{name}", "--"),
            }[str(label)]
            assert curve(axis, str(title), dashes) == list(enumerate(values))
            compared += 1
        for name, score, *cells in along.rows:
            if score != "log p(x)" or any(metric(cell).value is None for cell in cells):
                continue
            values = [metric(cell).value for cell in cells[:-1]]
            assert [y for _, y in curve(auroc, str(name))] == pytest.approx([shifts.BLIND, *values])
            compared += 1
        assert compared == sum(len(axis.lines) for axis in (accuracy, ece, auroc)) - len(("raw", "T", "blind"))


@pytest.mark.parametrize("track", TRACKS)
def test_generation_distances(track: str, legible: Callable[..., Figure]) -> None:
    """The point at the n of a row is its distance, the one at infinity is extrapolated, with its interval."""
    for documents in protocols([each for each in rows(track) if each.settings("generation")]):
        figure = legible(generation.distances(documents))
        panels = {axis.get_title(loc="left"): axis for axis in figure.axes if axis.axison}
        quality, _ = samples.generation(documents)
        names = {short: name for name, short in samples.SHORT.items()}
        compared = 0
        for name, source, *cells in quality.rows:
            distance, limit = metric(cells[1]), metric(cells[3])
            if name not in panels or distance.value is None:
                continue
            axis = panels[str(name)]
            label = names.get(str(source), str(source))
            assert (1 / distance.n[label], distance.value) in curve(axis, label)
            if limit.value is not None and limit.value > axis.get_ylim()[0]:
                assert [0.0, limit.value] in [[*line.get_xydata()[0]] for line in axis.lines]
                ends = [max(end, axis.get_ylim()[0]) for end in (limit.low, limit.high) if end is not None]
                assert ends in [[*line.get_ydata()] for line in axis.lines if list(line.get_xdata()) == [0, 0]]
            compared += 1
        assert compared >= len(panels)


@pytest.mark.parametrize("track", TRACKS)
def test_reliability(track: str, legible: Callable[..., Figure]) -> None:
    """The ECE of the drawn points, weighted by the bars below them, is that of the result."""
    for folder in baselines.all_golden(track):
        panels = calibration.of_examples(decode((folder / EXAMPLES).read_bytes()))
        document = read_result(folder)
        if not panels:
            continue
        models = {variant: {document.model.name: each} for variant, each in panels.items()}
        axes = legible(calibration.reliability_diagram(models)).axes
        uppers = {axis.get_title(loc="left"): axis for axis in axes if axis.get_title(loc="left")}
        lowers = [axis for axis in axes if not axis.get_title(loc="left")]
        for (variant, upper), lower in zip(uppers.items(), lowers, strict=True):
            points = np.array(curve(upper, document.model.name))
            counts = np.array([bar.get_height() + calibration.BASE for bar in lower.patches])  # type: ignore[attr-defined]
            ece = (counts * np.abs(points[:, 0] - points[:, 1])).sum() / counts.sum()
            found = document.metric(f"test/{variant}/ece15")
            assert found is not None
            assert ece == pytest.approx(found.value, abs=1e-6)
            assert counts.sum() == found.n["test"]


def printed(text: str, title: str) -> dict[str, list[list[str]]]:
    """The first table with a title in a leaderboard: name of a row -> numbers in each of its cells, as printed."""
    lines = text.partition(f"### {title}")[2].splitlines()[4:]
    table = {}
    for line in lines:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip().replace("*", "") for cell in line.strip("|").split("|"))
        table[name] = [NUMBER.findall(cell) for cell in cells]
    return table


@pytest.mark.parametrize("track", TRACKS)
def test_pictures_show_what_leaderboards_print(track: str) -> None:
    """From the markdown itself, to its digits: a mean over training seeds beside one training is another number."""
    text = (BOARDS / f"{track}.md").read_text(encoding="utf-8")
    figures = markdown.pictures(board(track))
    (axis,) = figures[f"{track}-hybrid.png"].axes
    hybrid = printed(text, "hybrid")
    named = {str(line.get_label()): line for line in axis.lines}
    points = {name.split(" ×")[0]: line.get_xydata()[0] for name, line in named.items() if "," not in name}
    del points["_nolegend_"]  # the ends of intervals
    assert points
    for name, (x, y) in points.items():
        for value, words in ((y, hybrid[name][0][0]), (x, hybrid[name][2][0])):
            digits = len(words.partition(".")[2])
            assert f"{value:.{digits}f}" == words.replace(",", ""), name
    for axis in figures[f"{track}-robustness.png"].axes:
        robust = printed(text, f"robustness {axis.get_title(loc='left').split(', ')[1]}")
        for line in axis.lines:
            values = [words[0] for words in robust[str(line.get_label())][1:]]
            assert [f"{y:.3f}" for y in line.get_ydata()] == values
