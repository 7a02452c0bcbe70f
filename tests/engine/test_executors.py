"""Executors: every job once, errors at once, and nothing that outlives its parent."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from jembench.engine import executors
from jembench.types import UserError

WORK = '''
"""What workers import: spawned processes know no test module."""
import os, sys, time
from pathlib import Path
from jembench.engine import executors
from jembench.types import UserError


class Work:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.made = f"{os.getpid()}-{time.monotonic_ns()}"

    def __call__(self, job):
        (self.folder / f"job-{job}").write_text(self.made)


class Failing(Work):
    def __call__(self, job):
        if job == 0:
            raise UserError("job 0 is bad")
        time.sleep(0.05)
        super().__call__(job)


class Dying(Work):
    def __call__(self, job):
        if job == 1:
            os._exit(7)
        super().__call__(job)


class Endless(Work):
    """Even jobs sleep, odd ones compute: a busy interpreter must end as well."""

    def __call__(self, job):
        (self.folder / f"started-{job}").write_text(str(os.getpid()))
        while True:
            if job % 2 == 0:
                time.sleep(60)


def endless(folder):
    from functools import partial
    executors.run(partial(Endless, folder), [0, 1], workers=2, done=lambda place: None)


if __name__ == "__main__":
    endless(sys.argv[1])
'''


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module above, importable here and in workers."""
    (tmp_path / "executors_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "executors_work", raising=False)
    import executors_work  # type: ignore[import-not-found]

    return executors_work  # type: ignore[no-any-return]


def run(make: Callable[[], Callable[[object], None]], jobs: list[int], workers: int) -> int:
    """How many jobs were reported done."""
    done: list[None] = []
    executors.run(make, jobs, workers=workers, done=done.append)
    return len(done)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once_by_work_that_is_made_once(work: ModuleType, tmp_path: Path, workers: int) -> None:
    assert run(partial(work.Work, str(tmp_path)), list(range(8)), workers) == 8
    made = [(tmp_path / f"job-{job}").read_text() for job in range(8)]
    assert 1 <= len(set(made)) <= workers
    here = {text.partition("-")[0] == str(os.getpid()) for text in made}
    assert here == {workers == 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_and_stops_the_rest(work: ModuleType, tmp_path: Path, workers: int) -> None:
    with pytest.raises(UserError, match=r"^job 0 is bad$"):
        run(partial(work.Failing, str(tmp_path)), list(range(60)), workers)
    assert len(list(tmp_path.glob("job-*"))) < 30


def test_a_worker_that_dies_is_a_user_error(work: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a worker process died") as error:
        run(partial(work.Dying, str(tmp_path)), list(range(8)), 2)
    assert "\n" not in str(error.value)


def test_workers_end_with_their_parent(
    work: ModuleType, tmp_path: Path, ended: Callable[[Iterable[int]], float]
) -> None:
    """One that sleeps, and one whose interpreter is busy."""
    started = [tmp_path / f"started-{job}" for job in (0, 1)]
    parent = subprocess.Popen([sys.executable, str(tmp_path / "executors_work.py"), str(tmp_path)])
    try:
        end = time.monotonic() + 60
        while not all(path.exists() and path.read_text() for path in started):
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        parent.kill()
        parent.wait()
    ended(int(path.read_text()) for path in started)


ORDERED = """
import time
from pathlib import Path


class Ordered:
    def __init__(self, folder):
        self.folder = Path(folder)

    def __call__(self, job):
        number, before = job
        missing = [other for other in before if not (self.folder / f"done-{other}").exists()]
        assert not missing, (number, missing)
        time.sleep(0.02 if number % 2 else 0.1)
        (self.folder / f"done-{number}").write_text("")
"""


@pytest.mark.parametrize("workers", [1, 3])
def test_a_job_starts_after_those_that_it_waits_for(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A diamond, a chain and a loner: each finds done what it names; nobody waits for nothing."""
    (tmp_path / "ordered_work.py").write_text(ORDERED)
    monkeypatch.syspath_prepend(str(tmp_path))
    from importlib import import_module

    ordered = import_module("ordered_work").Ordered
    after = {1: {0}, 2: {0}, 3: {1, 2}, 4: {3}, 6: {5}}
    jobs = [(number, sorted(after.get(number, ()))) for number in range(8)]
    count: list[int] = []
    executors.run(partial(ordered, tmp_path), jobs, workers=workers, done=count.append, after=after)
    assert len(count) == 8
