"""Progress: a bar on a terminal and in a notebook, lines of the logger ``jembench`` elsewhere.

What is shown is ``show(count, total, words)``; one with ``timed = True`` also takes ``left``, the seconds that are
left, and ``share``, the part of the work that is done, in [0, 1].
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

LOG = logging.getLogger("jembench")

FIRST = 1.0  # seconds until the first line of a log
LOG_EVERY = 10.0  # seconds between the others

Show = Callable[..., None]


def silent(done: int, total: int, words: str = "") -> None:
    """Show nothing."""


def silence(words: str) -> None:
    """Say nothing."""


def stopwatch(seconds: float) -> str:
    """The seconds that something took, in words.

    >>> stopwatch(4.13), stopwatch(112), stopwatch(7330)
    ('4.1 s', '1 min 52 s', '2 h 2 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def duration(seconds: float) -> str:
    """Seconds for people, to about two digits.

    >>> [duration(s) for s in (0.2, 7.4, 48, 101, 1300, 9000, 90000)]
    ['1 s', '7 s', '50 s', '1 min 40 s', '22 min', '2 h 30 min', '25 h']
    """
    if seconds < 20:
        return f"{max(1, round(seconds))} s"
    step = 5 if seconds < 57.5 else 10 if seconds < 300 else 60
    whole = step * round(seconds / step)
    if whole < 60:
        return f"{whole} s"
    if whole < 300:
        return f"{whole // 60} min" + f" {whole % 60} s" * (whole % 60 > 0)
    if whole < 3600:
        return f"{whole // 60} min"
    minutes = 10 * round(whole / 600)
    if minutes < 600:
        return f"{minutes // 60} h" + f" {minutes % 60} min" * (minutes % 60 > 0)
    return f"{round(whole / 3600)} h"


@contextmanager
def shown(wanted: bool | Show) -> Iterator[Show]:
    """How progress is shown: True for a bar or lines, False for nothing, or a function of the caller's own."""
    if callable(wanted):
        yield wanted
    elif not wanted:
        yield silent
    elif sys.stderr is not None and sys.stderr.isatty():
        with _audible(), _bar() as show:
            yield show
    elif (display := _display()) is not None:
        yield _Notebook(display)
    else:
        with _audible(), _ticking("reading models and images") as lines:
            yield lines


@contextmanager
def patience(words: str, quiet: bool = False) -> Iterator[None]:
    """Say what takes its time if it does: a line after a moment, and then one now and then."""
    if quiet:
        yield
    else:
        with _audible(), _ticking(words):
            yield


class _Lines(logging.Handler):
    """A line on stderr for a message of a part that cannot know who listens."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        sys.stderr.write(f"{record.getMessage()}\n")
        sys.stderr.flush()


_LINES = _Lines()


def spoken(quiet: bool) -> bool:
    """Let the messages of all parts be read on stderr, unless ``quiet``; an option's callback."""
    LOG.addHandler(_LINES)  # once: a handler that is there is not added
    LOG.setLevel(logging.WARNING if quiet else logging.INFO)
    return quiet


@contextmanager
def _audible() -> Iterator[None]:
    """Lines on stderr as long as this lasts, where nobody has set up logging: it is theirs to say what is read."""
    if LOG.hasHandlers():
        yield
        return
    before = LOG.level
    LOG.addHandler(_LINES)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.removeHandler(_LINES)
        LOG.setLevel(before)


class _Ticker:
    """Lines of a log: the first after a moment, then one now and then, also while nothing is counted."""

    timed = True

    def __init__(self, words: str) -> None:
        self._words, self._count, self._left = words, "", None  # type: tuple[str, str, float | None]
        self._since = self._last = time.monotonic()
        self._wait = FIRST
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __call__(
        self, count: int, total: int, words: str = "", *, left: float | None = None, share: float | None = None
    ) -> None:
        """Count, and say so if it is time."""
        with self._lock:
            self._count, self._words, self._left = f"{count} of {total}", words, left
            self._since = time.monotonic()
            self._say()

    def close(self) -> None:
        """Say nothing more."""
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.25):
            with self._lock:
                self._say()

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._last < min(self._wait, LOG_EVERY):
            return
        self._last, self._wait = now, LOG_EVERY
        left = "" if self._left is None else f"about {duration(self._left - (now - self._since))} left"
        LOG.info("%s", "  ".join(filter(None, (self._count, left, self._words))))


@contextmanager
def _ticking(words: str) -> Iterator[_Ticker]:
    ticker = _Ticker(words)
    try:
        yield ticker
    finally:
        ticker.close()


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Left(ProgressColumn):
        """The time that is left, counted down."""

        def render(self, task: Task) -> Text:
            end = task.fields["end"]
            return Text("" if end is None else f"{duration(end - time.monotonic())} left")

    columns = (BarColumn(), TextColumn("{task.fields[count]}"), Left(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading models and images", total=None, count="", end=None)
        began = time.monotonic()

        def show(
            count: int, total: int, words: str = "", *, left: float | None = None, share: float | None = None
        ) -> None:
            done = count / max(total, 1) if share is None else share
            now = time.monotonic()
            if left is None and done > 0:
                left = (now - began) * (1 - done) / done
            bar.update(
                task,
                completed=done,
                total=1.0,
                description=words,
                count=f"{count}/{total}",
                end=None if left is None else now + left,
            )

        show.timed = True  # type: ignore[attr-defined]
        yield show


class _Notebook:
    """A bar of HTML that is drawn anew in its place; rich's own asks for ipywidgets."""

    timed = True

    def __init__(self, display: Any) -> None:
        self._html, self._display = display
        self._handle: Any = None

    def __call__(
        self, count: int, total: int, words: str = "", *, left: float | None = None, share: float | None = None
    ) -> None:
        """Draw it."""
        from html import escape

        done = count / max(total, 1) if share is None else share
        ahead = "" if left is None else f"about {duration(left)} left"
        text = " &nbsp; ".join(filter(None, (f"{count} of {total}", ahead, escape(words))))
        content = self._html(f'<progress value="{done:.4f}" max="1"></progress> &nbsp; {text}')
        if self._handle is None:
            self._handle = self._display(content, display_id=True)
        else:
            self._handle.update(content)


def _display() -> Any:
    """``HTML`` and ``display`` of IPython in a notebook, else None."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    if shell is None or not getattr(shell, "kernel", None):
        return None
    display = import_module("IPython.display")
    return display.HTML, display.display
