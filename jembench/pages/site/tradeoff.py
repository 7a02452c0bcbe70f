"""The trade-off: every headline of every model, of which a reader chooses two; drawn by the script of the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jembench.pages.boards.board import OVERVIEW, Board, Cell, Group, Standing
from jembench.pages.site.render import visible
from jembench.pages.site.sheets import arrow
from jembench.pages.tables.figures import BAND

SECOND = ("ood", "robustness", "generation", "calibration")  # evaluators of the vertical axis, as it is at first


def tradeoff(board: Board, page: Callable[[Standing], str]) -> dict[str, Any] | None:
    """The axes and the points as JSON; None where nothing can be held against another.

    An axis is a column of one group, so that no axis has numbers of two protocols.

    Args:
        board: the leaderboard.
        page: function from a row to the address of the page of its model, which tells models apart.

    Returns:
        ``axes``: each with its group, title and direction; ``points``: each with a name, an address and for every axis
        ``[value, low, high]`` or null; ``x`` and ``y``: the places of the axes that are shown first.
    """
    axes: list[dict[str, Any]] = []
    points: dict[str, dict[str, Any]] = {}
    evaluators: list[str] = []
    for group in board.groups:
        for section in group.sections:
            for place, column in enumerate(section.columns if section.key != OVERVIEW else ()):
                title = f"{column.headline.title}{arrow(column.better)}"
                unit = {"unit": column.unit} if column.unit not in ("", column.headline.title) else {}
                axes.append({"group": _words(board, group, section.key), "title": visible(title), **unit})
                evaluators.append(column.evaluator)
                for row in section.rows:
                    key = page(row)
                    point = points.setdefault(key, {"name": visible(row.name), "link": key, "at": {}})
                    number = _number(row.cells[place])
                    if number is not None:
                        point["at"][len(axes) - 1] = number
    if len(axes) < 2 or len(points) < 2:
        return None
    second = next((evaluators.index(name) for name in SECOND if name in evaluators[1:]), 1)
    return {"axes": axes, "points": list(points.values()), "x": 0, "y": second}


def _words(board: Board, group: Group, evaluator: str) -> str:
    """What an axis is of: the evaluator, and the group where there are several."""
    return visible(evaluator if len(board.groups) == 1 else f"{evaluator} · {group.title} · {group.hash[:6]}")


def _number(cell: Cell) -> list[float | None] | None:
    """Value and ends of the interval; a figure that is not reliable is no point."""
    metric = cell.metric
    if metric.value is None or cell.fault:
        return None
    if metric.low is None or metric.high is None or metric.method == BAND:
        return [float(f"{metric.value:.6g}"), None, None]
    return [float(f"{end:.6g}") for end in (metric.value, metric.low, metric.high)]
