"""Progress: a bar on a terminal, a line now and then in a log, nothing where it is to be quiet."""

import io
import logging
import math
import re
import sys
import time
from types import SimpleNamespace

import pytest
from rich.text import Text

from jembench.cli.view import TrainingView
from jembench.ground import progress as module
from jembench.ground.progress import patience, shown
from jembench.store.history import Epoch, Rollback
from jembench.training.run import Progress
from jembench.training.supervisor import Signals


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, *, wanted: bool = True) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with shown(wanted) as show:
        for done in range(4):
            show(done, 3, f"loss {done}")
    return stream.getvalue()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """The logger as it is where nobody has set up logging."""
    log = logging.getLogger("jembench")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "hasHandlers", lambda: False)  # pytest's own are everywhere
    log.setLevel(logging.NOTSET)
    return log


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, bare: logging.Logger) -> None:
    assert run(io.StringIO(), monkeypatch) == ""  # sooner over than the first line is due
    monkeypatch.setattr(module, "LOG_EVERY", 0.0)
    assert run(io.StringIO(), monkeypatch).splitlines() == [f"{done} of 3  loss {done}" for done in range(4)]
    assert (bare.handlers, bare.level) == ([], logging.NOTSET)  # a library leaves nothing behind


def test_a_logger_that_is_set_up_gets_the_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("jembench").removeHandler(module._LINES)  # of a command that was tested before
    caplog.set_level(logging.INFO, logger="jembench")
    monkeypatch.setattr(module, "LOG_EVERY", 0.0)
    assert run(io.StringIO(), monkeypatch) == ""
    assert caplog.messages == [f"{done} of 3  loss {done}" for done in range(4)]


def test_a_log_says_what_is_left_also_while_nothing_is_counted(
    monkeypatch: pytest.MonkeyPatch, bare: logging.Logger
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module, "FIRST", 0.1)
    monkeypatch.setattr(module, "LOG_EVERY", 10.0)
    with shown(True) as show:
        show(120, 412, "jem: logits", left=100.0, share=0.3)
        time.sleep(0.7)
    assert stream.getvalue() == "120 of 412  about 1 min 40 s left  jem: logits\n"


def test_patience_says_what_takes_its_time(monkeypatch: pytest.MonkeyPatch, bare: logging.Logger) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module, "FIRST", 0.1)
    monkeypatch.setattr(module, "LOG_EVERY", 10.0)
    with patience("reading images"):
        time.sleep(0.7)
    with patience("reading images", True):
        time.sleep(0.4)
    assert stream.getvalue() == "reading images\n"


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = run(Terminal(), monkeypatch)
    assert "3/3" in drawn
    assert "loss 3" in drawn
    assert drawn.rstrip().endswith("\x1b[2K")  # the line is erased


def test_the_bar_is_of_the_work_and_counts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with shown(True) as show:
        show(1, 2, "long chains", left=100.2, share=0.1)
        time.sleep(0.3)
    assert "1/2 1 min 40 s left" in Text.from_ansi(stream.getvalue()).plain


def test_a_notebook_gets_a_bar_without_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    handle = SimpleNamespace(update=drawn.append)

    def display(content: str, *, display_id: bool) -> object:
        drawn.append(content)
        return handle

    names = SimpleNamespace(HTML=str, display=display)
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", shell)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", names)  # type: ignore[arg-type]
    assert run(io.StringIO(), monkeypatch) == ""
    assert len(drawn) == 4
    assert '<progress value="0.3333" max="1">' in drawn[1]
    assert "3 of 3 &nbsp; loss 3" in drawn[3]
    shell.get_ipython = lambda: None  # a script that imports IPython
    run(io.StringIO(), monkeypatch)
    assert len(drawn) == 4


def test_quiet_is_quiet_everywhere(monkeypatch: pytest.MonkeyPatch, bare: logging.Logger) -> None:
    monkeypatch.setattr(module, "LOG_EVERY", 0.0)
    assert run(io.StringIO(), monkeypatch, wanted=False) == ""
    assert run(Terminal(), monkeypatch, wanted=False) == ""


def test_a_function_is_called_as_it_is() -> None:
    seen: list[tuple[int, int]] = []
    with shown(lambda done, total, words: seen.append((done, total))) as show:
        show(1, 2, "words")
    assert seen == [(1, 2)]


