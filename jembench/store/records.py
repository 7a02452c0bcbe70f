"""The store: content-keyed records on disk, written whole or not at all.

Layout under the output folder, with the schema version as part of every path of records::

    <model>-<track>-<suite>/                      a result and its pictures (:mod:`jembench.store.shelf`)
    .store/v1/names/<model>-<track>-<suite>       the key of that result
    .store/v1/chunks/<2 hex>/<key>.parquet        records of one chunk
    .store/v1/chunks/<2 hex>/<key>.cost.json      what it took and where it was computed, outside the records' digest

The only write is :func:`jembench.ground.files.write`: a temporary file in the same folder, fsync, rename. A process
killed at any point leaves complete files only, and the next run goes on from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench.ground import files
from jembench.ground.identity import array_sha256, canonical, identity, sha256
from jembench.types import UserError

SCHEMA = 1
HIDDEN = ".store"
MOST_ROWS, MOST_COLUMNS, MOST_NUMBERS, MOST_BYTES = 100_000_000, 10_000, 10**9, 8 << 30  # of a file that is decoded
LETTERS = 1000  # bytes of a word in a column
DIGEST = "jembench.sha256"  # in a record's Parquet metadata: the hash of its columns


@dataclass(frozen=True)
class Store:
    """A folder of results, and of the records behind them.

    Attributes:
        output: the folder of the results.
    """

    output: Path

    @property
    def root(self) -> Path:
        """The folder of the records, by schema."""
        return self.output / HIDDEN / f"v{SCHEMA}"

    @classmethod
    def open(cls, output: Path) -> Store:
        """The store under ``output``, which is made on the first write.

        Raises:
            UserError: if ``output`` is a file, or holds a store of another schema.
        """
        try:
            if output.exists() and not output.is_dir():
                raise UserError(f"{output}: is a file, not a folder: choose another --output")
            versions = {chunks.parent.name for chunks in (output / HIDDEN).glob("v*/chunks")}
        except OSError as error:
            raise UserError(f"{output}: cannot be a store ({error.strerror or error})") from error
        for other in sorted(name for name in versions - {f"v{SCHEMA}"} if re.fullmatch(r"v\d+", name)):
            raise UserError(
                f"{output}: holds a store of schema {other[1:]}, this jembench writes schema {SCHEMA}: "
                "choose another --output, or move that folder away"
            )
        return cls(output)

    def has(self, key: str) -> bool:
        """Whether the chunk's records are there."""
        return self._path(key).exists()

    def put(self, key: str, records: bytes, cost: Mapping[str, Any]) -> None:
        """Keep a chunk's records; the records come last, so that a chunk with records is complete."""
        files.write(self._path(key).with_suffix(".cost.json"), canonical(dict(cost)))
        files.write(self._path(key), records)

    def get(self, key: str) -> bytes:
        """The bytes of a chunk's records."""
        try:
            return self._path(key).read_bytes()
        except OSError as error:
            raise UserError(f"{self._path(key)}: cannot be read ({error.strerror or error})") from error

    def cost(self, key: str) -> Any:
        """What a chunk took and where it was computed: the JSON that it was put with, not validated."""
        path = self._path(key).with_suffix(".cost.json")
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            files = f"{path.parent / key}.*"
            raise UserError(f"{path}: not readable ({error}); remove {files} to compute the chunk anew") from error

    def records(self, key: str) -> tuple[dict[str, NDArray[Any]], str]:
        """The columns of a chunk, and the SHA-256 of its bytes.

        Raises:
            UserError: if the file is damaged.
        """
        content = self.get(key)
        try:
            return decode(content), sha256(content)
        except ValueError as error:
            raise UserError(
                f"{self._path(key)}: damaged records ({error}); remove the file and run again to compute them anew"
            ) from error

    def _path(self, key: str) -> Path:
        return self.root / "chunks" / key[:2] / f"{key}.parquet"


