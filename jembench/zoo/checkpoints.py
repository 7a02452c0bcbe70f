"""Checkpoints: from a file or a folder to what is in it, tensors and plain containers; no code in it is ever run.

A file of ``torch.save`` is a pickle, and a pickle is a program. :func:`load_tensors` reads it by ``weights_only=True``,
which knows tensors, numbers, strings and plain containers; beside them only what training loops keep and what does
nothing when it is made: settings (``argparse.Namespace``), paths, numbers and arrays of NumPy. All else is refused.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from jembench.ground.files import require_file
from jembench.ground.identity import file_sha256, identity
from jembench.types import UserError
from jembench.zoo.formats import SAVE, fault, head, is_pickle, plain

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
STEMS = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors", "open_clip_model.safetensors")
LIGHTNING = "Lightning checkpoint"
INDEX = ".index.json"
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Contents:
    """What a file or a folder of weights holds.

    Attributes:
        path: of the file or the folder.
        title: what it is, in words.
        content: containers around tensors; of safetensors, a dict of tensors.
    """

    path: Path
    title: str
    content: Any


def digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, or of the files of a folder that hold its tensors."""
    parts = pieces(path)
    return file_sha256(parts[0]) if len(parts) == 1 else identity([file_sha256(part) for part in parts])


def read(path: Path) -> Contents:
    """A checkpoint of any kind, told by its content.

    Args:
        path: of a file of safetensors or ``torch.save``, or of a folder of Hugging Face, in shards or not.

    Raises:
        UserError: if it is missing, damaged, something else, or holds code.
    """
    if path.is_dir():
        parts = [_content(file) for file in pieces(path)]
        shards = [part for part in parts if isinstance(part, Mapping)]
        content = parts[0] if len(parts) == 1 else {name: value for part in shards for name, value in part.items()}
        return Contents(path, "Hugging Face folder", content)
    content = _content(path)
    title = "file of torch.save" if is_pickle(path) else "safetensors file"
    if isinstance(content, Mapping) and "pytorch-lightning_version" in content:
        title = LIGHTNING
    return Contents(path, title, content)


def _content(path: Path) -> Any:
    return load_tensors(path) if is_pickle(path) else load_safetensors(path)


def pieces(path: Path) -> tuple[Path, ...]:
    """The files of weights: the file itself, or those of a folder, its shards in the order of their names.

    Raises:
        UserError: if there is no such file, or not one set of weights in the folder.
    """
    if not path.is_dir():
        require_file(path)
        return (path,)
    for stem in STEMS:
        if (index := path / f"{stem}{INDEX}").is_file():
            return _shards(index)
        if (path / stem).is_file():
            return (path / stem,)
    if (path / ".metadata").is_file():
        raise UserError(
            f"{path}: is a distributed checkpoint: make it one file by `python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE`"
        )
    if (path / "saved_model.pb").is_file():
        raise UserError(f"{path}: is a TensorFlow model: export the tensors to safetensors")
    shown = (file for file in path.iterdir() if not file.name.startswith("."))
    found = sorted(file for file in shown if file.suffix in SUFFIXES and file.is_file())
    if len(found) != 1:
        what = "holds no weights" if not found else f"holds {len(found)} files of weights: name one of them"
        raise UserError(
            f"{path}: is a folder that {what} ({', '.join(STEMS[:2])}, or one file of {' '.join(SUFFIXES)})"
        )
    return tuple(found)


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, none outside its folder."""
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: is no index of shards ({type(error).__name__})") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(f"{index}: names {name!r}, which is no file beside it")
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent}: lacks {name}, one of the {len(names)} shards of its weights")
    if not names:
        raise UserError(f"{index}: names no shard")
    return tuple(index.parent / name for name in names)


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: if the file is missing, damaged or something else.
    """
    from safetensors.torch import load

    if words := fault(path):
        raise UserError(f"{path}: is {words}")
    if is_pickle(path):
        raise UserError(
            f"{path}: is a pickle (torch.save), which can run code; safetensors are expected here: save the state dict "
            "with safetensors.torch.save_file"
        )
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable safetensors file ({reason}): it is damaged or incomplete") from error


def load_tensors(path: Path) -> Any:
    """The content of a file of ``torch.save`` on the CPU, mapped from disk where its format allows; no code is run.

    Raises:
        UserError: if the file is missing, damaged or something else, or names anything but what is in the list above.
    """
    import torch

    if words := fault(path):
        raise UserError(f"{path}: is {words}")
    archive = head(path)[:2] == b"PK"
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_inert()):
            warnings.simplefilter("ignore")  # torch's own use of what it deprecates
            if archive and path.suffix != ".safetensors":  # by that name torch would read another format
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        if name is not None and _is_module(path):
            raise UserError(
                f"{path}: is a whole network (torch.save(model)) of class {plain(name[1])}, a pickle that can run "
                f"code, so it was not loaded: {SAVE}"
            ) from error
        if name is not None:
            raise UserError(
                f"{path}: is a pickle that names {plain(name[1])}, which can run code, so it was not loaded: jembench "
                f"reads tensors and plain containers only: {SAVE}"
            ) from error
        if "Unsupported operand" in str(error):
            raise UserError(
                f"{path}: is a pickle of a later protocol than torch.save writes by itself, which is not read without "
                f"running it: {SAVE}, without pickle_protocol"
            ) from error
        kind = type(error).__name__
        raise UserError(f"{path}: not a readable file of torch.save ({kind}): it is damaged or incomplete") from error


def _inert() -> list[Any]:
    """What a training loop keeps beside tensors and what runs nothing when it is made, under the names in pickles."""
    import torch

    core: Any = np._core.multiarray  # type: ignore[attr-defined]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDSU"}
    arrays = [
        (getattr(core, name), f"{place}.{name}")
        for place in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("scalar", "_reconstruct")
    ]
    paths = [
        (pathlib.PurePosixPath, f"{place}.{name}")
        for place in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    ]
    inert = [argparse.Namespace, np.ndarray, np.dtype, *kinds, *arrays, *paths]
    return [each for each in inert if each not in torch.serialization.get_safe_globals()]  # which are left as they are


def _is_module(path: Path) -> bool:
    """Whether a pickle holds what every ``nn.Module`` is made of."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.split("/")[-1] == "data.pkl")
                with archive.open(name) as file:
                    text = file.read(1 << 26)
        else:
            with path.open("rb") as file:
                text = file.read(1 << 26)
    except (OSError, ValueError, zipfile.BadZipFile, StopIteration):
        return False
    return all(word in text for word in (b"_parameters", b"_buffers", b"_modules"))


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has numbers that lie in memory one by one: not sparse, nested, quantised, or of no storage."""
    import torch

    dense = not tensor.is_nested and tensor.layout == torch.strided
    return dense and tensor.device.type == "cpu" and not tensor.is_quantized
