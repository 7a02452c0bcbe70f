"""Fitting: from the tensors of a checkpoint to those of a network, one by one and none left over.

Training loops keep a network in dictionaries and under prefixes, beside optimisers, averages of its weights, losses.
:func:`fit` looks for the one prefix (:mod:`jembench.zoo.matches`) under which the checkpoint has every tensor of the
network in its shape, and accounts for what else lies there. A network that is wrapped where the checkpoint is bare has
a start of all its names left out first. What was chosen is said; what nobody can choose is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench.ground.progress import silence
from jembench.types import UserError
from jembench.zoo import checkpoints
from jembench.zoo.checkpoints import LIGHTNING, Contents
from jembench.zoo.matches import ADDED, EMA, Leaf, Match, bare, is_counter, matches, same, starts, tensors, ties
from jembench.zoo.misfits import broken, misfit

if TYPE_CHECKING:
    from torch import Tensor, nn

_TRAINING = re.compile(r"(?:criterion|loss|loss_\w+|\w+_loss|metrics?|(?:train|val|valid|test)_\w+)\.")
# Where several dictionaries hold a network that fits, the first of these is meant.
_FIRST = ("model_state_dict", "state_dict", "model", "net", "network", "last", "params", "weights")


@dataclass(frozen=True)
class Fit:
    """What a network gets.

    Attributes:
        state: name of the network -> tensor.
        words: what was chosen, in a line; empty if the checkpoint has the network's names as they are.
    """

    state: dict[str, Tensor]
    words: str


def load_checkpoint(model: nn.Module, path: Path, *, key: str = "", said: Callable[[str], None] = silence) -> None:
    """Give ``model`` its tensors from anyone's checkpoint, in its own precision.

    Args:
        model: gets the tensors.
        path: of the file or folder.
        key: dotted path into the checkpoint, such as ``ema``, if not all of it is meant.
        said: gets one line about what was chosen, if there was a choice.

    Raises:
        UserError: if the file cannot be read, is of another network, or holds several that fit; nothing is loaded then.
    """
    result = fit(model.state_dict(), checkpoints.read(path), key=key)
    try:
        model.load_state_dict(result.state, strict=False)  # what a layer keeps beside tensors is its own
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: the network does not take these weights: {reason}") from error
    if result.words:
        said(f"{path.name}: {result.words}")


def fit(own: Mapping[str, Any], checkpoint: Contents, *, key: str = "") -> Fit:
    """The tensors of a checkpoint that are those of a network.

    Args:
        own: ``state_dict()`` of the network.
        checkpoint: from :func:`jembench.zoo.checkpoints.read`.
        key: dotted path into the checkpoint, if not all of it is meant.

    Raises:
        UserError: if the checkpoint is of another network, or holds several that fit and nothing says which is meant.
    """
    path, network = checkpoint.path, _network(own, checkpoint.path)
    leaves = _below(tensors(checkpoint.content), key, checkpoint)
    tries = [matches(network, leaves, dropped, path) for dropped in ("", *starts(network))]
    fits = ([match for match in found if misfit(network, match.state(network)) is None] for found in tries)
    fitting = next(filter(None, fits), [])
    if not fitting:
        nearest = max((match for found in tries for match in found), key=lambda each: len(each.leaves), default=None)
        raise UserError(f"{path}: the weights are of another network: {_reasons(network, leaves, nearest)}")
    match = _chosen(fitting, path)
    others = [other for other in fitting if not other.equals(match)]
    beside = _beside(leaves, match)
    known = {leaf.path for other in others for leaf in other.leaves.values()}
    left = [leaf for leaf in beside if leaf.path not in known]
    training = [leaf for leaf in left if _of_training(leaf, match)]
    if unknown := [leaf for leaf in left if leaf not in training]:
        outside = match.key and not any(leaf.path.startswith(f"{match.key}.") for leaf in unknown)
        way = f" (--weights-key {_joined(key, match.key)} takes only what is below it)" if outside else ""
        problem = misfit(network, match.state(network), _named(unknown))
        raise UserError(f"{path}: the weights are of another network: {problem}{way}")
    if problem := _torn(match, network) or broken(match.state(network)):
        raise UserError(f"{path}: {problem}")
    words = _words(match, network, checkpoint, key)
    for other in others:
        what = "EMA weights present" if other.averaged and not match.averaged else f"{other.key} fits too"
        words.append(f"{what}: --weights-key {_joined(key, other.key)}")
    if training:
        words.append(f"left out as of the training: {', '.join(repr(leaf.name) for leaf in training[:3])}")
    said = f"{checkpoint.title}, {len(match.leaves)} of {len(network)} tensors"
    return Fit(match.state(network), ", ".join([said, *words]) if words else "")


def _network(own: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict; a layer may keep other things in it."""
    import torch

    network = {name: value for name, value in own.items() if isinstance(value, torch.Tensor)}
    for name, tensor in network.items():
        if torch.nn.parameter.is_lazy(tensor):
            raise UserError(
                f"{path}: cannot be loaded: {name} of the network has no shape yet (a Lazy layer): run the network on "
                "one image in build()"
            )
    if not network:
        raise UserError(f"{path}: cannot be loaded: the network has no tensors")
    return network


