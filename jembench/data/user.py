"""A user's own OOD set: ``name=ORIGIN`` (:mod:`jembench.data.origins`), made into images of a track.

Images of another size or number of colours are resized (antialiased, bilinear), made grey or repeated, and rounded to
the track's grey levels: a score must not tell them by how they are stored. They count as neither near nor far. They
are then put in a fixed shuffled order, like every source, so that ``--limit`` takes a random sample of them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from jembench.data import openood, origins, pictures
from jembench.data.sets import ImageSet, Source, Track
from jembench.ground import seeding
from jembench.types import UserError

LEVELS = 256
LOG = logging.getLogger("jembench")


def source(name: str, origin: str, track: Track) -> Source:
    """The description of a user's set: it is read once, for its hash.

    Args:
        name: name of the set in tables.
        origin: one of the forms of :mod:`jembench.data.origins`.
        track: track whose shape and grey levels the images are brought to.

    Raises:
        UserError: for a name that cannot be one or that the track has, or a set that cannot be read.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name):
        raise UserError(f"OOD set {name!r}: a name is made of letters, digits, '.', '_' and '-', at most 40")
    if name in {other.name for other in track.sources} | {"mean", "near", "far"}:
        raise UserError(f"OOD set {name!r}: track {track.name} has that name already: choose another")
    if words := origins.read(str(origin), f"OOD set {name!r}").words:
        LOG.info("%s", words)
    images = load(name, origin, track)
    digest = images.sha256
    return Source(name, "ood", len(images), digest, about=f"of the user: {origin}", origin=origin)


def extended(track: Track, sets: Mapping[str, str]) -> Track:
    """A track with OOD sets of the user: name -> origin, or ``openood`` -> folder (:mod:`jembench.data.openood`).

    Raises:
        UserError: see :func:`source`.
    """
    for name, origin in sets.items():
        if name == openood.NAME:
            parts = openood.sets(track, Path(origin).expanduser())
            more = [replace(source(part, place, track), near=near) for part, (place, near) in parts.items()]
        else:
            more = [source(name, origin, track)]
        track = replace(track, sources=(*track.sources, *more))
    return track


def load(name: str, origin: str, track: Track) -> ImageSet:
    """The images of a user's set in their fixed shuffled order, without labels.

    Raises:
        UserError: if they cannot be read, or there are none.
    """
    images = fitted(f"OOD set {name!r}", origin, track)
    order = seeding.permutation("user-ood", n=len(images))
    return replace(images, images=images.images[order])


def fitted(what: str, origin: str, track: Track, *, split: str = "test", crop: int = 0) -> ImageSet:
    """The images of an origin as those of a track, without labels.

    Args:
        what: what they are, for messages.
        origin: one of the forms of :mod:`jembench.data.origins`.
        track: track whose shape and grey levels they are brought to.
        split: the part that is meant, where a data set has parts.
        crop: side of the square in the middle that is cut out before; 0 for all of the image.

    Raises:
        UserError: if they cannot be read, or there are none.
    """
    rows = origins.read(str(origin), what, split=split).images
    raw = [pictures.fitted(image, track.shape, crop) for image, _ in rows]
    if not raw:
        raise UserError(f"{what}: {origin} holds no images")
    images = np.stack(raw)
    values = np.rint(images * ((track.levels - 1) / (LEVELS - 1)))
    kind = np.uint8 if track.levels <= LEVELS else np.uint16
    return ImageSet(values.astype(kind), np.full(len(images), -1, dtype=np.int64), track.levels)
