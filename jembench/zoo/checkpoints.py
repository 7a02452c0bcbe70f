"""Checkpoints: the tensors in a file of anyone's, whatever saved it, and what the file is if it holds none.

====================  =================================================================================================
safetensors           read by safetensors itself
``torch.save``        a pickle, and a pickle is a program: ``weights_only=True`` knows tensors, numbers, strings and
                      plain containers, and refuses all else
Hugging Face folder   ``model.safetensors`` or ``pytorch_model.bin``, in pieces too, as its index says
====================  =================================================================================================

What a file is, its first bytes tell, not its name. A ``torch.save`` may nest what it keeps: every place in it that
holds tensors by name is a :class:`Place`; :mod:`jembench.zoo.weights` takes the one that fits the network.
"""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from jembench.ground.files import require_file
from jembench.ground.identity import file_sha256, identity
from jembench.types import UserError

if TYPE_CHECKING:
    from torch import Tensor

DEEPEST = 8  # of containers around one another: a dict may hold itself
START = 512  # bytes that tell what a file is
PIECES = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")  # of a folder, best first

#: Names under which authors keep the weights, the best first; any other comes after them.
USUAL = ("", "model_state_dict", "state_dict", "last", "model", "logp_net", "net", "network", "weights", "params")
#: What averages of the weights are called, and what holds tensors by name but no weights.
AVERAGES = re.compile(r"(^|[_.])(ema|swa|averaged?|shadow)([_.]|$)")
OTHERS = re.compile(r"optim|scheduler|scaler|callback|loops|hyper_?param|rng|metric|replay", re.IGNORECASE)

#: First bytes of what people take for weights.
STRANGERS = {
    b"version https://git-lfs": "is a pointer of git-lfs, not the file itself: run `git lfs pull` where it comes from",
    b"<": "is a web page, not weights: what was to be downloaded was not there, or needs a login; get the file anew",
    b"{": "is a text in JSON, not weights: an answer of a server, or the index of files that lie elsewhere",
    b"\x89HDF": "is an HDF5 file (Keras), not weights of torch: load them in the framework that they are of",
    b"GGUF": "is a GGUF file, which is quantised: save the state dict by safetensors.torch.save_file",
    b"\x93NUMPY": "is an array of numpy, not weights: save the state dict by safetensors.torch.save_file",
    b"\x1f\x8b": "is packed by gzip: unpack it first",
    b"7z\xbc\xaf": "is packed by 7-Zip: unpack it first",
}


@dataclass(frozen=True)
class Place:
    """Tensors by name, as they lie in a file.

    Attributes:
        key: names of the containers around them, joined by dots; empty at the top.
        state: name -> tensor.
    """

    key: str
    state: dict[str, Tensor]

    @property
    def average(self) -> bool:
        """Whether they are called an average over the training."""
        return bool(AVERAGES.search(self.key))


@dataclass(frozen=True)
class Checkpoint:
    """A file that was read.

    Attributes:
        path: of the file or folder.
        kind: what it is, in words.
        places: where tensors lie in it, the most usual place first.
    """

    path: Path
    kind: str
    places: tuple[Place, ...]


def read(path: Path) -> Checkpoint:
    """The tensors of a file or of a Hugging Face folder; no code in it is run.

    Raises:
        UserError: if there is none, or it is damaged, holds code, or is something else, which is named.
    """
    if path.is_dir():
        state: dict[str, Tensor] = {}
        for piece in pieces(path):
            for place in read(piece).places[:1]:
                state |= place.state
        return Checkpoint(path, "Hugging Face folder", (Place("", state),))
    if not is_pickle(path):
        return Checkpoint(path, "safetensors file", (Place("", load_safetensors(path)),))
    content = load_tensors(path)
    lightning = isinstance(content, Mapping) and "pytorch-lightning_version" in content
    found = sorted(_places(content), key=lambda place: (place.average, _rank(place.key)))
    if not found:
        what = type(content).__name__
        raise UserError(
            f"{path}: is a pickle (torch.save) of a {what} that holds no state dict, names with tensors: save "
            "model.state_dict()"
        )
    for place in found:
        for name, tensor in place.state.items():
            if not is_plain(tensor):
                raise UserError(f"{path}: {name} is not a plain tensor")
    return Checkpoint(path, "Lightning checkpoint" if lightning else "file of torch.save", tuple(found))


