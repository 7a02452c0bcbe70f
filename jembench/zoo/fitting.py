"""Fitting: which of a checkpoint's tensors are those of a network, by names that training loops leave behind.

Training loops save the same tensors under many names: ``module.`` (DataParallel), ``_orig_mod.`` (torch.compile),
``model.``, ``net.`` and the like, one before another; beside optimisers, averages of the weights and other networks. A
fit is strict in the end: every tensor of the network is found, in its shape, and nothing is left under the same prefix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from jembench.ground.progress import silence
from jembench.types import UserError, unknown
from jembench.zoo import checkpoints
from jembench.zoo.checkpoints import AVERAGES, Checkpoint, Place

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod)\.")  # of networks within networks
COUNTER = "num_batches_tracked"  # counts batches for training; old files lack it
FIRST = 3  # of the tensors that a message names


@dataclass(frozen=True)
class Fit:
    """The tensors of a place under one prefix, held against those of a network.

    Attributes:
        place: where the tensors lie.
        own: tensors of the network, by name.
        ties: name of a tensor of the network -> all names of the same memory.
        removed: prefix that is removed from the names of the file.
        added: prefix that is put before them.
        wrapped: whether wrappers inside the names are removed too.
    """

    place: Place
    own: Mapping[str, Tensor]
    ties: Mapping[str, tuple[str, ...]]
    removed: str
    added: str
    wrapped: bool

    @cached_property
    def brought(self) -> dict[str, Tensor]:
        """The file's tensors under the prefix, by names of the network."""
        return {
            self.added + name[len(self.removed) :]: tensor
            for name, tensor in self._names.items()
            if name.startswith(self.removed)
        }

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """What the network is to hold: tied tensors that were saved once are there by each of their names."""
        state = {}
        for name, tensor in self.own.items():
            alias = next((each for each in (name, *self.ties[name]) if each in self.brought), "")
            if alias:
                state[name] = self.brought[alias]
            elif name.endswith(f".{COUNTER}"):
                state[name] = tensor
        return state

    @cached_property
    def missing(self) -> list[str]:
        """Names of the network that the file lacks."""
        return [name for name in self.own if name not in self.state]

    @cached_property
    def unexpected(self) -> list[str]:
        """Names of the file, under the prefix, that the network lacks."""
        return [name for name in self.brought if name not in self.own]

    @cached_property
    def misshapen(self) -> list[str]:
        """Names of tensors of another shape, type or value than the network's can be, with both."""
        words = []
        for name, tensor in self.state.items():
            mine = self.own[name]
            if tensor.shape != mine.shape:
                words.append(f"{name} {tuple(tensor.shape)} for {tuple(mine.shape)}")
            elif tensor.is_floating_point() != mine.is_floating_point():
                words.append(f"{name} {tensor.dtype} for {mine.dtype}")
            elif tensor is not (tied := self.state[self.ties[name][0]]) and not tensor.equal(tied):
                words.append(f"{name} unlike {self.ties[name][0]}, which the network ties to it")
        return words

    @property
    def perfect(self) -> bool:
        """Whether the network is filled, and nothing is left."""
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def average(self) -> bool:
        """Whether the tensors are called an average over the training."""
        return self.place.average or bool(AVERAGES.search(self.removed))

    @property
    def key(self) -> str:
        """What ``--weights-key`` calls the place."""
        return ".".join(filter(None, (self.place.key, self.removed.rstrip("."))))

    @property
    def errors(self) -> int:
        """How many tensors do not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    @cached_property
    def _names(self) -> dict[str, Tensor]:
        if not self.wrapped:
            return self.place.state
        return {WRAPPERS.sub("", name): tensor for name, tensor in self.place.state.items()}


def load_checkpoint(model: nn.Module, path: Path, *, key: str = "", said: Callable[[str], None] = silence) -> None:
    """Give ``model`` its tensors from anyone's checkpoint, in its own precision.

    Args:
        model: gets the tensors.
        path: of the file or folder.
        key: names of the containers or the prefix that are meant, joined by dots, where a file holds several networks.
        said: gets one line about what was chosen, if there was a choice.

    Raises:
        UserError: if the file cannot be read, is of another network, or holds several that fit.
    """
    checkpoint = checkpoints.read(path)
    fits = list(_fits(model, checkpoint))
    if key:
        fits = [each for each in fits if key in (each.key, each.place.key)]
        if not fits:
            raise unknown(f"{path}: place of weights", key, _keys(checkpoint))
    perfect = [each for each in fits if each.perfect]
    if not perfect:
        nearest = min(fits, key=lambda each: each.errors)
        raise UserError(f"{path}: the weights are of another network: {_reasons(nearest)}")
    chosen = _single(perfect, path)
    model.load_state_dict(chosen.state)
    if words := _choice(checkpoint, chosen, perfect):
        said(f"{path.name}: {words}")


def _fits(model: nn.Module, checkpoint: Checkpoint) -> Iterator[Fit]:
    """All ways to read the places of a checkpoint as the network, plain weights first."""
    own = dict(model.state_dict())
    ties = _ties(own)
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*(name.split(".")[:-1] for name in own), strict=False))
    added = ["", *accumulate(f"{parts[0]}." for parts in shared)]
    ways: list[Fit] = []
    for place in checkpoint.places:
        for wrapped in (False, True) if any(map(WRAPPERS.search, place.state)) else (False,):
            names = [WRAPPERS.sub("", name) for name in place.state] if wrapped else list(place.state)
            for addition in added:
                tails = {name.removeprefix(addition) for name in own}
                removed = {name[: -len(tail)] for tail in tails for name in names if _ends(name, tail)}
                usual = sorted(removed, key=lambda prefix: (-sum(prefix + tail in names for tail in tails), prefix))
                ways += [Fit(place, own, ties, prefix, addition, wrapped) for prefix in (usual or [""])[:FIRST]]
    yield from sorted(ways, key=lambda fit: fit.average)


def _ends(name: str, tail: str) -> bool:
    return name.endswith(tail) and (len(name) == len(tail) or name[-len(tail) - 1] == ".")


def _ties(state: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """For every tensor, the names of those in the same memory."""
    spots: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in state.items():
        spot = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride()) if tensor.numel() else (name,)
        spots.setdefault(spot, []).append(name)
    return {name: tuple(names) for names in spots.values() for name in names}


def _single(perfect: list[Fit], path: Path) -> Fit:
    """The one fit that is meant: an average only where there is nothing else."""
    plain = [each for each in perfect if not each.average] or perfect
    first = plain[0]
    rivals = [each for each in plain if each.place == first.place and not _same(each, first)]
    if rivals:
        names = ", ".join(dict.fromkeys(repr(each.key) for each in (first, *rivals)))
        raise UserError(f"{path}: holds several networks that fit, {names}: choose one by --weights-key")
    return first


def _same(one: Fit, other: Fit) -> bool:
    return all(tensor is other.state[name] or tensor.equal(other.state[name]) for name, tensor in one.state.items())


def _choice(checkpoint: Checkpoint, chosen: Fit, perfect: list[Fit]) -> str:
    """What was chosen, in words; none if there was nothing to choose."""
    words = []
    if chosen.place.key:
        words.append(f"from {chosen.place.key!r}")
    if chosen.removed:
        words.append(f"prefix {chosen.removed} removed")
    if chosen.added:
        words.append(f"prefix {chosen.added} added")
    if len(chosen.brought) < len(chosen.own):
        words.append(f"{len(chosen.own) - len(chosen.brought)} tied or counters")
    if left := len(chosen.place.state) - len(chosen.brought):
        words.append(f"{left} of other networks left out")
    if half := {str(t.dtype).removeprefix("torch.") for t in chosen.brought.values()} & {"float16", "bfloat16"}:
        words.append(f"of {min(half)}")
    others = dict.fromkeys(each.key for each in perfect if each.place != chosen.place or each.average != chosen.average)
    for key in others:
        what = "EMA weights" if AVERAGES.search(key) else "other weights"
        words.append(f"{what} present: --weights-key {key}")
    if not words:
        return ""
    found = len(chosen.state)
    return ", ".join((checkpoint.kind, f"{found} of {len(chosen.own)} tensors", *words))


def _reasons(fit: Fit) -> str:
    """Why the best fit is none: the first tensors of each fault, and what is the likeliest cause."""
    parts = []
    for label, names in (("missing", fit.missing), ("unexpected", fit.unexpected), ("misshapen", fit.misshapen)):
        if names:
            more = ", …" if len(names) > FIRST else ""
            parts.append(f"{len(names)} {label} ({', '.join(map(_shown, names[:FIRST]))}{more})")
    return f"{'; '.join(parts)}: {_cause(fit)}"


def _shown(name: str) -> str:
    """A name from a file as it is shown on one line."""
    return name if name.isprintable() else repr(name)


def _cause(fit: Fit) -> str:
    """The likeliest cause of a misfit."""
    missing, unexpected, misshapen = len(fit.missing), len(fit.unexpected), len(fit.misshapen)
    if not missing and not unexpected:
        if any("torch." in words for words in fit.misshapen):
            return "numbers of another type, so the file is damaged or was quantised"
        rows = {name.partition(" ")[0] for name in fit.misshapen}
        if all(fit.brought[n].shape[1:] == fit.own[n].shape[1:] for n in rows if n in fit.brought) and misshapen <= 2:
            return "likely another number of classes"
        return "likely another width"
    shared = len(fit.state) - misshapen
    if shared < len(fit.own) / 4:
        return "likely another architecture"
    if not unexpected:
        return "likely only a part of the network was saved, or the network is deeper than the one that was saved"
    if not missing:
        return "likely the network that was saved is deeper, or has layers that this one has not"
    return "likely another depth, or layers were renamed or replaced"


def _keys(checkpoint: Checkpoint) -> list[str]:
    """Keys of a checkpoint's places, and the prefixes of names in them."""
    heads = {
        ".".join(filter(None, (place.key, head)))
        for place in checkpoint.places
        for name in place.state
        for head in accumulate(name.split(".")[:-1], lambda a, b: f"{a}.{b}")
    }
    return sorted({place.key for place in checkpoint.places if place.key} | heads)
