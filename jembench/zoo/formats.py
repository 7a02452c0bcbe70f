"""What a file is by its content, whatever its name: one that may hold weights, or what it is instead, in words.

Weights are safetensors or what ``torch.save`` wrote, a zip archive or, before 2020, a row of pickles. The rest is what
comes in their place: a page of a server, a pointer of git-LFS, a copy that broke off, a file of another library.
"""

from __future__ import annotations

import json
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jembench.ground.files import require_file
from jembench.types import UserError

HEAD = 512  # bytes that tell what a file is
TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the number that torch.save began its files with before 2020
DOWNLOAD = "download the file itself"
SAVE = "save its state dict by torch.save(model.state_dict(), FILE)"

# First bytes of files that are no weights of torch -> what they are.
_OTHERS = {
    b"\x89HDF": "an HDF5 file, of Keras or TensorFlow: export the tensors to safetensors",
    b"\x93NUMPY": "a NumPy array: save a state dict, names with tensors, as safetensors",
    b"GGUF": "a GGUF file: export the tensors to safetensors",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"BZh": "a bzip2 archive: unpack it",
    b"\xfd7zXZ": "an xz archive: unpack it",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"Rar!": "a rar archive: unpack it",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF document",
}


def is_pickle(path: Path) -> bool:
    """Whether a file begins as those of ``torch.save`` do, today's (a zip archive) or those before 2020.

    Raises:
        UserError: if there is no such file, or it cannot be read.
    """
    start = head(path)
    return not _is_header(start) and (start[:2] == b"PK" or start[:1] == b"\x80")


def head(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        UserError: if there is no such file, or it cannot be read.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def fault(path: Path) -> str | None:
    """What a file is instead of weights, with what to do about it; None if it may hold weights.

    Raises:
        UserError: if there is no such file, or it cannot be read.
    """
    start = head(path)
    if not start:
        return "an empty file: the download or the copy broke off"
    if _is_header(start):
        return None
    if start[:2] == b"PK":
        return _archive(path)
    if start[:1] == b"\x80":
        return None if TORCH in start[:64] else _pickle(path)
    other = next((words for magic, words in _OTHERS.items() if start.startswith(magic)), None)
    unknown = "not a readable safetensors file, nor one of torch.save: damaged or incomplete, or of another kind"
    return other or _text(path, start) or _protobuf(path, start) or unknown


def _is_header(start: bytes) -> bool:
    """Whether bytes are the start of safetensors: a length, which may begin like a pickle, and a JSON object."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 40


def _archive(path: Path) -> str | None:
    """What a zip archive is, if ``torch.save`` did not write it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return (
            "a zip archive, as torch.save writes, without its end: damaged or incomplete, a download or copy broke off"
        )
    parts = [name.split("/") for name in names]
    if any(part[1:2] == ["code"] for part in parts):
        return f"a TorchScript program (torch.jit.save), which is code: {SAVE}"
    if any(part[-1] == "data.pkl" for part in parts):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "an npz of NumPy arrays: save a state dict, names with tensors, as safetensors"
    if any(part[-1].endswith(".weights.h5") for part in parts):
        return "a Keras model: export the tensors to safetensors"
    return "a zip archive that torch.save did not write: unpack it"


def _pickle(path: Path) -> str:
    """A pickle that is not of ``torch.save``, with what it names."""
    with path.open("rb") as file:
        names = list(_named(file))
    what = f" that names {names[0]}" if names else ""
    return (
        f"a pickle{what}, which can run code, damaged or incomplete or not of torch.save, so it was not loaded: {SAVE}"
    )


def _named(file: BinaryIO) -> Iterator[str]:
    """The functions and classes that a pickle names, read as a list of instructions: none is followed."""
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "GLOBAL":
                yield plain(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                yield plain(".".join(texts[-2:]))
            elif isinstance(argument, str):
                texts.append(argument)
    except Exception:  # a damaged pickle may raise anything
        return


def plain(name: str) -> str:
    """The name of a function as a user knows it.

    >>> plain("posix.system"), plain("builtins.getattr")
    ('os.system', 'getattr')
    """
    name = re.sub(r"^(posix|nt)\.", "os.", name)
    return re.sub(r"[^\w.]", "?", name.removeprefix("builtins.").removeprefix("__builtin__."))[:100]


def _text(path: Path, start: bytes) -> str | None:
    """What a file of text is."""
    words = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if words.startswith((b"<!doctype html", b"<html")) or b"<html" in words:
        return f"an HTML page, which a server sent in place of the file: it is a web page: {DOWNLOAD}"
    if words.startswith(b"<?xml") or re.match(rb"<\w+>", words):
        return f"an XML page, which a server sent in place of the file: {DOWNLOAD}"
    if words.startswith(b"version https://git-lfs"):
        return "a git-LFS pointer, not the file that it points to: fetch it by `git lfs pull`"
    if words[:1] in (b"{", b"["):
        return _answer(path)
    return None


def _answer(path: Path) -> str:
    """What a JSON text says, if it is the error of a server."""
    try:
        content = json.loads(path.read_bytes()[: 1 << 20])
    except ValueError:
        content = None
    texts = content if isinstance(content, dict) else {}
    said = next((texts[key] for key in ("error", "message", "detail") if isinstance(texts.get(key), str)), "")
    said = " ".join(said.split())[:100]
    return f"a JSON text{f', the answer of a server: {said!r}' if said else ''}: {DOWNLOAD}"


def _protobuf(path: Path, start: bytes) -> str | None:
    """What a file of ONNX or TensorFlow is: their formats have no mark, but names, and words near the start."""
    if path.suffix == ".onnx" or re.match(rb"\x08[\x01-\x1e][\x12\x3a]", start):
        return "an ONNX model: export the tensors to safetensors"
    if path.suffix in (".pb", ".index", ".meta") or re.search(r"\.data-\d+-of-\d+$", path.name) or _is_table(path):
        return "a TensorFlow file: export the tensors to safetensors"
    return None


def _is_table(path: Path) -> bool:
    """Whether a file ends as the index of a TensorFlow checkpoint does."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8))
        return file.read() == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
