"""Snapshots: the laws of the ring, and what is left of it after kills, damage and a full disk."""

import errno
import hashlib
import io
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jembench.training import snapshots
from jembench.training.snapshots import DIGEST, Ring, decode, reopen
from jembench.types import UserError


def state(iteration: int) -> dict[str, object]:
    return {"iteration": iteration, "weights": torch.full((50,), float(iteration)), "names": ["a"], "none": None}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def written(folder: Path, *iterations: int, keep: int = 2) -> Ring:
    ring = Ring(folder, keep)
    for iteration in iterations:
        ring.save(state(iteration), iteration)
    return ring


def named(ring: Ring) -> set[str]:
    return {f"{number:06d}.pt" for number, _ in ring.entries}


def test_the_first_and_the_last_stay(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "kept", 3)
    for iteration in range(0, 800, 100):
        ring.save(state(iteration), iteration)
        assert files(ring.folder) == named(ring)
    assert ring.entries == [(0, 0), (5, 500), (6, 600), (7, 700)]
    assert ring.iterations == [0, 500, 600, 700]
    for iteration in ring.iterations:
        found = decode(ring.content(iteration))
        assert found["iteration"] == iteration
        assert torch.equal(found["weights"], torch.full((50,), float(iteration)))


def test_after_going_back_the_later_ones_leave(tmp_path: Path) -> None:
    ring = written(tmp_path, 0, 100, 200, 300, keep=3)
    ring.save({**state(100), "again": True}, 100)
    assert ring.entries == [(0, 0), (4, 100)]
    assert files(tmp_path) == named(ring)
    assert decode(ring.content(100))["again"]
    ring.save({**state(0), "again": True}, 0)
    assert ring.entries == [(0, 0), (5, 0)]  # the first of the run stays as it was
    assert decode(ring.content(0))["again"]
    ring.save(state(100), 100)
    assert ring.iterations == [0, 0, 100]


@settings(max_examples=25, deadline=None)
@given(keep=st.integers(1, 4), moves=st.lists(st.one_of(st.just(-1), st.integers(0, 5)), max_size=12))
def test_the_laws_of_the_ring(tmp_path_factory: pytest.TempPathFactory, keep: int, moves: list[int]) -> None:
    """Whatever the order of going on (-1) and going back (to one of those there), and reopened after every step."""
    folder = tmp_path_factory.mktemp("ring")
    ring, numbers, now = Ring(folder, keep), [], 0
    ring.save(state(0), 0)
    for move in moves:
        now = now + 10 if move < 0 else ring.iterations[move % len(ring.entries)]
        ring.save(state(now), now)
        numbers.append(ring.entries[-1][0])
        assert ring.entries[0] == (0, 0)
        assert ring.entries[-1][1] == now
        assert len(ring.entries) <= keep + 1
        assert ring.iterations == sorted(ring.iterations)
        assert files(folder) == named(ring)
        again, content = reopen(folder, keep)
        assert again == ring
        assert decode(content)["iteration"] == now
    assert numbers == sorted(set(numbers))  # they only grow
    shutil.rmtree(folder)


@pytest.mark.parametrize("rewind", [False, True])
def test_a_kill_between_write_and_tidy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewind: bool) -> None:
    """What should have left is still there; the newest file knows that it is not of the ring."""
    ring = written(tmp_path, 0, 100, 200)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ring.save(state(100 if rewind else 300), 100 if rewind else 300)
    assert files(tmp_path) == {f"{n:06d}.pt" for n in range(4)}
    again, content = reopen(tmp_path, 2)
    assert decode(content)["iteration"] == (100 if rewind else 300)
    assert again.iterations == ([0, 100] if rewind else [0, 200, 300])
    again.save(state(400), 400)
    assert files(tmp_path) == named(again)
    assert again.entries[-1] == (4, 400)


def test_a_kill_in_the_middle_of_a_write_leaves_nothing_for_good(tmp_path: Path) -> None:
    ring = written(tmp_path, 0, 100)
    (tmp_path / ".000002.pt.0123456789abcdef").write_bytes(b"half of it")
    again, content = reopen(tmp_path, 2)
    assert again == ring
    assert decode(content)["iteration"] == 100
    again.save(state(200), 200)
    assert files(tmp_path) == named(again)


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "cut": data[:middle],
            "empty": b"",
            "short": data[: DIGEST - 1],
            "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "zeros": bytes(len(data)),
        }[how]
    )


