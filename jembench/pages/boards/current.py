"""Whether a result is of a track as it is now."""

from __future__ import annotations

from jembench import data
from jembench.choices.protocols import PROTOCOLS, V1
from jembench.data.sets import Track
from jembench.store.results import ResultDocument
from jembench.types import UserError


def check_current(document: ResultDocument, track: Track) -> None:
    """Refuse a result of another track, or of other bytes than the track has now.

    Of a published set there may be a part at hand, whose bytes cannot be checked; its size is said instead.
    """
    who = f"the result of {document.model.name!r}"
    if document.track != track.id:
        raise UserError(f"{who} is of {document.track}, not {track.id}: make it anew")
    view = PROTOCOLS.get(document.protocol.name, V1).on(track, ())
    sources = {source.name: data.found(track, source.name) if track.file else source for source in view.sources}
    for name, facts in document.protocol.sources.items():
        source = sources.get(name)
        if source is not None and source.part is not None:
            whole = facts.n == source.n and source.sha256 not in ("", facts.sha256)
            other = whole or facts.n > source.n
        else:
            other = source is None or facts.sha256 != source.sha256
        if other:
            raise UserError(f"{who} is of other images of {name!r} than {track.id} has: make it anew")
