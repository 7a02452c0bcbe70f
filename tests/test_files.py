"""Files and folders are written whole or not at all."""

import pytest

from jembench import files
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
