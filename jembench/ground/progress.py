"""Progress on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG_EVERY = 10.0  # seconds

Show = Callable[..., None]


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(4.13), duration(112), duration(7300)
    ('4.1 s', '1 min 52 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def silent(done: int, total: int, words: str = "") -> None:
    """Show nothing."""


def silence(words: str) -> None:
    """Say nothing."""


@contextmanager
def progress(quiet: bool) -> Iterator[Show]:
    """Progress on stderr, ``show(count, total, words)``: a bar on a terminal, a line every 10 s in a log."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _lines()


class _Lines(logging.Handler):
    """A line on stderr for a message of a part that cannot know who listens."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        sys.stderr.write(f"{record.getMessage()}\n")


_LINES = _Lines()


def spoken(quiet: bool) -> bool:
    """Let the messages of all parts be read on stderr, unless ``quiet``; an option's callback."""
    log = logging.getLogger("jembench")
    log.addHandler(_LINES)  # once: a handler that is there is not added
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    return quiet


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(count: int, total: int, words: str = "") -> None:
            bar.update(task, completed=count, total=total, description=words)

        yield show


def _lines() -> Show:
    last = time.monotonic()

    def show(count: int, total: int, words: str = "") -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_EVERY:
            last = time.monotonic()
            sys.stderr.write(f"{count} of {total}  {words}".rstrip() + "\n")

    return show