@pytest.mark.parametrize("how", ["cut", "empty", "short", "flipped", "zeros"])
def test_a_damaged_newest_file_gives_way_to_the_one_before(tmp_path: Path, how: str) -> None:
    written(tmp_path, 0, 100, 200)
    damage(tmp_path / "000002.pt", how)
    ring, content = reopen(tmp_path, 2)
    assert ring.entries == [(0, 0), (1, 100)]
    assert decode(content)["iteration"] == 100
    ring.save(state(200), 200)
    assert ring.entries == [(0, 0), (1, 100), (2, 200)]
    assert decode(reopen(tmp_path, 2)[1])["iteration"] == 200
    damage(tmp_path / "000001.pt", how)
    with pytest.raises(UserError, match="the snapshot is gone or damaged, so the run cannot go back to it"):
        ring.content(100)
    (tmp_path / "000001.pt").unlink()
    with pytest.raises(UserError, match="gone or damaged"):
        ring.content(100)


def test_nothing_readable_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run" / snapshots.FOLDER
    with pytest.raises(UserError, match="run holds no snapshot to resume: leave out --resume"):
        reopen(folder, 2)
    written(folder, 0, 100)
    for path in folder.iterdir():
        damage(path, "cut")
    with pytest.raises(UserError, match="run holds no readable snapshot: "):
        reopen(folder, 2)


@pytest.mark.parametrize("where", ["fsync", "write"])
def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    ring = written(tmp_path, 0, 100, 200)
    before, entries = {path.name: path.read_bytes() for path in tmp_path.iterdir()}, list(ring.entries)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full(io.BytesIO):
        write = full  # type: ignore[assignment]

    with monkeypatch.context() as patch:
        if where == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "open", lambda *_, **__: Full())
        with pytest.raises(UserError, match=r"000003\.pt: cannot be written \(No space left on device\); nothing was"):
            ring.save(state(300), 300)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert ring.entries == entries
    again, content = reopen(tmp_path, 2)
    assert decode(content)["iteration"] == 200
    again.save(state(300), 300)
    assert again.iterations == [0, 200, 300]


LIMITED = """
import resource, sys, torch
from pathlib import Path
from jembench.training.snapshots import Ring, decode, reopen
from jembench.types import UserError
folder = Path(sys.argv[1])
ring = Ring(folder, 2)
ring.save({"x": torch.zeros(100)}, 0)
ring.save({"x": torch.ones(100)}, 100)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    ring.save({"x": torch.zeros(100_000)}, 200)
except UserError as error:
    print(error)
again, content = reopen(folder, 2)
assert again == ring and again.iterations == [0, 100]
assert decode(content)["x"].sum() == 100
assert sorted(path.name for path in folder.iterdir()) == ["000000.pt", "000001.pt"]
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on the size of files")
def test_a_file_that_the_system_will_not_take_whole(tmp_path: Path) -> None:
    """For once without a pretended error: the kernel stops the write in its middle."""
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], check=True, capture_output=True, text=True
    ).stdout
    assert "000002.pt: cannot be written (File too large); nothing was lost" in found


class Evil:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.environ["EVIL"],)


def sealed(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    folder = tmp_path / "kept"
    written(folder, 0)
    file = io.BytesIO()
    torch.save({"ring": [(0, 0), (1, 100)], "state": Evil()}, file)
    (folder / "000001.pt").write_bytes(sealed(file.getvalue()))
    with pytest.raises(UserError, match=r"000001\.pt: not a snapshot of this version of jembench \(UnpicklingError\)"):
        reopen(folder, 2)
    with pytest.raises(UserError, match="not a snapshot"):
        decode(file.getvalue())
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [[1, 2], {"ring": []}, {"ring": [], "state": {}, "more": 1}])
def test_something_else_is_refused(tmp_path: Path, content: object) -> None:
    file = io.BytesIO()
    torch.save(content, file)
    (tmp_path / "000000.pt").write_bytes(sealed(file.getvalue()))
    with pytest.raises(UserError, match=r"not a snapshot of this version of jembench$"):
        reopen(tmp_path, 2)
