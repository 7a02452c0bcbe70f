"""Progress: a bar on a terminal, a line now and then in a log, nothing where it is to be quiet."""

import io
import sys

import pytest

from jembench import progress as module
from jembench.progress import progress


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, *, quiet: bool = False) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with progress(quiet) as show:
        for done in range(4):
            show(done, 3, f"loss {done}")
    return stream.getvalue()


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(io.StringIO(), monkeypatch) == ""  # sooner over than the first line is due
    monkeypatch.setattr(module, "LOG_EVERY", 0.0)
    assert run(io.StringIO(), monkeypatch).splitlines() == [f"{done} of 3  loss {done}" for done in range(4)]


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = run(Terminal(), monkeypatch)
    assert "3/3" in drawn
    assert "loss 3" in drawn
    assert drawn.rstrip().endswith("\x1b[2K")  # the line is erased


def test_quiet_is_quiet_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_EVERY", 0.0)
    assert run(io.StringIO(), monkeypatch, quiet=True) == ""
    assert run(Terminal(), monkeypatch, quiet=True) == ""