def pieces(path: Path) -> tuple[Path, ...]:
    """The files that hold the tensors of a file, which is itself, or of a Hugging Face folder.

    Raises:
        UserError: if the folder has none, or its index names what is not in it.
    """
    if not path.is_dir():
        require_file(path)
        return (path,)
    for name in PIECES:
        if (path / name).is_file():
            return (path / name,)
        index = path / f"{name}.index.json"
        if index.is_file():
            return _indexed(index)
    raise UserError(f"{path}: a folder without weights: none of {', '.join(PIECES)} is in it")


def digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, or of the files of a folder that hold its tensors."""
    parts = pieces(path)
    if not path.is_dir():
        return file_sha256(path)
    return file_sha256(parts[0]) if len(parts) == 1 else identity([file_sha256(part) for part in parts])


def _indexed(index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("names of files are expected")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: no index of weights ({error})") from error
    for name in names:
        require_file(index.parent / name)
    return tuple(index.parent / name for name in names)


def _places(content: Any, keys: tuple[str, ...] = ()) -> Iterator[Place]:
    """The places of a nested content that hold tensors by name, outer ones first."""
    import torch

    if not isinstance(content, Mapping) or len(keys) > DEEPEST:
        return
    state = {key: value.detach() for key, value in content.items() if _names(key) and isinstance(value, torch.Tensor)}
    if state:
        yield Place(".".join(keys), state)
    for key, value in content.items():
        if _names(key) and not OTHERS.search(key):
            yield from _places(value, (*keys, key))


def _names(key: Any) -> bool:
    return isinstance(key, str)


def _rank(key: str) -> tuple[int, int]:
    """How usual a place is: by the last of its names, the outer one of two alike."""
    last = key.rpartition(".")[2]
    return (USUAL.index(last) if last in USUAL else len(USUAL), key.count("."))


def is_pickle(path: Path) -> bool:
    """Whether a file begins as those of ``torch.save`` do, today's (a zip archive) or those before 2020.

    Raises:
        UserError: if there is no such file, it cannot be read, or is something else that people take for weights.
    """
    start = _start(path)
    if start[8:9] == b"{":  # of a safetensors file, after its length, which may begin like anything
        return False
    if not start:
        raise UserError(f"{path}: is empty")
    for mark, words in STRANGERS.items():
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(mark):
            raise UserError(f"{path}: {words}")
    if start[:2] == b"PK":
        _check_archive(path)
        return True
    return start[:1] == b"\x80"


def _check_archive(path: Path) -> None:
    """Raise :class:`UserError` for a zip archive that torch did not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path}: not a readable file of torch.save ({error}): it is damaged or incomplete") from error
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return
    if all(name.endswith(".npy") for name in names):
        raise UserError(f"{path}: is an .npz file of numpy, not weights: save the state dict by torch.save")
    raise UserError(f"{path}: is a zip archive that torch.save did not write: unpack it, and name the file in it")


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: if the file is missing, damaged or a pickle.
    """
    from safetensors.torch import load

    if is_pickle(path):
        raise UserError(
            f"{path}: is a pickle (torch.save), which can run code; safetensors are expected here: save the state "
            "dict with safetensors.torch.save_file"
        )
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}): it is damaged or incomplete") from error


def load_tensors(path: Path) -> Any:
    """The content of a file of ``torch.save`` on the CPU, mapped from disk where its format allows; no code is run.

    Raises:
        UserError: if the file is missing or damaged, or names anything but tensors and plain containers.
    """
    import torch

    archive = _start(path)[:2] == b"PK"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own use of what it deprecates
            if archive and path.suffix != ".safetensors":  # by that name torch would read another format
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        if name is not None:
            raise UserError(
                f"{path}: is a pickle that names {name[1]}, which can run code, so it was not loaded: jembench reads "
                "tensors and plain containers only; save model.state_dict(), not the model itself"
            ) from error
        kind = type(error).__name__
        raise UserError(f"{path}: not a readable file of torch.save ({kind}): it is damaged or incomplete") from error


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has numbers that lie in memory one by one: not sparse, nested, quantised, or of no storage."""
    import torch

    dense = not tensor.is_nested and tensor.layout == torch.strided
    return dense and tensor.device.type == "cpu" and not tensor.is_quantized


def _start(path: Path) -> bytes:
    require_file(path)
    try:
        with path.open("rb") as file:
            return file.read(START)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
