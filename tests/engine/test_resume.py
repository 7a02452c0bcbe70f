"""Resume: killed anywhere, the next run goes on, and its records and result are those of an uninterrupted run.

The run to be killed is the real command with a watch on the places where a chunk is computed and written. At the k-th
passage of one place it gets SIGKILL: from itself, or, where workers compute, the parent gets it from a worker, which
then stays busy at that place until its own end.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import jembench
from jembench.api import Result
from jembench.store.results import RESULT

CHUNKS = 13

DRIVER = '''
import contextlib, os, signal
from pathlib import Path
from jembench import cli; from jembench.engine import bench as engine

PLACE, PASSAGE, NOTES = os.environ["KILL_PLACE"], int(os.environ["KILL_PASSAGE"]), Path(os.environ["KILL_NOTES"])
passages = 0
worker, parent = __name__ == "__mp_main__", os.getppid()
if worker:
    (NOTES / str(os.getpid())).touch()


def passing(place):
    global passages
    if place != PLACE:
        return
    passages += 1
    if passages < PASSAGE:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(parent if worker else os.getpid(), signal.SIGKILL)
    while True:
        pass


class Slowly:
    """A file that is written in two halves."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        half = len(data) // 2
        self.file.write(data[:half])
        self.file.flush()
        passing("half a record")
        self.file.write(data[half:])


def watch(original, before=lambda *_: None, after=lambda *_: None):
    def watched(*arguments):
        before(*arguments)
        result = original(*arguments)
        after(*arguments)
        return result
    return watched


def kind(target):
    if target.name.endswith(".cost.json"):
        return "cost"
    return {"examples.parquet": "examples", "result.json": "result"}.get(target.name, "record")


opened = Path.open
Path.open = lambda self, mode="r", *rest, **more: (
    Slowly(opened(self, mode, *rest, **more))
    if mode == "xb" and ".parquet" in self.name and self.parent.parent.name == "chunks"
    else opened(self, mode, *rest, **more)
)
Path.replace = watch(
    Path.replace,
    before=lambda self, target: passing(f"before the rename of a {kind(target)}"),
    after=lambda self, target: passing(f"after the rename of a {kind(target)}"),
)
engine.Bench._columns = watch(
    engine.Bench._columns, before=lambda *_: passing("before a chunk"), after=lambda *_: passing("computed a chunk")
)

if __name__ == "__main__":
    cli.main()
'''

#: (place, passage, workers): in a worker the passages are its own, so that about twice as many chunks are done.
FEW = [
    ("half a record", 7, 1),
    ("before the rename of a record", 4, 1),
    ("computed a chunk", 3, 2),
    ("after the rename of a record", 4, 2),
]
MANY = [
    ("before a chunk", 1, 1),
    ("before a chunk", 6, 1),
    ("computed a chunk", 2, 1),
    ("computed a chunk", 13, 1),
    ("before the rename of a cost", 3, 1),
    ("after the rename of a cost", 9, 1),
    ("after the rename of a record", 1, 1),
    ("after the rename of a examples", 1, 1),
    ("before a chunk", 2, 2),
    ("computed a chunk", 5, 2),
    ("half a record", 2, 2),
    ("half a record", 5, 2),
    ("before the rename of a cost", 4, 2),
    ("after the rename of a cost", 3, 2),
    ("before the rename of a record", 2, 2),
    ("before the rename of a record", 5, 2),
]


def chunks(output: Path) -> dict[str, tuple[bytes, int]]:
    """The records there are: name -> content and time of writing."""
    paths = [path for path in output.glob(".store/v1/chunks/*/*.parquet") if not path.name.startswith(".")]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def comparable(folder: Path) -> dict[str, Any]:
    """``result.json`` without what was measured about the measuring."""
    content: dict[str, Any] = json.loads((folder / RESULT).read_text())
    del content["cost"]["seconds"], content["cost"]["peak_memory_mb"], content["provenance"]["created"]
    return content


def kill_and_resume(
    place: str, passage: int, workers: int, folder: Path, oracle: Result, ended: Callable[[Iterable[int]], float]
) -> tuple[int, float]:
    """Kill a run, let it go on, compare; how many chunks the kill left, and how many seconds the workers lived on."""
    output, notes = folder / "output", folder / "notes"
    notes.mkdir(parents=True)
    (folder / "driver.py").write_text(DRIVER)
    options = ["--model", "oracle", "--track", "gauss", "--suite", "all", "--workers", str(workers)]
    watched = {"KILL_PLACE": place, "KILL_PASSAGE": str(passage), "KILL_NOTES": str(notes)}
    killed = subprocess.run(
        [sys.executable, str(folder / "driver.py"), "run", *options, "--output", str(output)],
        env={**os.environ, **watched},
        check=False,
    )
    seconds = ended(int(path.name) for path in notes.iterdir())
    assert killed.returncode == -signal.SIGKILL
    assert any(notes.iterdir()) == (workers > 1)
    left = chunks(output)

    result = jembench.evaluate("oracle", "all", track="gauss", output=output)

    assert {f"{key}.parquet" for key in result.evaluation.outcome.computed} == set(chunks(output)) - set(left)
    now, expected = chunks(output), chunks(oracle.folder.parent)
    assert {name: content for name, (content, _) in now.items()} == {
        name: content for name, (content, _) in expected.items()
    }
    assert left.items() <= now.items()  # with their times: a finished chunk is not written again
    assert comparable(result.folder) == comparable(oracle.folder)
    examples = (result.folder / "examples.parquet").read_bytes()
    assert examples == (oracle.folder / "examples.parquet").read_bytes()
    return len(left), seconds


@pytest.mark.parametrize(("place", "passage", "workers"), FEW)
def test_a_killed_run_goes_on(
    place: str, passage: int, workers: int, tmp_path: Path, oracle: Result, ended: Callable[[Iterable[int]], float]
) -> None:
    left, _ = kill_and_resume(place, passage, workers, tmp_path, oracle, ended)
    assert 0 < left < CHUNKS


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_killed_runs_go_on(tmp_path: Path, oracle: Result, ended: Callable[[Iterable[int]], float]) -> None:
    """Half of them with two workers; most of the kills leave some chunks but not all."""
    partial, slowest = 0, 0.0
    for number, (place, passage, workers) in enumerate(FEW + MANY):
        left, seconds = kill_and_resume(place, passage, workers, tmp_path / str(number), oracle, ended)
        print(f"{place}, passage {passage}, {workers} workers: {left} chunks left, {seconds:.3f} s")  # noqa: T201
        partial += 0 < left < CHUNKS
        slowest = max(slowest, seconds)
    print(f"{partial} of 20 left some but not all chunks; slowest end of workers {slowest:.3f} s")  # noqa: T201
    assert len(FEW + MANY) == 20
    assert sum(workers == 2 for *_, workers in FEW + MANY) == 10
    assert partial >= 15
