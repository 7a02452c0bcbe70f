"""Files: the one way to write one, or a folder of them, whole or not at all; and the one way to read TOML."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from jembench.types import UserError


def require_file(path: Path) -> None:
    """Raise :class:`UserError` unless ``path`` is a file."""
    try:
        exists = path.is_file()
    except OSError:  # a name too long for the system
        exists = False
    if not exists:
        raise UserError(f"{path}: no such file")


def read_table(path: Path, noun: str) -> dict[str, Any]:
    """The content of a TOML file, with or without the byte order mark of some editors.

    Args:
        path: of the file.
        noun: what such a file is called in an error, such as ``recipe``.

    Raises:
        UserError: if it cannot be read, or is not TOML.
    """
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: not a readable {noun} ({error})") from error


def write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, making its folder if need be.

    Raises:
        UserError: if the place cannot be written.
    """
    with replacing(path) as file:
        file.write(data)


def create(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` if nobody else has: of several at the same time one wins.

    Raises:
        FileExistsError: if the file is there.
        UserError: if the place cannot be written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        write(temporary, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with path.open("xb") as file:
                file.write(data)
    except FileExistsError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); nothing was lost") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to be written piece by piece, which is at ``path`` once all of it is on the disk, and nowhere if not.

    Raises:
        UserError: if the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); nothing was lost") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """A folder to fill: it becomes ``path`` when the block ends, and is nothing if it fails.

    Raises:
        UserError: if the place is taken or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in (path for path in temporary.rglob("*") if path.is_file()):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        temporary.rename(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); nothing was lost") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
