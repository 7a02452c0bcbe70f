"""Images in the columns of tables: Parquet files, and folders of Hugging Face data sets (Parquet or Arrow).

An image is a picture's bytes, alone or as ``bytes`` of a struct, as ``datasets`` keeps them; a label is an integer in
``label``, ``labels``, ``fine_label`` or ``y``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jembench.data.pictures import START, Bytes, deep
from jembench.ground import guard
from jembench.types import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

IMAGES = ("image", "img", "images", "jpg", "png", "webp", "picture")
LABELS = ("label", "labels", "fine_label", "y", "cls")


def read(paths: tuple[Path, ...], what: str, *, labelled: bool) -> tuple[Iterable[tuple[Bytes, int]], tuple[str, ...]]:
    """The images of tables with their labels, and the names of the classes.

    Raises:
        UserError: if they cannot be read, or have no column of images.
    """
    with guard.guarded(f"{what}: {paths[0]} cannot be read"):
        schema = _schema(paths[0])
        names = schema.names
    image = next((name for name in IMAGES if name in names), None)
    label = next((name for name in LABELS if name in names), None)
    if image is None:
        raise UserError(f"{what}: {paths[0]} has no column 'image' of pictures (it has {', '.join(names)})")
    if labelled and label is None:
        raise UserError(f"{what}: {paths[0]} has no column 'label' of classes (it has {', '.join(names)})")
    if labelled and not _whole(schema.field(label).type):
        raise UserError(f"{what}: {paths[0]}: {label!r} is {schema.field(label).type}, needs integers")
    return _rows(paths, image, label if labelled else None, what), _classes(schema, label)


def _whole(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind))


def _schema(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).schema


def _batches(path: Path, names: list[str]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        yield from pq.ParquetFile(path).iter_batches(batch_size=256, columns=names)
        return
    with pa.memory_map(str(path)) as source:
        for batch in pa.ipc.open_stream(source):
            yield batch.select(names)


def _rows(paths: tuple[Path, ...], image: str, label: str | None, what: str) -> Iterator[tuple[Bytes, int]]:
    names = [image, *([label] if label else [])]
    for path in paths:
        with guard.guarded(f"{what}: {path} cannot be read"):
            for batch in _batches(path, names):
                labels = batch.column(label).to_pylist() if label else [-1] * len(batch)
                for cell, y in zip(batch.column(image).to_pylist(), labels, strict=True):
                    yield _picture(cell), -1 if y is None else int(y)


def _picture(cell: Any) -> Bytes:
    from PIL import Image, ImageOps

    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise TypeError("an image is not kept in the table itself, as its bytes")
    with Image.open(io.BytesIO(content)) as picture:
        if deep(content[:START], picture):
            raise ValueError("an image has more than 8 bits a colour")
        upright = ImageOps.exif_transpose(picture)
        pixels = np.asarray(upright.convert("L" if upright.mode in ("1", "L", "LA") else "RGB"), dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _classes(schema: Any, label: str | None) -> tuple[str, ...]:
    """The names of the classes that ``datasets`` keeps beside a table."""
    import json

    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()
