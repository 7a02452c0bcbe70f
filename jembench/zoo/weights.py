"""Weights files: safetensors, loaded strictly; and what ``torch.save`` wrote, read without running any code in it.

A file of ``torch.save`` is a pickle, and a pickle is a program. :func:`load_tensors` reads it by ``weights_only=True``,
which knows tensors, numbers, strings and plain containers and refuses all else; only published checkpoints are read so
(:mod:`jembench.zoo.official`, :mod:`jembench.zoo.named`). Everything of jembench's own is safetensors.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from jembench.ground.files import require_file
from jembench.types import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

# What authors wrap a state dict in: {"model_state_dict": …}, {"model": {"logp_net": …}}, {"last": …, "best": …}.
WRAPPERS = ("model_state_dict", "state_dict", "last", "model", "logp_net")
DEEPEST = 8  # of them around one another: a dict may hold itself


def load_weights(model: nn.Module, path: Path, *, part: str = "") -> None:
    """Load a safetensors file into ``model``, strictly.

    Args:
        model: gets the tensors, in its own precision.
        path: of the file.
        part: only the tensors whose names begin so, by the rest of their names.

    Raises:
        UserError: if the file is missing, damaged, a pickle, or of another network.
    """
    state = load_safetensors(path)
    state = {name.removeprefix(part): tensor for name, tensor in state.items() if name.startswith(part)}
    fill(model, state, path)


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Give ``model`` the tensors ``state`` of the file ``path``, strictly.

    Raises:
        UserError: if they are of another network.
    """
    if problem := difference(model.state_dict(), state):
        raise UserError(f"{path}: the weights are of another network: {problem}")
    model.load_state_dict(state)


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: if the file is missing, damaged or a pickle.
    """
    from safetensors.torch import load

    if is_pickle(path):
        raise UserError(
            f"{path}: is a pickle (torch.save), which can run code; this model takes safetensors only: save the state "
            "dict with safetensors.torch.save_file (`jembench convert` reads checkpoints of JEM, JEM++, SADA-JEM, VERA)"
        )
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}): it is damaged or incomplete") from error


def is_pickle(path: Path) -> bool:
    """Whether a file begins as those of ``torch.save`` do, today's (a zip archive) or those before 2020.

    Raises:
        UserError: if there is no such file, or it cannot be read.
    """
    start = _start(path)
    header = start[8:] == b"{"  # of a safetensors file, after its length, which may begin like a pickle
    return not header and (start[:2] == b"PK" or start[:1] == b"\x80")


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
                "tensors and plain containers only"
            ) from error
        kind = type(error).__name__
        raise UserError(f"{path}: not a readable file of torch.save ({kind}): it is damaged or incomplete") from error


def state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, whatever it is wrapped in, without the ``module.`` of a DataParallel.

    Args:
        content: of the file, from :func:`load_tensors`.
        path: of the file, for the message.

    Raises:
        UserError: if there is none, if one of its tensors has no numbers that lie in memory one by one (a sparse one,
            or one without storage), or if it holds a name with and without ``module.``.
    """
    import torch

    for _ in range(DEEPEST):
        wrapper = content if isinstance(content, Mapping) else {}
        content = next((wrapper[key] for key in WRAPPERS if isinstance(wrapper.get(key), Mapping)), content)
    whole = isinstance(content, Mapping) and len(content) > 0
    if not whole or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()):
        raise UserError(f"{path}: is a pickle (torch.save) that holds no state dict, names with tensors")
    for name, tensor in content.items():
        if not is_plain(tensor):
            raise UserError(f"{path}: {name} is not a plain tensor")
    return renamed(
        {name: tensor.detach() for name, tensor in content.items()}, lambda name: name.removeprefix("module."), path
    )


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has numbers that lie in memory one by one: not sparse, nested, quantised, or of no storage."""
    import torch

    dense = not tensor.is_nested and tensor.layout == torch.strided
    return dense and tensor.device.type == "cpu" and not tensor.is_quantized


def renamed(state: Mapping[str, Tensor], rename: Callable[[str], str], path: Path) -> dict[str, Tensor]:
    """A state dict of the file ``path`` under other names.

    Raises:
        UserError: if two of its names become one: which of the tensors is meant, nobody can tell.
    """
    whence: dict[str, str] = {}
    for name in state:
        if (other := whence.setdefault(rename(name), name)) != name:
            raise UserError(
                f"{path}: holds both {other!r} and {name!r}, two tensors for one of the network: remove one"
            )
    return {new: state[name] for new, name in whence.items()}


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file piece by piece: a copy of everything in memory is not made.

    Raises:
        OSError: if it cannot be written, such as on a full disk, which safetensors has an error of its own for.
    """
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        code = re.search(r"\b(?:os error|code:) (\d+)", str(error))  # it has no other form
        number = errno.EIO if code is None else int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def _start(path: Path) -> bytes:
    require_file(path)
    try:
        with path.open("rb") as file:
            return file.read(9)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def difference(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """The first difference of two state dicts in words, or None."""
    if missing := sorted(set(own) - set(given)):
        return f"{len(missing)} tensors are missing, {missing[0]!r} first"
    if extra := sorted(set(given) - set(own)):
        return f"{len(extra)} tensors are unknown, {extra[0]!r} first"
    for name, tensor in own.items():
        if tensor.shape != given[name].shape:
            return f"{name} has shape {tuple(given[name].shape)}, the network needs {tuple(tensor.shape)}"
        if tensor.is_floating_point() != given[name].is_floating_point():
            return f"{name} has type {given[name].dtype}, the network needs {tensor.dtype}"
    return None
