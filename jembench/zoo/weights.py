"""Weights of jembench's own, safetensors, loaded strictly; and the state dicts in published checkpoints.

Weights that users bring are read by :mod:`jembench.zoo.fitting`, whatever their names.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from jembench.types import UserError
from jembench.zoo.checkpoints import is_plain, load_safetensors

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
