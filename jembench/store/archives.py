"""Archives: a result as one ZIP file, to be sent or kept beside code, and the results of strangers in a folder.

An archive holds ``result.json``, ``examples.parquet`` and at most a few words and ``seeds.json``, and nothing else. A
file is read by its name up to the size that a result may have, and never extracted to a path that it names itself.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jembench.ground import files
from jembench.store.results import EXAMPLES, LARGEST, RESULT, ResultDocument, printable, read_result
from jembench.types import UserError

SUFFIX = ".zip"
SEEDS = "seeds.json"
WORDS = "README.txt"
NAMES = {**LARGEST, SEEDS: 64 << 20, WORDS: 1 << 20}  # file -> bytes that are read of it
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes every time
PIECE = 1 << 20
PLACE = re.compile(r"(?:^|[\s'\"(=:@,])((?:/[\w.+@~-]+){2,}|~/\S+|[A-Za-z]:[\\/]\S+)")  # a path from the root or home


def pack(folder: Path, path: Path, words: str = "") -> None:
    """Write the result of a folder to one file.

    Args:
        folder: of the result.
        path: of the file, which is replaced.
        words: what a reader is told beside it.

    Raises:
        UserError: if a place cannot be read or written.
    """
    with files.replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            content = words.encode() if name == WORDS else None
            if name != WORDS and (folder / name).is_file():
                content = (folder / name).read_bytes()
            if content:
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of a result for as long as the block lasts: itself, or what an archive holds.

    Raises:
        UserError: if an archive is damaged, too large, or holds anything else.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="jembench-") as place:
        _unpack(path, Path(place))
        yield Path(place)


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            for name in names:
                if name not in NAMES or names.count(name) > 1:
                    known = ", ".join(NAMES)
                    raise UserError(f"{path}: {printable(name[:80])!r} in it is not, or not once, one of {known}")
            for name in names:
                _extract(archive, name, folder / name, NAMES[name])
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        words = printable(" ".join(str(error).split()))
        raise UserError(f"{path}: not a result folder, nor a ZIP file of one ({words})") from error


def _extract(archive: zipfile.ZipFile, name: str, path: Path, most: int) -> None:
    """Write a file of an archive, piece by piece up to a size."""
    with archive.open(name) as source, path.open("wb") as target:
        size = 0
        while piece := source.read(PIECE):
            size += len(piece)
            if size > most:
                raise ValueError(f"{name} has more than {most >> 20} MiB")
            target.write(piece)


def places(document: ResultDocument) -> list[str]:
    """The paths of a machine that a result names, apart from its request: in a name, a setting, a warning."""
    found: list[str] = []

    def text(value: object) -> None:
        if isinstance(value, str):
            found.extend(match[1] for match in PLACE.finditer(value))
        elif isinstance(value, dict):
            for part in (*value, *value.values()):
                text(part)
        elif isinstance(value, list):
            for part in value:
                text(part)

    text(document.model_dump(mode="json", exclude={"request"}))
    return found


def below(place: Path) -> list[Path]:
    """The result folders and archives in or below a folder, in order."""
    folders = {path.parent for path in place.rglob(RESULT)}
    return sorted([*folders, *place.rglob(f"*{SUFFIX}")])


def faults(place: Path) -> list[str]:
    """What is wrong with the results of strangers in or below a folder, a line each; empty if all are valid.

    Raises:
        UserError: if it is no folder, or holds no result.
    """
    if not place.is_dir():
        raise UserError(f"{place}: no such folder")
    found, lines = below(place), []
    if not found:
        raise UserError(f"{place}: holds no result")
    for path in found:
        try:
            examine(path)
        except UserError as error:
            words = " ".join(str(error).split())
            lines.append(words if str(path) in words else f"{path}: {words}")
    return lines


def examine(path: Path) -> ResultDocument:
    """The document of a result folder or archive, with its examples decoded once.

    Raises:
        UserError: if it is not valid, in one line.
    """
    from jembench.store.records import decode

    with opened(path) as folder:
        document = read_result(folder)
        try:
            decode((folder / EXAMPLES).read_bytes())
        except ValueError as error:
            words = printable(" ".join(str(error).split()))
            raise UserError(f"{path}: its examples are damaged ({words})") from error
        return document
