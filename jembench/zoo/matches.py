"""Matches: the names of a network among those of a checkpoint, under every prefix.

With the keys of dictionaries around one another joined by dots, every tensor of a checkpoint has one path. A name of
the network is the end of a path, and what stands before it is a prefix P: ``state_dict.model.`` of ``{"state_dict":
{"model.net.weight": …}}``. Parts that wrappers of ``torch`` add (``module.``, ``_orig_mod.``) count for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench.types import UserError
from jembench.zoo.checkpoints import is_plain
from jembench.zoo.misfits import COUNTER

if TYPE_CHECKING:
    from torch import Tensor

DEEPEST = 8  # containers around one another
# Parts of names that DataParallel, compile, FSDP and activation checkpoints put before those of the network.
ADDED = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
EMA = re.compile(r"(?:^|[._])(?:ema|swa|averaged?|averaging|shadow|teacher|polyak)(?=$|[._\d])", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Leaf:
    """A tensor of a checkpoint.

    Attributes:
        home: keys of the dictionaries that it is in, each with a dot behind it.
        name: its own key.
        tensor: itself.
    """

    home: str
    name: str
    tensor: Tensor

    @property
    def path(self) -> str:
        """All its keys, joined by dots."""
        return self.home + self.name


@dataclass(frozen=True)
class Match:
    """The tensors of a checkpoint under one prefix, by the names of the network.

    Attributes:
        prefix: P, without what wrappers add.
        dropped: a start of all names of the network that the checkpoint lacks.
        leaves: name of the network -> tensor of the checkpoint.
    """

    prefix: str
    dropped: str
    leaves: Mapping[str, Leaf]

    @property
    def key(self) -> str:
        """The dotted path below which these tensors are."""
        for name, leaf in self.leaves.items():
            if leaf.path.endswith(end := name.removeprefix(self.dropped)):
                return leaf.path[: -len(end)].rstrip(".")
        return self.prefix.rstrip(".")

    @property
    def averaged(self) -> bool:
        """Whether its prefix calls it an average of weights over the training."""
        return EMA.search(self.prefix) is not None

    def equals(self, other: Match) -> bool:
        """Whether another match has the same numbers."""
        names = self.leaves.keys() & other.leaves.keys()
        return all(same(self.leaves[name].tensor, other.leaves[name].tensor) for name in names)

    def state(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Its tensors, with those that a file may lack: second names of one tensor, and counters of batch norm."""
        state = {name: leaf.tensor for name, leaf in self.leaves.items()}
        for group in ties(own):
            first = next((state[name] for name in group if name in state), None)
            if first is not None:
                state = {**dict.fromkeys(group, first), **state}
        return {**{name: own[name] for name in own if is_counter(name)}, **state}


def tensors(content: Any) -> list[Leaf]:
    """The tensors in dictionaries and lists around one another, each container once: one may hold itself."""
    return list(_below(content, "", DEEPEST, set()))


def _below(content: Any, home: str, deep: int, passed: set[int]) -> Iterator[Leaf]:
    import torch

    if id(content) in passed or deep < 0 or not isinstance(content, Mapping | list | tuple):
        return
    passed.add(id(content))
    for name, value in content.items() if isinstance(content, Mapping) else enumerate(content):
        if isinstance(value, torch.Tensor):
            yield Leaf(home, str(name), value.detach())
        else:
            yield from _below(value, f"{home}{name}.", deep - 1, passed)


def matches(own: Mapping[str, Tensor], leaves: Iterable[Leaf], dropped: str, path: Path) -> list[Match]:
    """What the checkpoint has of a network under every prefix.

    Args:
        own: name -> tensor of the network.
        leaves: tensors of the checkpoint.
        dropped: a start of all names of the network, which the checkpoint lacks.
        path: of the checkpoint, for the message.

    Raises:
        UserError: if it has two tensors for one of the network, or one without plain numbers.
    """
    read: Callable[[str], str] = bare
    names = {bare(name.removeprefix(dropped)): name for name in own}
    if len(names) < len(own):  # the network has parts of its own that are called as those of wrappers
        read, names = str, {name.removeprefix(dropped): name for name in own}
    found: dict[str, dict[str, Leaf]] = {}
    for leaf in leaves:
        parts = read(leaf.path).split(".")
        for n in range(len(parts)):
            name = names.get(".".join(parts[n:]))
            if name is None:
                continue
            if not is_plain(leaf.tensor):
                raise UserError(f"{path}: {leaf.path!r} is not a plain tensor")
            other = found.setdefault("".join(f"{part}." for part in parts[:n]), {}).setdefault(name, leaf)
            if other is not leaf and not same(other.tensor, leaf.tensor):
                two = f"{other.path!r} and {leaf.path!r}"
                raise UserError(f"{path}: holds both {two}, two tensors for one of the network: remove one")
    return [Match(prefix, dropped, match) for prefix, match in found.items()]


def bare(name: str) -> str:
    """A name without what wrappers add.

    >>> bare("module.net._orig_mod.0.weight")
    'net.0.weight'
    """
    return ".".join(part for part in name.split(".") if part not in ADDED)


def starts(own: Iterable[str]) -> list[str]:
    """The starts that all names share, up to a dot, the longest first.

    >>> starts(["model.net.0.weight", "model.net.0.bias", "model.net.1.weight"])
    ['model.net.', 'model.']
    """
    parts = [name.split(".")[:-1] for name in own]
    shared = list(takewhile(lambda each: len(set(each)) == 1, zip(*parts, strict=False)))
    return ["".join(f"{each[0]}." for each in shared[:n]) for n in range(len(shared), 0, -1)]


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are of the same numbers."""
    return one.shape == other.shape and one.dtype == other.dtype and bool((one == other).all())


def ties(own: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of a network that are one tensor in memory."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in own.items():
        if tensor.numel() and tensor.device.type != "meta":
            groups.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def is_counter(name: str) -> bool:
    """Whether a tensor counts batches for training: files of before 2018 lack it, evaluation does not need it."""
    return name.rpartition(".")[2] == COUNTER