def encode(columns: Mapping[str, NDArray[Any]], *, compression: str = "none") -> bytes:
    """Columns ``(N,)`` or ``(N, K)`` as the bytes of a Parquet file with their digest: same columns, same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, column in columns.items():
        flat = _arrow(np.ascontiguousarray(column).reshape(-1))
        arrays[name] = flat if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, column.shape[1])
    sink = pa.BufferOutputStream()
    table = pa.table(arrays).replace_schema_metadata({DIGEST: _digest(columns)})
    pq.write_table(table, sink, compression=compression, use_dictionary=False)
    return bytes(sink.getvalue())


def _arrow(column: NDArray[Any]) -> Any:
    """A column ``(N,)`` as an Arrow array; numbers by their memory, since `pyarrow.array` would import pandas."""
    import pyarrow as pa

    if column.dtype.kind == "U":
        words = [word.encode() for word in column.tolist()]
        ends = np.cumsum([0, *map(len, words)], dtype=np.int32)
        return pa.StringArray.from_buffers(len(words), pa.py_buffer(ends), pa.py_buffer(b"".join(words)))
    if column.dtype.kind not in "iuf":
        return pa.array(column)
    return pa.Array.from_buffers(pa.from_numpy_dtype(column.dtype), len(column), [None, pa.py_buffer(column)])


def decode(data: bytes) -> dict[str, NDArray[Any]]:
    """The columns of :func:`encode`; ``ValueError`` if the bytes are not such a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _check_size(file.metadata, file.schema_arrow)
        if text := [each.name for each in file.schema_arrow if pa.types.is_string(each.type)]:
            file = pq.ParquetFile(
                pa.BufferReader(data), read_dictionary=text
            )  # a word is there once, however often used
        table = file.read()  # read_table is six times as slow on small files
        columns = _arrays(table)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    # Parquet's own checksums leave out names, types and sizes: with ours a flipped bit is an error, never a number
    if (table.schema.metadata or {}).get(DIGEST.encode()) != _digest(columns).encode():
        raise ValueError("the columns are not those that were written")
    return columns


def _check_size(facts: Any, schema: Any) -> None:
    """Refuse a file that says of itself that it is larger than memory may hold, before it is decoded.

    A column chunk is not asked for its encoding: on damaged bytes pyarrow ends the process.
    """
    if len(set(schema.names)) < len(schema.names):
        raise ValueError("two columns of one name")
    if strange := next((each.type for each in schema if not _ours(each.type)), None):
        raise ValueError(f"a column of type {str(strange)[:40]}, which records have none of")
    width = sum(max(1, getattr(each.type, "list_size", 1)) for each in schema)
    for what, count, most in (
        ("rows", facts.num_rows, MOST_ROWS),
        ("columns", facts.num_columns, MOST_COLUMNS),
        ("numbers", facts.num_rows * width, MOST_NUMBERS),
        ("bytes", sum(facts.row_group(place).total_byte_size for place in range(facts.num_row_groups)), MOST_BYTES),
    ):
        if not 0 <= count <= most:
            raise ValueError(f"{count:,} {what}, no records have more than {most:,}")


def _ours(kind: Any) -> bool:
    """Whether a column of records may be of an Arrow type: numbers, flags, text, rows of as many numbers."""
    from pyarrow import types

    inner = kind.value_type if types.is_fixed_size_list(kind) else kind
    number = types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner)
    return bool(number or types.is_string(kind))


def _arrays(table: Any) -> dict[str, NDArray[Any]]:
    """The columns of an Arrow table; ``(N, K)`` where it holds lists of K."""
    from pyarrow import types

    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if types.is_fixed_size_list(column.type):
            width = column.type.list_size
            columns[name] = _values(column.flatten()).reshape(-1, width)
        else:
            columns[name] = _values(column)
    return columns


def _values(column: Any) -> NDArray[Any]:
    """The values of an Arrow array ``(N,)``, as its own ``to_numpy`` has them, which would load pandas first."""
    import pyarrow as pa
    import pyarrow.compute

    if pa.types.is_dictionary(column.type):
        if column.null_count or any(size.as_py() > LETTERS for size in pa.compute.binary_length(column.dictionary)):
            raise ValueError(f"a column has words of more than {LETTERS} letters, or none")
        words = np.array([*column.dictionary.to_pylist(), None], dtype=object)  # text, whatever its words look like
        text: NDArray[Any] = words[np.from_dlpack(column.indices)]
        return text
    if pa.types.is_boolean(column.type):
        return np.from_dlpack(column.cast(pa.uint8())).astype(bool)
    return np.from_dlpack(column)


def _digest(columns: Mapping[str, NDArray[Any]]) -> str:
    """Hash of names, types, shapes and values; text by its characters, whatever holds it."""
    arrays = {name: column.astype(str) if column.dtype.kind == "O" else column for name, column in columns.items()}
    return identity([[name, array_sha256(array)] for name, array in arrays.items()])