NAN = math.nan
EPOCH = Epoch(iteration=2, values={"accuracy": 0.75, "ece": 0.125, "log_px": 3.5, "auroc_mass": 0.9, "nll": None})
EVENT = Rollback(iteration=77, reason="the loss is nan", signals={}, back_to=0, change="learning rate x 0.3")
ROLLBACK = "rollback at 77: the loss is nan; back to 0, learning rate x 0.3\n"


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def at(iteration: int, loss: float = 0.5, *, density: bool = True) -> Progress:
    """An iteration of 40, of a JEM or of a classifier."""
    signals = Signals(loss, 1.0, log_px_data=2.0, log_px_samples=3.0) if density else Signals(loss, 1.0)
    return Progress(iteration, 40, signals, nll=0.25, accuracy=1.0, rollbacks=2, sampling=0.6 if density else 0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def attached(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return stream


def test_a_log_of_a_training_gets_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    stream = attached(io.StringIO(), monkeypatch)
    with TrainingView(quiet=False) as view:
        for i in range(1, 25):
            view.iterated(at(i, loss=float(i)))
            clock.now += 1.0
    first, second = stream.getvalue().splitlines()
    assert first == (
        "11 of 40  1/s  0:00:29 left; train: loss +6.000  nll 0.250  accuracy 1.000; "  # the mean of 1 to 11
        "log p(x): data +2.00  samples +3.00  gap -1.00; run: 2 rollbacks  60% of the time in SGLD"
    )
    assert second.startswith("21 of 40  1/s  0:00:19 left; train: loss +11.500 ")  # of the last 20


def test_what_does_not_apply_is_not_shown(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    stream = attached(io.StringIO(), monkeypatch)
    with TrainingView(quiet=False, name="softmax") as view:
        view.validated(EPOCH, None)
        clock.now += 10
        view.iterated(at(1, NAN, density=False))
    assert stream.getvalue() == (
        "softmax: 1 of 40; train: nll 0.250  accuracy 1.000; "
        "validation at 2: accuracy 0.750  ECE 0.125  log p(x) +3.50; AUROC: mass 0.900; run: 2 rollbacks\n"
    )


def test_a_rollback_is_a_line_that_stays(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """In a log as on a terminal; and what was seen before it is not shown any more."""
    for name in ("", "jem"):
        stream = attached(io.StringIO(), monkeypatch)
        with TrainingView(quiet=False, name=name) as view:
            view.iterated(at(1, loss=50.0))
            view.validated(EPOCH, None)
            view.rolled_back(EVENT)
            clock.now += 10
            view.iterated(at(1))
        line, after = stream.getvalue().splitlines(keepends=True)
        assert line == (f"{name}: " if name else "") + ROLLBACK
        assert "loss +0.500" in after
        assert "validation" not in after
    terminal = attached(Terminal(), monkeypatch)
    with TrainingView(quiet=False) as view:
        view.iterated(at(1))
        view.rolled_back(EVENT)
    assert ROLLBACK.strip() in Text.from_ansi(terminal.getvalue()).plain


def test_a_validation_before_the_snapshot_outlives_a_rollback(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    stream = attached(io.StringIO(), monkeypatch)
    with TrainingView(quiet=False) as view:
        view.validated(EPOCH, None)
        view.rolled_back(EVENT.model_copy(update={"back_to": 2}))
        clock.now += 10
        view.iterated(at(3))
    assert "validation at 2" in stream.getvalue()


def test_a_terminal_is_drawn_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    stream = attached(Terminal(), monkeypatch)
    with TrainingView(quiet=False, name="jem") as view:
        view.validated(EPOCH, None)
        for i in range(1, 41):
            clock.now += 0.05
            view.iterated(at(i))
        drawn = stream.getvalue()
    assert 6 <= len(set(re.findall(r"\d+/40", drawn))) <= 9  # in two seconds
    for words in ("jem", "loss +0.500", "gap -1.00", "validation at 2", "mass 0.900", "60% of the time in SGLD"):
        assert words in drawn
    assert stream.getvalue().endswith("\x1b[2K")  # the lines are erased


def test_a_quiet_training_is_quiet_everywhere(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    for stream in (io.StringIO(), Terminal()):
        attached(stream, monkeypatch)
        with TrainingView(quiet=True) as view:
            clock.now += 60
            view.iterated(at(1))
            view.validated(EPOCH, None)
            view.rolled_back(EVENT)
        assert stream.getvalue() == ""
