"""Snapshots: everything that the rest of a training run depends on, in a ring of files.

A snapshot is written whole or not at all (:func:`jembench.ground.files.write`), after the SHA-256 of its content, and
carries the list of the snapshots that were valid when it was written. So after a kill at any point the newest readable
file says what the ring is, and after a full disk the last good one is intact. Nothing is unpickled:
``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jembench.ground import files
from jembench.types import UserError

FOLDER = "snapshots"
DIGEST = 32  # bytes of a SHA-256


@dataclass
class Ring:
    """The snapshots of a run: the first, and the last ``keep`` of the others.

    Attributes:
        folder: folder of the snapshots.
        keep: number of snapshots that are kept beside the first of the run.
        entries: (number, iteration) of each snapshot, in the order of iterations; numbers only grow.
    """

    folder: Path
    keep: int
    entries: list[tuple[int, int]] = field(default_factory=list)

    @property
    def iterations(self) -> list[int]:
        """Iterations of the snapshots, in order."""
        return [iteration for _, iteration in self.entries]

    def save(self, state: dict[str, Any], iteration: int) -> None:
        """Write the snapshot of an iteration; those of later iterations, and of the same but the first, leave the ring.

        Raises:
            UserError: if it cannot be written; the ring is then as it was.
        """
        number = max((number for number, _ in self.entries), default=-1) + 1
        earlier = [entry for entry in self.entries[1:] if entry[1] < iteration]
        entries = [*self.entries[:1], *[*earlier, (number, iteration)][-self.keep :]]
        file = io.BytesIO()
        torch.save({"ring": entries, "state": state}, file)
        content = file.getvalue()
        files.write(self._path(number), hashlib.sha256(content).digest() + content)
        self.entries = entries
        left_over = self.folder.glob(".[0-9]*.pt.*")  # of a write that was killed
        for path in {*_files(self.folder), *left_over} - {self._path(number) for number, _ in entries}:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def content(self, iteration: int) -> bytes:
        """The last snapshot of an iteration, for :func:`decode`.

        Raises:
            UserError: if the file is gone or damaged.
        """
        number = [number for number, other in self.entries if other == iteration][-1]
        content = _read(self._path(number))
        if content is None:
            raise UserError(f"{self._path(number)}: the snapshot is gone or damaged, so the run cannot go back to it")
        return content

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.pt"


def reopen(folder: Path, keep: int) -> tuple[Ring, bytes]:
    """The ring in a folder by its newest readable snapshot, and the content of that one.

    Raises:
        UserError: if there is none.
    """
    paths = _files(folder)
    for path in reversed(paths):
        if (content := _read(path)) is not None:
            entries = [(int(number), int(iteration)) for number, iteration in _decoded(content, path)["ring"]]
            return Ring(folder, keep, entries), content
    if not paths:
        raise UserError(f"{folder.parent} holds no snapshot to resume: leave out --resume")
    raise UserError(
        f"{folder.parent} holds no readable snapshot: remove {folder}, and leave out --resume to start again"
    )


def exist(folder: Path) -> bool:
    """Whether a folder holds a snapshot; a run that was killed before its first has an empty one, and begins anew."""
    return bool(_files(folder))


def decode(content: bytes) -> dict[str, Any]:
    """The state in a snapshot, on the CPU."""
    state: dict[str, Any] = _decoded(content, Path("snapshot"))["state"]
    return state


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.pt"))


def _read(path: Path) -> bytes | None:
    """The content of a snapshot file, or None if it is not what was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    content = data[DIGEST:]
    return content if hashlib.sha256(content).digest() == data[:DIGEST] else None


def _decoded(content: bytes, path: Path) -> dict[str, Any]:
    try:
        snapshot = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: not a snapshot of this version of jembench ({type(error).__name__})") from error
    if not isinstance(snapshot, dict) or snapshot.keys() != {"ring", "state"}:
        raise UserError(f"{path}: not a snapshot of this version of jembench")
    return snapshot
