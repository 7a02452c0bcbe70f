"""The verdict of a gate for a terminal: worst first, at most :data:`LINES` lines of :data:`COLUMNS` columns."""

from __future__ import annotations

import math

from jembench.pages.gates.verdict import FAILURES, SAME, GateVerdict, Judgement
from jembench.pages.summary import COLUMNS, LINES
from jembench.pages.tables.figures import short, sure
from jembench.pages.tables.table import subset

SHORTEST = 24  # columns that an id has at least
GAP = "  "
FINEST = 6  # decimals


def text(verdict: GateVerdict, *, full: bool = False) -> str:
    """A verdict in lines.

    Args:
        verdict: the verdict.
        full: whether every metric has its line, of any length.
    """
    head, notes = [headline(verdict), comparison(verdict)], subset(verdict.fresh.metrics, verdict.fresh)
    if full:
        return "\n".join(map(_printed, [*head, *_table(verdict.rows, None), *notes]))
    rows = [row for row in verdict.rows if row.outcome in (*FAILURES, "better")]
    if untested := [row.id for row in verdict.rows if row.outcome == "not tested"]:
        notes.insert(0, f"not tested, never fails: {', '.join(untested)}")
    room = LINES - len(head) - len(notes)
    lines = _table(rows if len(rows) <= room else rows[: room - 1], COLUMNS)
    more = [f"… {len(rows) - len(lines)} more: --full"] if len(rows) > len(lines) else []
    return "\n".join(map(cut, [*head, *lines, *more, *notes]))


def facts(verdict: GateVerdict) -> str:
    """What the numbers are of: ``protocol 3f2a…, 360 images, paired``."""
    sources = verdict.fresh.protocol.sources
    n = sources["test"].n if "test" in sources else sum(source.n for source in sources.values())
    words = [f"protocol {verdict.fresh.protocol_hash[:4]}…", f"{n:,} images"]
    if verdict.kind != SAME:
        words.append("paired" if verdict.paired else "not paired: other noise")
    return ", ".join(words)


def headline(verdict: GateVerdict) -> str:
    """The first line, with what the numbers are of at its end as far as there is room."""
    first, last = verdict.counts, facts(verdict)
    while len(first) + len(GAP) + len(last) > COLUMNS and ", " in last:
        last = last.partition(", ")[2]
    return f"{first}{' ' * (COLUMNS - len(first) - len(last))}{last}"


def comparison(verdict: GateVerdict) -> str:
    """Who is compared with whom, and what is worse."""
    fresh, golden = verdict.fresh, verdict.golden
    whose = "" if fresh.model.name == golden.model.name else f" against {golden.model.name}"
    return f"{fresh.model.name}{whose} on {fresh.track}, suite {fresh.suite} · {verdict.kind}: {rule(verdict)}"


def rule(verdict: GateVerdict) -> str:
    """What is worse."""
    if verdict.kind == SAME:
        return "beyond tolerance is worse"
    if verdict.trainings:
        return f"beyond tolerance + {verdict.trainings} trainings, p<{short(verdict.rule.alpha, 2)}"
    return f"beyond tolerance and Holm's p<{short(verdict.rule.alpha, 2)}"


def values(row: Judgement) -> str:
    """``.998 → .941``; a dash for what is missing."""
    after = None if row.after is None else row.after.value
    return f"{_number(row.before.value or 0.0, row)} → {'—' if after is None else _number(after, row)}"


def change(row: Judgement) -> str:
    """``-.057 [-.081, -.033]``, without the interval where there is none; why a value is missing."""
    if row.difference is None:
        return row.reason
    estimate = row.difference.estimate
    word = _number(estimate.value, row)
    if not word.startswith("-") and float(word):
        word = f"+{word}"
    if estimate.low is None or estimate.high is None:
        return word
    return f"{word} [{_number(estimate.low, row)}, {_number(estimate.high, row)}]"


def sureness(row: Judgement) -> str:
    """``p<.001``; the reason if there is no test."""
    return sure(row.p) if row.p is not None else row.reason if row.difference is not None else ""


def bar(row: Judgement) -> str:
    """``tolerance .01``, with what training seeds add to it."""
    return f"tolerance {figure(row.tolerance)}{f'+{figure(row.spread, 2)}' if row.spread else ''}"


def figure(value: float, digits: int = 3) -> str:
    """A number in a few digits without a leading zero."""
    words = f"{value:.{digits}g}" if value < 100 else f"{value:.0f}"
    return words.removeprefix("0") if words.startswith("0.") else words


def cut(line: str, width: int = COLUMNS) -> str:
    """A line in its width, of letters that print."""
    line = _printed(line)
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _table(rows: list[Judgement], width: int | None) -> list[str]:
    """Aligned columns; ids too long for the width lose their middle, why a value is missing ends its line."""
    cells = [
        [row.outcome, row.id, values(row), *((change(row), sureness(row), bar(row)) if row.difference else ())]
        for row in rows
    ]
    widths = [max((len(line[place]) for line in cells if len(line) > place), default=0) for place in range(6)]
    if width is not None:
        rest = sum(widths) - widths[1] + len(GAP) * (sum(map(bool, widths)) - 1)
        widths[1] = min(widths[1], max(SHORTEST, width - rest))
    lines = []
    for row, line in zip(rows, cells, strict=True):
        line[1] = _shortened(line[1], widths[1])
        words = [cell.ljust(size) for cell, size in zip(line, widths, strict=False) if size]
        words += [] if row.difference else [row.reason]
        lines.append(GAP.join(words).rstrip())
    return lines


def _printed(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _shortened(name: str, width: int) -> str:
    left = (width - 1) // 2
    return name if len(name) <= width else f"{name[:left]}…{name[len(name) - (width - 1 - left) :]}"


def _number(value: float, row: Judgement) -> str:
    """A number of a row without a leading zero, with the decimals by which its difference is told from 0."""
    size = abs(row.before.value or 0.0)
    decimals = 3 if size <= 1 else 2 if size < 100 else 0
    gap = 0.0 if row.difference is None else abs(row.difference.estimate.value)
    if gap > 0:
        decimals = min(FINEST, max(decimals, 1 - math.floor(math.log10(gap))))
    words = f"{value:.{decimals}f}"
    bare = words.lstrip("-")
    return f"{'-' if float(words) < 0 else ''}{bare.removeprefix('0') if '.' in bare else bare}"
