"""Files and folders are written whole or not at all: see also the store, which has kept its tests of files."""

import os
from pathlib import Path

import pytest

from jembench.ground import files
from jembench.types import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_there_when_it_is_whole(tmp_path):
    place = tmp_path / "deep" / "made"
    with files.folder(place) as folder:
        (folder / "a").write_text("one")
        assert not place.exists()
    assert (place / "a").read_text() == "one"
    assert names(place.parent) == ["made"]


@pytest.mark.parametrize(("error", "seen"), [(OSError(28, "full"), UserError), (KeyError("x"), KeyError)])
def test_a_folder_that_fails_leaves_nothing(tmp_path, error, seen):

    def fill():
        with files.folder(tmp_path / "made") as folder:
            (folder / "a").write_text("half")
            raise error

    with pytest.raises(seen):
        fill()
    assert names(tmp_path) == []


def test_what_is_there_is_not_touched(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "b").write_text("precious")
    with pytest.raises(UserError, match="made: cannot be written"), files.folder(tmp_path / "made") as folder:
        (folder / "a").write_text("other")
    assert names(tmp_path) == ["made"]
    assert names(tmp_path / "made") == ["b"]


def test_a_file_of_pieces_has_its_name_once_all_are_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with files.replacing(path) as file:
        file.write(b"12")
        assert not path.exists()
        file.write(b"345")
    assert path.read_bytes() == b"12345"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("fault", [ValueError, UserError, KeyboardInterrupt])
def test_what_fails_in_between_leaves_the_old_file_and_no_other(tmp_path: Path, fault: type[BaseException]) -> None:
    path = tmp_path / "file"
    files.write(path, b"old")
    with pytest.raises(fault, match="mine"), files.replacing(path) as file:  # noqa: PT012
        file.write(b"new")
        raise fault("mine")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(UserError, match="file: cannot be written \\(No space left on device\\)"), files.replacing(path):
        raise OSError(28, "No space left on device")
    assert not os.listdir(tmp_path)
