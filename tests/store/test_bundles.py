"""Bundles: one file that is a result, the same bytes every time; what is none is refused in one line."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jembench.store import bundles
from jembench.store.results import EXAMPLES, RESULT, read_result
from jembench.types import UserError
from jembench.zoo import baselines

JEM = baselines.folder("digits") / "jem" / "golden"


def packed(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in entries:
            bundle.writestr(name, content)
    return buffer.getvalue()


def test_what_is_packed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "gold.zip"
    bundles.pack(JEM, path)
    with bundles.opened(path) as folder:
        assert read_result(folder) == read_result(JEM)
        assert sorted(file.name for file in folder.iterdir()) == sorted((RESULT, EXAMPLES))
    assert not folder.exists()
    with bundles.opened(JEM) as folder:
        assert folder == JEM
    before = path.read_bytes()
    bundles.pack(JEM, path)
    assert path.read_bytes() == before


def flipped(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "nor a ZIP file of one"),
    "text": (lambda: b"{}", "nor a ZIP file of one"),
    "cut": (lambda: packed((RESULT, b"x" * 1000))[:500], "nor a ZIP file of one"),
    "flipped": (lambda: flipped(packed((RESULT, b"x" * 1000))), "nor a ZIP file of one"),
    "path": (lambda: packed((f"../{RESULT}", b"{}")), "it holds '../result.json'"),
    "root": (lambda: packed((f"/{RESULT}", b"{}")), "it holds '/result.json'"),
    "other": (lambda: packed((RESULT, b"{}"), ("run.py", b"")), "it holds 'run.py'"),
}


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_bundle_is_one_line(content: Callable[[], bytes], words: str, tmp_path: Path) -> None:
    path = tmp_path / "gold.zip"
    path.write_bytes(content())
    with pytest.raises(UserError) as error, bundles.opened(path):
        pass
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gold.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(packed((RESULT, b"{}"), (RESULT, b"[]")))
    with pytest.raises(UserError, match="beside or twice"), bundles.opened(path):
        pass


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "LARGEST", 1 << 20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(EXAMPLES, bytes(1 << 26))
    path = tmp_path / "gold.zip"
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < 1 << 17
    with pytest.raises(UserError, match=r"examples.parquet is larger than"), bundles.opened(path):
        pass
