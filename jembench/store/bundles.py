"""Bundles: a result as one ZIP file, which a repository keeps beside its code.

It holds ``result.json``, ``examples.parquet`` and at most ``seeds.json``, and nothing else; a file is read by its name,
up to :data:`LARGEST` bytes, and never extracted to a path that it names itself.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jembench.ground import files
from jembench.store.results import EXAMPLES, RESULT
from jembench.types import UserError

SUFFIX = ".zip"
SEEDS = "seeds.json"
NAMES = (RESULT, EXAMPLES, SEEDS)
LARGEST = 1 << 30  # bytes of one file
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes every time
PIECE = 1 << 20


def pack(folder: Path, path: Path) -> None:
    """Write the result of a folder to one file.

    Args:
        folder: of the result.
        path: of the file, which is replaced.

    Raises:
        UserError: if a place cannot be read or written.
    """
    with files.replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in NAMES:
            if (folder / name).is_file():
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                bundle.writestr(entry, (folder / name).read_bytes())


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of a result for as long as the block lasts: itself, or what a bundle holds.

    Raises:
        UserError: if a bundle is damaged, too large, or holds anything else.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="jembench-") as place:
        _unpack(path, Path(place))
        yield Path(place)


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as bundle:
            names = [entry.filename for entry in bundle.infolist()]
            if strange := next((name for name in names if name not in NAMES or names.count(name) > 1), None):
                raise UserError(f"{path}: not a result, it holds {strange!r} beside or twice among {', '.join(NAMES)}")
            for name in names:
                with bundle.open(name) as source, (folder / name).open("wb") as target:
                    size = 0
                    while piece := source.read(PIECE):
                        size += len(piece)
                        if size > LARGEST:
                            raise UserError(f"{path}: {name} is larger than {LARGEST:,} bytes")
                        target.write(piece)
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"{path}: not a result folder, nor a ZIP file of one ({error})") from error
