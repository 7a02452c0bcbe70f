"""The cache of this machine: downloads, image sets prepared to be mapped into memory, and converted checkpoints.

It lies in ``$JEMBENCH_CACHE``, or else in ``jembench`` in the user's cache folder; all of it can be removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jembench.ground import files
from jembench.ground.identity import file_sha256, identity
from jembench.types import UserError

FRESH = 2 * 10**9  # nanoseconds; no file system counts in coarser steps


def root() -> Path:
    """The folder of the cache; it need not exist."""
    if folder := os.environ.get("JEMBENCH_CACHE"):
        return Path(folder).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache").absolute() / "jembench"


def downloads() -> Path:
    """Where published data sets are kept."""
    return root() / "data"


def prepared(key: str) -> Path:
    """The folder of a prepared image set."""
    return root() / "prepared" / key[:32]


def converted(key: str) -> Path:
    """The folder of a converted checkpoint (:mod:`jembench.zoo.official`)."""
    return root() / "converted" / key[:32]


def baselines() -> Path:
    """Where baselines are put that no wheel carries (:mod:`jembench.zoo.baselines`)."""
    return root() / "baselines"


def zoo() -> Path:
    """Where downloaded weights of other libraries are kept (:mod:`jembench.zoo.named`)."""
    return root() / "models"


def content(path: Path) -> str:
    """The SHA-256 of a file, or of all files of a folder and their names, read once while nobody writes to them.

    Time and size of a file may be those of another that was put in its place; the time of its last change of any kind
    (``ctime``) is nobody's to set.

    Raises:
        OSError: if the file is not there.
    """
    if path.is_dir():
        return _content_of_folder(path)
    facts = path.stat()
    stamp = [str(path.resolve()), *_stamp(facts)]
    return _remembered(stamp, facts.st_ctime_ns, lambda: file_sha256(path))


def _content_of_folder(folder: Path) -> str:
    entered: set[str] = set()
    paths = []
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in entered:
            folders.clear()  # a link that leads back
            continue
        entered.add(real)
        folders.sort()
        paths += [Path(place) / name for name in names]
    return contents(sorted(path for path in paths if path.exists()), folder)


def contents(paths: list[Path], folder: Path) -> str:
    """The SHA-256 of files and of their names relative to a folder, as :func:`content`."""
    facts = {os.path.relpath(path, folder): path.stat() for path in paths}
    stamp = [str(folder.resolve()), [[name, *_stamp(each)] for name, each in facts.items()]]
    newest = max((each.st_ctime_ns for each in facts.values()), default=0)
    return _remembered(stamp, newest, lambda: identity([[name, file_sha256(folder / name)] for name in facts]))


def _stamp(facts: os.stat_result) -> list[int]:
    return [facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _remembered(stamp: list[Any], changed: int, digest: Callable[[], str]) -> str:
    """The digest that is kept under a stamp; made, and kept unless something was changed just now."""
    memo = root() / "hashes" / f"{identity(stamp)[:32]}.txt"
    try:
        memory = memo.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        memory = ""
    if re.fullmatch(r"[0-9a-f]{64}", memory):
        return memory
    fresh = digest()
    if time.time_ns() - changed > FRESH:  # of a file that is being written its time may stand still
        files.write(memo, fresh.encode("ascii"))
    return fresh


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock ``name`` of the cache: others that want it wait, so that work is done once.

    It only saves work: files are written whole or not at all, with or without it. Where a file system has no locks,
    nobody waits. A process that dies lets go of it.

    Raises:
        UserError: if the cache cannot be written.
    """
    path = root() / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    except OSError as error:
        raise UserError(
            f"the cache {root()} cannot be written ({error.strerror or error}): set JEMBENCH_CACHE to a folder that can"
        ) from error
    with file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
