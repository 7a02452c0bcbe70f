"""The store: what was put is what comes back, whole or not at all, and damage is an error, never another number."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jembench.ground import files
from jembench.ground.identity import sha256
from jembench.store import records
from jembench.store.records import HIDDEN, Store
from jembench.types import UserError

COST = {"seconds": 0.5, "peak_memory_mb": 100.0}
COLUMNS = {
    "index": np.arange(6),
    "label": np.array([3, 1, 4, -1, 5, 9]),
    "forwards": np.ones(6, dtype=np.int32),
    "logits": np.linspace(-1, 1, 18, dtype=np.float32).reshape(6, 3),
    "density": np.array([0.1, -0.0, 1e-300, np.nan, np.inf, -1e300]),
    "source": np.array(["test", "tést", "", "a", "b", "c"]),
}


def equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    """Same names in the same order, kinds, shapes and bits; text by its characters."""
    return list(left) == list(right) and all(
        a.shape == b.shape
        and (a.astype(str) == b.astype(str)).all()
        and (a.dtype.kind in "OU" or (a.dtype == b.dtype and a.tobytes() == b.tobytes()))
        for a, b in zip(left.values(), right.values(), strict=True)
    )


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    kept, key = Store.open(tmp_path), "ab" * 32
    content = records.encode(COLUMNS)
    assert not kept.has(key)
    kept.put(key, content, COST)
    assert kept.has(key)
    columns, digest = Store.open(tmp_path).records(key)
    assert equal(columns, COLUMNS)
    assert digest == sha256(content) == sha256(kept.get(key))
    assert kept.cost(key) == COST


@given(
    st.sampled_from([np.int32, np.int64, np.float32, np.float64]).flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=1, max_dims=2, max_side=5))
    )
)
def test_any_column_comes_back_bit_by_bit(column: np.ndarray) -> None:
    assert equal(records.decode(records.encode({"x": column})), {"x": column})


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=5))
def test_any_text_comes_back(words: list[str]) -> None:
    assert records.decode(records.encode({"x": np.array(words, dtype=object)}))["x"].tolist() == words


def test_what_is_compressed_comes_back_bit_by_bit_from_the_same_bytes() -> None:
    """An eighth of the size is what a table of many empty cells takes."""
    columns = COLUMNS | {name: np.where(np.arange(4096) < 64, 0.1, np.nan) for name in ("a", "b")}
    columns = {name: np.resize(column, (4096, *column.shape[1:])) for name, column in columns.items()}
    plain, packed = records.encode(columns), records.encode(columns, compression="zstd")
    assert equal(records.decode(packed), columns)
    assert len(packed) < len(plain) / 2
    assert records.encode(columns, compression="zstd") == packed


def test_same_columns_same_bytes() -> None:
    """Also for equal arrays of another memory layout, and for text held in another way."""
    other = {name: np.asfortranarray(column.copy()) for name, column in COLUMNS.items()}
    other["source"] = other["source"].astype(object)
    assert records.encode(other) == records.encode(COLUMNS)


def test_a_flipped_bit_is_an_error_or_harmless() -> None:
    """Everywhere: data, page headers, and the names, types and sizes that Parquet's own checksums leave out."""
    content = records.encode(COLUMNS)
    outcomes = {"error": 0, "harmless": 0}
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        try:
            columns = records.decode(bytes(damaged))
        except ValueError:
            outcomes["error"] += 1
        else:
            outcomes["harmless"] += 1
            assert equal(columns, COLUMNS), f"byte {position}"
    assert outcomes["error"] > outcomes["harmless"]  # the rest is padding, statistics and the schema's Arrow twin


@pytest.mark.slow
def test_every_flipped_bit_is_an_error_or_harmless() -> None:
    content = records.encode(COLUMNS)
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            columns = records.decode(bytes(damaged))
        except ValueError:
            continue
        assert equal(columns, COLUMNS), f"bit {bit}"


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_truncated_records_are_damaged_records(tmp_path: Path, keep: int) -> None:
    kept, key = Store.open(tmp_path), "ab" * 32
    kept.put(key, records.encode(COLUMNS), COST)
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"damaged records \(.*remove the file and run again") as error:
        kept.records(key)
    assert "\n" not in str(error.value)


