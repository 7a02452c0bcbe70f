"""Tracks and their image sets: integers on disk or from arithmetic, checked against pinned hashes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from jembench.identity import array_sha256
from jembench.types import UserError, unknown

if TYPE_CHECKING:
    from jembench.data.sets import ImageSet, Track

TRACKS = {"digits": "jembench.data.digits", "gauss": "jembench.data.gauss"}


def track(name: str) -> Track:
    """The description of a track; loads no image.

    Raises:
        UserError: for an unknown name.
    """
    if name not in TRACKS:
        raise unknown("track", name, TRACKS)
    description: Track = import_module(TRACKS[name]).TRACK
    return description


def load(track_name: str, source_name: str, *, origin: str = "") -> ImageSet:
    """Build one image set and check it against the track's pinned size and hash.

    Args:
        track_name: of the track.
        source_name: of its image set.
        origin: where a user's own set is read from: it has no pinned hash, whoever planned for it took its own.

    Raises:
        UserError: if the bytes are not those that the track was published with.
    """
    if origin:
        from jembench.data import user

        return user.load(source_name, origin, track(track_name))
    source = track(track_name).source(source_name)
    images: ImageSet = import_module(TRACKS[track_name]).build(source_name)
    found = array_sha256(images.images, images.labels)
    if found != source.sha256 or len(images) != source.n:
        raise UserError(
            f"{track_name}/{source_name}: the images are not those of the track (sha256 {found[:12]}, "
            f"expected {source.sha256[:12]}): numbers would not be comparable; reinstall jembench and its dependencies"
        )
    return images
