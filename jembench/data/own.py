"""Images of own tracks (:mod:`jembench.data.trackfile`): found by the content of their files, prepared once.

Images are put in canonical order and kept in the cache as those of published sets are (:mod:`jembench.data.external`);
their hashes are part of the protocol.
"""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench.data import cache, external, origins, pictures
from jembench.data.sets import Source, Track
from jembench.ground.identity import array_sha256, identity
from jembench.types import UserError, unknown

VERSION = 1  # of the preparation

LOG = logging.getLogger("jembench")


def found(track: Track, source: Source) -> tuple[int, str, Path]:
    """Number and hash of the images of a source as they are now, and the folder that they lie prepared in.

    Raises:
        UserError: if they cannot be read, or cannot be those of the track.
    """
    place = _place(track, source)
    facts = external.facts(place)
    if facts is None:
        with cache.locked(f"own-{place.name}"), external.notice(f"preparing {track.name}/{source.name}, once"):
            facts = external.facts(place) or _prepare(track, source, place)
    return facts.n, facts.sha256, place


def _place(track: Track, source: Source) -> Path:
    assert source.part is not None
    part = {**asdict(source.part), "set": _content(source, f"{track.name}/{source.name}")}
    labels = list(track.labels) if source.role != "ood" else []
    settings = [track.shape, track.levels, source.crop, labels]
    return cache.prepared(identity(["own", VERSION, source.role, part, settings]))


def _content(source: Source, what: str) -> list[Any]:
    """What stands for the content of an origin: the hash of its files, or of what a function gives."""
    assert source.part is not None
    origin = source.part.set
    text, pixels = origins.ranged(origin)
    library, _, rest = text.partition(":")
    if library in origins.LIBRARIES:
        folder = Path(rest.partition(":")[2])
        return [text, cache.content(folder) if folder.is_dir() else ""]
    if library == origins.LIST or (text.lower().endswith(".txt") and Path(text).is_file()):
        place, _, base = rest.rpartition(":") if library == origins.LIST else (text, "", str(Path(text).parent))
        rows = origins.listed(Path(place), Path(base), what)
        lines = [[os.path.relpath(picture, base), label] for picture, label, _ in rows]
        return [lines, cache.contents([picture for picture, *_ in rows], Path(base))]
    if Path(text).exists():
        return [str(pixels), cache.content(Path(text))]
    pairs = origins.read(origin, what, split=source.part.split).images  # a function: nobody knows what it reads
    return [str(pixels), [[array_sha256(image), int(y)] for image, y in pairs]]


def _prepare(track: Track, source: Source, place: Path) -> external.Facts:
    """Read the images of a set, bring them to the track, and write those of the source in canonical order."""
    assert source.part is not None
    what = f"{track.name}/{source.name}"
    labelled = source.role != "ood"
    rows = origins.read(source.part.set, what, labelled=labelled, split=source.part.split)
    if rows.words:
        LOG.info("%s", rows.words)
    pairs = [(pictures.fitted(image, track.shape, source.crop), y) for image, y in rows.images]
    if not pairs:
        raise UserError(f"{what}: {source.part.set} holds no images")
    x = np.rint(np.stack([image for image, _ in pairs]) * ((track.levels - 1) / 255)).astype(np.uint8)
    y = np.array([label if labelled else -1 for _, label in pairs], dtype=np.int64)
    if labelled:
        y = _named(y, rows.classes, track, what)
    order = external.canonical_order(external.fingerprints(x, y))
    positions = external.cut(y[order], source.part)
    if not positions.size:
        raise UserError(f"{what}: {len(x)} images are too few: none of them falls to it")
    return external.write(track, source, place, x, y, order[positions], whole=True)


def _named(labels: NDArray[np.int64], names: tuple[str, ...], track: Track, what: str) -> NDArray[np.int64]:
    """Labels by the order of the track's classes."""
    if (labels < 0).any():
        raise UserError(f"{what}: {int((labels < 0).sum())} images have no class: put them in a folder for each class")
    if names:
        for name in names:
            if name not in track.labels:
                raise unknown(f"class of {what}:", name, track.labels)
        labels = np.array([track.labels.index(name) for name in names], dtype=np.int64)[labels]
    if labels.max() >= track.classes:
        raise UserError(f"{what}: labels {labels.min()}..{labels.max()}, the track has 0..{track.classes - 1}")
    if absent := sorted(set(range(track.classes)) - set(labels.tolist())):
        raise UserError(f"{what}: class {track.labels[absent[0]]!r} has no images")
    return labels
