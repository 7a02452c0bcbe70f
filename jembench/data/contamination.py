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
    crops = {source.crop for source in track.sources if source.role in ROLES}
    what = f"training images {origin}"
    training = {crop: user.fitted(what, origin, track, split="train", crop=crop) for crop in crops}
    overlaps = {}
    for source in track.sources:
        if source.role in ROLES:
            try:
                images = data.images(track, source.name)
            except UserError:
                continue
            overlaps[source.name] = overlap.compare(images, [training[source.crop]])
    return overlaps


def absent(track: Track, overlaps: dict[str, Overlap]) -> list[str]:
    """The test and OOD sets of a track that were not compared, since they are not on this machine."""
    return [source.name for source in track.sources if source.role in ROLES and source.name not in overlaps]


def words(origin: str, track: Track) -> list[str]:
    """What must be known of a model that was trained on these images, a sentence for each set."""
    overlaps = of(origin, track)
    lost = absent(track, overlaps)
    unknown = [f"training images {origin}: not looked for in {', '.join(lost)}: not on this machine"] if lost else []
    return unknown + [
        f"training images {origin}: {each.exact} of {each.n} images of {name!r} are among them"
        + (f", {each.near} more nearly" if each.near else "")
        for name, each in overlaps.items()
        if each.exact or each.near
    ]
