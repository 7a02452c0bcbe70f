"""Weights files: safetensors, loaded strictly; nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench.types import UserError

if TYPE_CHECKING:
    from torch import nn


def load_weights(model: nn.Module, path: Path, *, part: str = "") -> None:
    """Load a safetensors file into ``model``, strictly; nothing is ever unpickled.

    Args:
        model: gets the tensors, in its own precision.
        path: of the file.
        part: only the tensors whose names begin so, by the rest of their names.

    Raises:
        UserError: if the file is missing, damaged, a pickle, or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    require_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    header = content[8:9] == b"{"  # after its length, which may begin like a pickle
    if not header and (content[:2] == b"PK" or content[:1] == b"\x80"):
        raise UserError(
            f"{path}: is a pickle (torch.save), which can run code; jembench loads safetensors only: "
            "save the state dict with safetensors.torch.save_file"
        )
    try:
        state = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}): it is damaged or incomplete") from error
    state = {name.removeprefix(part): tensor for name, tensor in state.items() if name.startswith(part)}
    own = model.state_dict()
    if problem := _difference(own, state):
        raise UserError(f"{path}: the weights are of another network: {problem}")
    model.load_state_dict(state)


def _difference(own: dict[str, Any], given: dict[str, Any]) -> str | None:
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


def require_file(path: Path) -> None:
    """Raise :class:`UserError` unless ``path`` is a file."""
    try:
        found = path.is_file()
    except OSError:  # a name too long for the system
        found = False
    if not found:
        raise UserError(f"{path}: no such file")
