"""Misfits: how the tensors of a checkpoint differ from those of a network, and the likeliest cause, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from jembench.zoo.checkpoints import is_plain

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 3  # of each kind of difference
COUNTER = "num_batches_tracked"  # of batch norm: files of before 2018 lack it, and evaluation does not need it


def misfit(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], rest: Mapping[str, Tensor] | None = None
) -> str | None:
    """How tensors differ from those of a network, in one line, with the likeliest cause; None if they do not.

    Args:
        own: name -> tensor of the network.
        given: name of the network -> tensor of the file; names that the network lacks count as ``rest``.
        rest: name -> tensor of the file that is none of the network's.
    """
    rest = {**{name: tensor for name, tensor in given.items() if name not in own}, **(rest or {})}
    missing = [name for name in own if name not in given]
    shapes = [name for name in own if name in given and own[name].shape != given[name].shape]
    kinds = [name for name in own if name in given and _kind(own[name]) != _kind(given[name])]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(own)} tensors are missing ({_listed(missing)})")
    if rest:
        parts.append(f"{len(rest)} {'are' if len(rest) > 1 else 'is'} not of the network ({_listed(rest)})")
    if shapes:
        words = [f"{name} {tuple(given[name].shape)}, not {tuple(own[name].shape)}" for name in shapes[:SHOWN]]
        words += ["..."] if len(shapes) > SHOWN else []
        parts.append(
            f"{len(shapes)} of {len(own)} {'are' if len(shapes) > 1 else 'is'} of another shape ({'; '.join(words)})"
        )
    if kinds and not parts:
        return f"{kinds[0]} has type {given[kinds[0]].dtype}, the network needs {own[kinds[0]].dtype}"
    if not parts:
        return None
    return f"{', '.join(parts)}: {_cause(own, given, missing, list(rest), shapes)}"


def broken(state: Mapping[str, Tensor]) -> str | None:
    """What of tensors cannot be weights of any network, in words, or None."""
    for name, tensor in state.items():
        if not is_plain(tensor):
            return f"{name!r} is not a plain tensor"
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            return f"{name!r} holds NaN: the training diverged, or the file is damaged"
    return None


def _kind(tensor: Tensor) -> str:
    """What numbers of a type are, apart from their precision: integers are not taken for weights."""
    return "real" if tensor.is_floating_point() else "complex" if tensor.is_complex() else "whole"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def _cause(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], missing: list[str], rest: list[str], shapes: list[str]
) -> str:
    """The likeliest cause of a misfit."""
    if not missing and not rest:
        return _of_shapes(own, given, shapes)
    if missing and {_layer(name) for name in missing} & {_layer(name) for name in given}:
        return "the file is incomplete" if not rest else "layers of another kind, or another architecture"
    alike = _patterns(missing) <= _patterns(rest) | _patterns(given)
    if 2 * len(missing) > len(own) and not alike:
        return "the file is of another architecture"
    if not rest:
        return "the network is deeper than the file's" if alike else f"the file lacks {_parts(missing)}"
    if not missing:
        deeper = _patterns(rest) <= _patterns(own)
        return "the file's network is deeper" if deeper else f"the file has {_parts(rest)} more"
    if len({_part(name) for name in missing}) == 1:
        return f"the part {_parts(missing)} was replaced by {_parts(rest)}"
    return "another depth" if alike else "another architecture, or one built in another way"


def _of_shapes(own: Mapping[str, Tensor], given: Mapping[str, Tensor], shapes: list[str]) -> str:
    """The likeliest cause of other shapes under the same names."""
    pairs = [(tuple(given[name].shape), tuple(own[name].shape)) for name in shapes]
    there, here = pairs[0]
    if any(len(a) != len(b) for a, b in pairs):
        return "layers of another kind"
    outputs = all(a[1:] == b[1:] and len(a) <= 2 for a, b in pairs) and len({(a[0], b[0]) for a, b in pairs}) == 1
    if outputs and {_layer(name) for name in shapes} == {_layer(list(own)[-1])}:
        return f"the file is of {there[0]} classes, the network of {here[0]}"
    if len(pairs) == 1 and len(there) == 4 and (there[0], *there[2:]) == (here[0], *here[2:]):
        return f"the file is for images of {there[1]} channels, the network for {here[1]}"
    return "another width" if all(a[2:] == b[2:] for a, b in pairs) else "another width, kernel or size of images"


def _patterns(names: Iterable[str]) -> set[str]:
    """Names with every number alike."""
    return {re.sub(r"\d+", "0", name) for name in names}


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _part(name: str) -> str:
    """The part of a network that a tensor is of: the layer of the network's own."""
    return name.partition(".")[0]


def _parts(names: Iterable[str]) -> str:
    return _listed(dict.fromkeys(map(_part, names)))
