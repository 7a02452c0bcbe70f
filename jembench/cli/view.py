"""The live view of a training run on stderr: a few lines on a terminal, a line now and then in a log."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from statistics import fmean
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from jembench.ground.progress import LOG_EVERY, patience
from jembench.metrics.scores import PAPER

if TYPE_CHECKING:
    from torch import Tensor

    from jembench.store.history import Epoch, Rollback
    from jembench.training.run import Progress

REFRESH_EVERY = 0.25  # seconds
BEFORE = "reading images, building the network"


RECENT = 20  # iterations that the shown signals are means of


WINDOW = 30.0  # seconds that the rate is of


class TrainingView:
    """An observer of a training run that shows it on stderr; a context manager.

    On a terminal a few lines are drawn anew at most every ``REFRESH_EVERY`` seconds, by the training thread itself, and
    are gone at the end; in a log there is a line at most every ``LOG_EVERY`` seconds. A rollback is a line that stays,
    in both.

    Args:
        quiet: show nothing at all.
        name: of the run, where several follow each other.
    """

    def __init__(self, quiet: bool, name: str = "") -> None:
        self._quiet = quiet
        self._name = name
        self._live: Live | None = None
        self._recent: deque[Progress] = deque(maxlen=RECENT)
        self._epoch: Epoch | None = None
        self._rate = _Rate()
        self._shown = time.monotonic()
        self._waiting = ExitStack()  # until there is an iteration to show

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._waiting.enter_context(patience(f"{self._name}: {BEFORE}" if self._name else BEFORE, self._quiet))
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.close()
        if self._live is not None:
            self._live.stop()

    def iterated(self, progress: Progress) -> None:
        """Show it, if the last time is long enough ago."""
        if self._quiet:
            return
        self._waiting.close()
        now = time.monotonic()
        self._recent.append(progress)
        self._rate.count(now)
        if now - self._shown >= (LOG_EVERY if self._live is None else REFRESH_EVERY):
            self._shown = now
            self._show(now)

    def validated(self, epoch: Epoch, samples: Tensor | None) -> None:
        """Keep the numbers to be shown."""
        self._epoch = epoch

    def rolled_back(self, event: Rollback) -> None:
        """Print a line that stays; what was seen before it belongs to a course that was given up."""
        self._recent.clear()
        if self._epoch is not None and self._epoch.iteration > event.back_to:
            self._epoch = None
        line = f"rollback at {event.iteration}: {event.reason}; back to {event.back_to}, {event.change}"
        line = f"{self._name}: {line}" if self._name else line
        if self._live is not None:
            self._live.console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        elif not self._quiet:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def _show(self, now: float) -> None:
        last = self._recent[-1]
        rows = _rows(tuple(self._recent), self._epoch)
        speed = self._rate.words(now, last.total - last.iteration)
        if self._live is None:
            parts = [f"{last.iteration} of {last.total}  {speed}".rstrip(), *(f"{head}: {text}" for head, text in rows)]
            sys.stderr.write((f"{self._name}: " if self._name else "") + "; ".join(parts) + "\n")
            sys.stderr.flush()
        else:
            self._live.update(_picture(self._name, last, speed, rows), refresh=True)


class _Rate:
    """Iterations per second over the last ``WINDOW`` seconds, validation and rollbacks included."""

    def __init__(self) -> None:
        self._done = 0
        self._marks: deque[tuple[float, int]] = deque()

    def count(self, now: float) -> None:
        """One more iteration."""
        self._done += 1
        if not self._marks or now - self._marks[-1][0] >= 1:
            self._marks.append((now, self._done))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW:
            self._marks.popleft()

    def words(self, now: float, left: int) -> str:
        """Such as ``3.6/s  0:05:02 left``; nothing as long as it is not known."""
        since, first = self._marks[0]
        if self._done == first or now <= since:
            return ""
        rate = (self._done - first) / (now - since)
        return f"{rate:.3g}/s  {timedelta(seconds=round(left / rate))} left"


def _rows(recent: Sequence[Progress], epoch: Epoch | None) -> list[tuple[str, str]]:
    """What there is to know, as (of what, numbers): training signals are means over the recent iterations."""
    last = recent[-1]
    signals = [progress.signals for progress in recent]
    train = _numbers(
        ("loss", "+.3f", [signal.loss for signal in signals]),
        ("nll", ".3f", [signal.nll for signal in recent]),
        ("accuracy", ".3f", [signal.accuracy for signal in recent]),
    )
    energies = _numbers(
        ("data", "+.2f", [signal.log_px_data for signal in signals]),
        ("samples", "+.2f", [signal.log_px_samples for signal in signals]),
        ("gap", "+.2f", [signal.gap for signal in signals]),
    )
    rows = [("train", train), ("log p(x)", energies)]
    if epoch is not None:
        values = {name: [value] for name, value in epoch.values.items() if value is not None}
        columns = (
            ("accuracy", ".3f", values.get("accuracy", [])),
            ("ECE", ".3f", values.get("ece", [])),
            ("log p(x)", "+.2f", values.get("log_px", [])),
        )
        rows.append((f"validation at {epoch.iteration}", _numbers(*columns)))
        rows.append(("AUROC", _numbers(*((s.title, ".3f", values.get(f"auroc_{s.name}", [])) for s in PAPER))))
    rollbacks = f"{last.rollbacks} rollback{'' if last.rollbacks == 1 else 's'}"
    sampling = f"  {last.sampling:.0%} of the time in SGLD" if last.sampling > 0 else ""
    rows.append(("run", rollbacks + sampling))
    return [(head, text) for head, text in rows if text]


def _numbers(*named: tuple[str, str, Sequence[float]]) -> str:
    """The means of what is a number, with their names."""
    columns = [(name, form, [value for value in values if math.isfinite(value)]) for name, form, values in named]
    return "  ".join(f"{name} {fmean(values):{form}}" for name, form, values in columns if values)


def _picture(name: str, last: Progress, speed: str, rows: list[tuple[str, str]]) -> Group:
    """A bar and a line for each row."""
    top = Table.grid(padding=(0, 1))
    top.add_row(name, ProgressBar(last.total, last.iteration, width=30), f"{last.iteration}/{last.total}  {speed}")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    for head, text in rows:
        table.add_row(head, text)
    return Group(top, table)