def test_somebody_elses_parquet_is_not_a_record() -> None:
    import pandas as pd

    with pytest.raises(ValueError, match="not those that were written"):
        records.decode(pd.DataFrame({"x": [1.0]}).to_parquet())


def test_a_missing_chunk_and_a_broken_cost_are_user_errors(tmp_path: Path) -> None:
    kept, key = Store.open(tmp_path), "ab" * 32
    with pytest.raises(UserError, match="cannot be read"):
        kept.get(key)
    kept.put(key, records.encode(COLUMNS), COST)
    (path,) = tmp_path.rglob("*.cost.json")
    for content in ("", "{", '{"seconds": '):
        path.write_text(content)
        with pytest.raises(UserError, match="not readable") as error:
            kept.cost(key)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("fault", ["fsync", "rename", "write"])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "deep" / "file.json"
    files.write(path, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if fault == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif fault == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(Path, "open", fail)  # as a folder that may not be written
    with pytest.raises(UserError, match="No space left on device") as error:
        files.write(path, b"new")
    monkeypatch.undo()
    assert "\n" not in str(error.value)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_the_bytes_are_on_disk_before_they_have_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of the whole content first, then one rename within the folder."""
    events: list[tuple[str, int]] = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(("fsync", os.fstat(fd).st_size)), fsync(fd))[1])

    def replace(self: Path, target: Path) -> Path:
        assert self.parent == target.parent
        events.append(("rename", self.stat().st_size))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    files.write(tmp_path / "file", b"12345")
    assert events == [("fsync", 5), ("rename", 5)]


def test_records_come_after_their_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk with records is complete: killed in between, it is computed again."""
    kept, key = Store.open(tmp_path), "ab" * 32
    written = files.write

    def once(path: Path, data: bytes) -> None:
        written(path, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write", once)
    with pytest.raises(KeyboardInterrupt):
        kept.put(key, records.encode(COLUMNS), COST)
    assert not kept.has(key)
    assert kept.cost(key) == COST


@pytest.mark.parametrize("name", ["v0", "v2", "v17"])
def test_a_store_of_another_schema_is_refused(
    tmp_path: Path, tree: Callable[[Path], dict[str, str]], name: str
) -> None:
    files.write(tmp_path / HIDDEN / name / "chunks" / "ab" / "x.parquet", b"precious")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=f"schema {name[1:]}, this jembench writes schema 1"):
        Store.open(tmp_path)
    assert tree(tmp_path) == before


def test_other_things_beside_the_store_are_none_of_its_business(tmp_path: Path) -> None:
    for name in ("vacation", "v1a", "version", "notes", "v2"):
        (tmp_path / HIDDEN / name).mkdir(parents=True)
    (tmp_path / HIDDEN / "v3").touch()
    files.write(tmp_path / HIDDEN / "v1a" / "chunks" / "x.parquet", b"of somebody else")
    assert Store.open(tmp_path).root == tmp_path / HIDDEN / "v1"


def test_an_output_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(UserError, match="is a file"):
        Store.open(file)
    with pytest.raises(UserError, match="cannot be written"):  # root may write anywhere, but not below a file
        Store.open(file / "below").put("ab" * 32, b"", COST)
    with pytest.raises(UserError, match="cannot be a store"):
        Store.open(tmp_path / ("x" * 300))
    assert file.read_text() == "precious"


def test_opening_writes_nothing(tmp_path: Path) -> None:
    Store.open(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_records_are_read_without_pandas() -> None:
    """A run that has its results is over before pandas would be there."""
    columns = {"a": np.ones(2), "b": np.array([True, False]), "c": np.array(["x", "y"]), "d": np.ones((2, 3))}
    kept = records.encode(columns)
    found = records.decode(kept)
    assert all(np.array_equal(found[name], column) for name, column in columns.items())
    assert found["b"].dtype == bool
    code = (
        "import sys; from jembench.store import records; records.decode(sys.stdin.buffer.read())\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, input=kept)
