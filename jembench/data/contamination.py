"""Contamination: whether a model saw test or OOD images of a track while it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench import data
from jembench.data import overlap, user
from jembench.data.overlap import Overlap
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.data.sets import Track

ROLES = ("test", "ood")  # of the sets that published numbers are of


def of(origin: str, track: Track) -> dict[str, Overlap]:
    """The test and OOD images of a track that are among the training images of a model: name of the set -> overlap.

    Sets of the track that are not on this machine are left out.

    Args:
        origin: the training images, one of the forms of :mod:`jembench.data.origins`.
        track: the track.

    Raises:
        UserError: if the training images cannot be read.
    """
    training = user.fitted(f"training images {origin}", origin, track)
    found = {}
    for source in track.sources:
        if source.role in ROLES:
            try:
                images = data.images(track, source.name)
            except UserError:
                continue
            found[source.name] = overlap.compare(images, [training])
    return found


def words(origin: str, track: Track) -> list[str]:
    """What must be known of a model that was trained on these images, a sentence for each set."""
    return [
        f"training images {origin}: {each.exact} of {each.n} images of {name!r} are among them"
        + (f", {each.near} more nearly" if each.near else "")
        for name, each in of(origin, track).items()
        if each.exact or each.near
    ]
