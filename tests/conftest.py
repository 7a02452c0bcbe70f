"""What several test files share: finished runs, the command line in process, hashes of folders, ends of processes."""

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings

import jembench
from jembench import cli
from jembench.api import Result
from jembench.ground import progress

settings.register_profile(
    "same", settings(derandomize=True, deadline=None)
)  # a failure is one tomorrow too, on every machine
settings.load_profile("same")


class Answer(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine too, nothing is said of what takes its time: tests of the command line are of other lines."""
    monkeypatch.setattr(progress, "FIRST", 600.0)
    monkeypatch.setattr(progress, "LOG_EVERY", 600.0)


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands say nothing to GitHub, also where it runs the tests."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same global generators, whatever ran before it on its worker."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """``jembench ARGS`` in this process."""

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["jembench", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert code is None or isinstance(code, int)
        return Answer(code or 0, out, err)

    return call


@pytest.fixture(name="Bomb")
def _bomb() -> Callable[[Path], object]:
    """A function from a path to an object whose pickles touch that file when they are loaded."""

    class Bomb:
        def __init__(self, target: Path) -> None:
            self.target = target

        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return Path.touch, (self.target,)

    return Bomb


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Result]:
    """A function from a model and its track to the result of suite ``all``, computed by one of the test workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def evaluated(model: str, track: str) -> Result:
        with FileLock(shared / f"{model}.lock"):
            return jembench.evaluate(model, "all", track=track, output=shared / f"store-{model}")

    return evaluated


@pytest.fixture(scope="session")
def oracle(store: Callable[[str, str], Result]) -> Result:
    """Every suite on the track whose truth is known, in one uninterrupted run."""
    return store("oracle", "gauss")


@pytest.fixture(scope="session")
def digits(store: Callable[[str, str], Result]) -> dict[str, Result]:
    """Every suite of the shipped models."""
    return {name: store(name, "digits") for name in ("jem", "softmax")}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that writes a file of random photographs into a user's folder and returns it; the cache is a new one.

    ``shelf("cifar10_test", 40)`` writes 40 with balanced labels; ``images`` and ``labels`` may be given, None is none.
    """
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "shelf"
    folder.mkdir()

    def put(name: str, n: int = 0, *, seed: int = 0, classes: int = 10, **arrays: object) -> Path:
        if n:
            images = np.random.default_rng([seed, n]).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
            arrays = {"images": images, "labels": np.arange(n) % classes, **arrays}
        np.savez(folder / f"{name}.npz", **{key: value for key, value in arrays.items() if value is not None})
        return folder

    return put


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function from a name to the accuracy of random weights over random images, a part of cifar10's test split."""
    import torch

    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))

    def part(name: str = "linear", *, n: int = 60, seed: int = 0, limit: int | None = None) -> Result:
        folder = tmp_path / f"images-{n}-{seed}"
        folder.mkdir(exist_ok=True)
        images = np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / "cifar10_test.npz", images=images, labels=np.arange(n) % 10)
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
        options = {"track": "cifar10", "data_dir": folder, "name": name, "limit": limit}
        return jembench.evaluate(module, "accuracy", output=tmp_path / "parts", **options)

    return part


@pytest.fixture
def tree() -> Callable[[Path], dict[str, str]]:
    """A function from a folder to path -> hash of all its files."""

    def tree(folder: Path) -> dict[str, str]:
        return dict(_hashes(folder))

    return tree


def _hashes(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def ended() -> Callable[[Iterable[int]], float]:
    """A function that waits until processes have ended, at most 2 s, and says how long that took."""

    def ended(pids: Iterable[int]) -> float:
        left, started = set(pids), time.monotonic()
        while left := {pid for pid in left if _runs(pid)}:
            assert time.monotonic() - started < 2, f"processes {left} still run 2 s after their parent's death"
            time.sleep(0.005)
        return time.monotonic() - started

    return ended


def _runs(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody buries, as in a container without init, does not."""
    status = Path(f"/proc/{pid}/stat")
    if Path("/proc/self").exists():
        try:
            return status.read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(found.strip()) and not found.strip().startswith("Z")