def _below(leaves: list[Leaf], key: str, checkpoint: Contents) -> list[Leaf]:
    """The tensors below a dotted path, by the rest of their paths."""
    if not leaves:
        raise UserError(f"{checkpoint.path}: holds no state dict, names with tensors ({checkpoint.title})")
    start = f"{key.rstrip('.')}." if key else ""
    below = []
    for leaf in leaves:
        if leaf.path.startswith(start):
            home = leaf.home[len(start) :]
            below.append(Leaf(home, leaf.path[len(start) + len(home) :], leaf.tensor))
    if not below:
        keys = dict.fromkeys(leaf.home.rstrip(".") or leaf.name.partition(".")[0] for leaf in leaves)
        shown = ", ".join(map(repr, list(keys)[:8]))
        raise UserError(f"{checkpoint.path}: has no tensors below key {key!r}, but below {shown}")
    return below


def _chosen(fitting: list[Match], path: Path) -> Match:
    """The one that is meant, of some that fit: no average where there are plain ones, then by the names of its keys."""

    def rank(match: Match) -> tuple[int, ...]:
        parts = match.prefix.split(".")[:-1]
        return tuple(_FIRST.index(part) if part in _FIRST else len(_FIRST) for part in parts)

    first, *rest = sorted([match for match in fitting if not match.averaged] or fitting, key=rank)
    if doubts := [other for other in rest if rank(other) == rank(first) and not other.equals(first)]:
        keys = " or ".join(f"--weights-key {match.key}" for match in [first, *doubts][:4])
        raise UserError(f"{path}: holds {len(doubts) + 1} networks that fit: say which by {keys}")
    return first


def _beside(leaves: Iterable[Leaf], match: Match) -> list[Leaf]:
    """The other tensors of the dictionaries that hold a match."""
    within = {leaf.path for leaf in match.leaves.values()}
    homes = {leaf.home for leaf in match.leaves.values()}
    return [leaf for leaf in leaves if leaf.path not in within and leaf.home in homes]


def _of_training(leaf: Leaf, match: Match) -> bool:
    """Whether a tensor beside a match is of a loss, or, if it is not under its prefix, of an average or a counter."""
    start = f"{match.key}." if match.key else ""
    if leaf.path.startswith(start):
        return _TRAINING.match(leaf.path.removeprefix(start)) is not None
    average = EMA.search(leaf.name.rpartition(".")[0] or leaf.name.partition("_")[0])
    return average is not None or leaf.tensor.numel() == 1 or _TRAINING.match(leaf.name) is not None


def _torn(match: Match, network: Mapping[str, Tensor]) -> str | None:
    """Two tensors for one of the network, in words, or None."""
    for group in ties(network):
        leaves = [match.leaves[name] for name in group if name in match.leaves]
        for other in leaves[1:]:
            if not same(leaves[0].tensor, other.tensor):
                return f"{leaves[0].path!r} and {other.path!r} differ, and are one tensor in the network"
    return None


def _reasons(network: Mapping[str, Tensor], leaves: list[Leaf], nearest: Match | None) -> str:
    """Why a checkpoint is of another network: what differs from the nearest match."""
    if nearest is not None:
        return str(misfit(network, nearest.state(network), _named(_beside(leaves, nearest))))
    names = {bare(leaf.name) for leaf in leaves}
    for part in dict.fromkeys(".".join(name.split(".")[:n]) for name in network for n in range(1, name.count(".") + 1)):
        if names == {name.removeprefix(f"{part}.") for name in network if name.startswith(f"{part}.")}:
            return f"the file is only its part {part!r}"
    return str(misfit(network, {}, _named(leaves)))


def _named(leaves: Iterable[Leaf]) -> dict[str, Tensor]:
    return {leaf.name: leaf.tensor for leaf in leaves}


def _joined(key: str, rest: str) -> str:
    return ".".join(filter(None, (key.rstrip("."), rest)))


def _words(match: Match, network: Mapping[str, Tensor], checkpoint: Contents, key: str) -> list[str]:
    """What of a match is not as the network has it."""
    words = []
    homes = {leaf.home for leaf in match.leaves.values()}
    home = homes.pop() if len(homes) == 1 else ""
    place = _joined(key, home.rstrip("."))
    if place and (key or checkpoint.title != LIGHTNING):
        words.append(f"in {place}")
    if prefix := f"{match.key}."[len(home) :].lstrip("."):
        words.append(f"prefix {prefix} removed")
    parts = {part for leaf in match.leaves.values() for part in leaf.name.split(".")} & ADDED
    if parts and not parts & set(prefix.split(".")):
        words.append(f"{', '.join(f'{part}.' for part in sorted(parts))} within names removed")
    if match.dropped:
        words.append(f"prefix {match.dropped} added")
    kinds = [(leaf.tensor.dtype, network[name].dtype) for name, leaf in match.leaves.items()]
    for there, here in dict.fromkeys((there, here) for there, here in kinds if there != here):
        words.append(f"{there} to {here}".replace("torch.", ""))
    lacking = [name for name in network if name not in match.leaves]
    if tied := [name for name in lacking if not is_counter(name)]:
        words.append(f"{len(tied)} tied to others")
    if counters := len(lacking) - len(tied):
        words.append(f"{counters} counters of batch norm absent")
    return words
