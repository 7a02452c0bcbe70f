"""Inventory: which published sets and which sources of a track are on this machine, and in what state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jembench.data import archives, cache, external
from jembench.data.sets import Source, Track
from jembench.types import UserError

#: ``unpinned``: of a set with as many images as the published one, whose hash nobody could pin.
State = Literal["complete", "unpinned", "subset", "missing", "damaged"]


@dataclass(frozen=True)
class SourceState:
    """A source of a track as it was found.

    Attributes:
        source: source as the track describes it.
        state: state of the source on this machine.
        n: number of images of the source on this machine.
        words: what is wrong with the source; empty if nothing is.
    """

    source: Source
    state: State
    n: int = 0
    words: str = ""


def downloaded(name: str) -> Path | None:
    """Where a published set lies, if all of it has been downloaded."""
    splits = [archives.files(name, split) for split in archives.archive(name).files]
    return cache.downloads() if all(splits) else None


def sources(track: Track) -> list[SourceState]:
    """The state of every source of a track whose images are the user's.

    Whatever is there is read and prepared, and what was prepared before is hashed.
    """
    return [_state(track, source) for source in track.sources if source.part is not None]


def _state(track: Track, source: Source) -> SourceState:
    if not external.here(track, source):
        return SourceState(source, "missing")
    try:
        local = external.found(track, source)
        external.load(track, source.name, local.origin)
    except UserError as error:
        return SourceState(source, "damaged", words=str(error))
    preparation = external.facts(Path(local.origin))
    if preparation is None or not preparation.whole:
        return SourceState(source, "subset", local.n)
    return SourceState(source, "complete" if source.sha256 else "unpinned", local.n)
