"""Tracks whose images are the user's: from a folder of ``.npz`` files or from the cache of downloads.

The part of a source (:class:`jembench.data.sets.Part`) says how it is cut from a published set. The images of a set are
first put into their **canonical order**, by the SHA-256 of each image with its label: whatever order a copy of the set
has, its sources are the same to the last bit, and "the first N" of a source is a random sample of it. A complete copy
is checked against the pinned hash; of a subset the protocol carries the size and the hash that it has, so that it never
shares a ranking with the complete set.

What a source is on this machine is prepared once: integers ``(N, C, H, W)`` in an ``.npy`` file of the cache, mapped
into memory, so that an evaluation holds no more of a set than the chunk it works on.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench import files
from jembench.data import archives, folders
from jembench.data.cache import prepared
from jembench.data.sets import BATCH, CHAINS, Grid, ImageSet, Part, Severities, Source, Track, chains
from jembench.identity import array_sha256, identity
from jembench.types import UserError

VERSION = 1  # of the preparation
FACTS, IMAGES, LABELS = "facts.json", "images.npy", "labels.npy"

#: How the training images of a track are divided, in thousandths of every class.
BASE, VALIDATION, TRAIN = (0, 40), (40, 100), (100, 1000)

#: The radii that the tables of CIFAR-10 have, RobustBench's among them.
THREATS = (
    Grid("linf", (2 / 255, 4 / 255, 8 / 255, 12 / 255, 16 / 255), 8 / 255),
    Grid("l2", (0.25, 0.5, 1.0, 1.5, 2.0), 0.5),
)

#: From mild to severe, near the amounts of CIFAR-10-C (Hendrycks & Dietterich, ICLR 2019).
SHIFTS = (
    Severities("noise", (0.04, 0.06, 0.08, 0.09, 0.10)),
    Severities("blur", (0.4, 0.6, 0.7, 0.8, 1.0)),
    Severities("contrast", (0.25, 0.5, 0.6, 0.7, 0.85)),
    Severities("brightness", (0.05, 0.1, 0.15, 0.2, 0.3)),
    Severities("rotation", (5.0, 10.0, 15.0, 20.0, 30.0)),
)
HELD_OUT = (
    Severities("occlusion", (0.2, 0.35, 0.5)),
    Severities("translation", (0.06, 0.12, 0.2)),
    Severities("impulse", (0.01, 0.03, 0.08)),
    Severities("shear", (0.15, 0.3, 0.5)),
    Severities("gamma", (0.3, 0.8, 2.0)),
    Severities("pixelate", (0.15, 0.3, 0.5)),
)

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def found(track: Track, source: Source) -> Source:
    """The source as it is on this machine: its size, its hash, and as origin the folder of its prepared images.

    Raises:
        UserError: if its set is not there, cannot be read, or is complete and not the published one.
    """
    part = _part(source)
    place = _place(track, source, _files(track, source))
    if not (place / FACTS).exists():
        _prepare(track, part)
    facts = _facts(place)
    here = replace(source, n=facts["n"], sha256=facts["sha256"], origin=str(place))
    if source.sha256 and here.n == source.n and here.sha256 != source.sha256:
        raise UserError(
            f"{track.name}/{source.name}: {here.n} images, as many as the complete set has, but not those (sha256 "
            f"{here.sha256[:12]}, expected {source.sha256[:12]}): the copy is altered; get another one"
        )
    return here


def load(track: Track, name: str, origin: str) -> ImageSet:
    """The prepared images of a source, mapped from the disk.

    Raises:
        UserError: if they are gone or cannot be read.
    """
    place = Path(origin)
    try:
        images = np.load(place / IMAGES, mmap_mode="r", allow_pickle=False)
        labels = np.load(place / LABELS, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{track.name}/{name}: the prepared images in {place} cannot be read ({error}): remove that folder, and "
            "they are prepared again"
        ) from error
    return ImageSet(images, labels, track.levels)


def built(track: Track, name: str) -> ImageSet:
    """The one source of an external track that needs no file.

    Raises:
        UserError: for another one.
    """
    if name != CHAINS:
        raise UserError(_missing(track, track.source(name)))
    return chains(track)


def _facts(place: Path) -> dict[str, Any]:
    try:
        found = json.loads((place / FACTS).read_text(encoding="utf-8"))
        return {"n": int(found["n"]), "sha256": str(found["sha256"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place / FACTS}: cannot be read ({error}): remove that folder") from error


def _part(source: Source) -> Part:
    assert source.part is not None  # else it is not external
    return source.part


def _files(track: Track, source: Source) -> list[Path]:
    """The files that the source is cut from."""
    part = _part(source)
    found = folders.files(Path(track.folder), part.set, part.split) if track.folder else archives.files(part.set)
    if not found:
        raise UserError(_missing(track, source))
    return found


def _place(track: Track, source: Source, whence: list[Path]) -> Path:
    """Where the prepared images of a source lie, if these files have not changed since."""
    stamps = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in whence]
    return prepared(identity([VERSION, track.id, asdict(_part(source)), bool(track.folder), stamps]))


def _prepare(track: Track, part: Part) -> None:
    """Write the images of all sources that are cut from the same set: reading it is what takes long."""
    if track.folder and part.view == "resize":
        raise UserError(
            f"{track.name}: {part.set} is needed as uncropped photographs, which a folder of .npz files does not hold: "
            f"leave --data-dir out and run `jembench data fetch {part.set}`"
        )
    if track.folder:
        images, labels = folders.read(Path(track.folder), part.set, part.split)
    else:
        images, labels = archives.read(part.set, part.split, view=part.view)
    height, width = images.shape[1:3] if part.view == "resize" else track.shape[1:]
    if images.shape[1:] != (height, width, track.shape[0]):
        raise UserError(
            f"{track.name}: images of {part.set}_{part.split} have the shape {images.shape[1:]}, the track has "
            f"{(height, width, track.shape[0])} (height, width, colours)"
        )
    images = images.transpose(0, 3, 1, 2)
    order = canonical_order(images, labels)
    images, labels = images[order], labels[order]
    for source in track.sources:
        if source.part is not None and (source.part.set, source.part.split, source.part.view) == (
            part.set,
            part.split,
            part.view,
        ):
            _write(track, source, *cut(images, labels, source.part))


def _write(track: Track, source: Source, images: Images, labels: Labels) -> None:
    """The images of one source, then its facts: a folder with facts is complete."""
    if not len(images):
        raise UserError(f"{track.name}/{source.name}: the set at hand is too small, none of its images falls to it")
    if source.role == "ood":
        labels = np.full(len(images), -1, dtype=np.int64)
    elif not 0 <= labels.min() <= labels.max() < track.classes:
        raise UserError(
            f"{track.name}/{source.name}: labels {labels.min()}..{labels.max()}, the track has 0..{track.classes - 1}"
        )
    place = _place(track, source, _files(track, source))
    for name, array in ((IMAGES, images), (LABELS, labels)):
        files.write(place / name, _npy(array))
    facts = {"n": len(images), "sha256": array_sha256(images, labels)}
    files.write(place / FACTS, json.dumps(facts).encode())


def cut(images: Images, labels: Labels, part: Part) -> tuple[Images, Labels]:
    """The images ``(N, C, H, W)`` and labels of a source, from those of its set in canonical order."""
    if part.span != (0, 1000):
        first, last = part.span
        keep = np.zeros(len(labels), dtype=bool)
        for y in np.unique(labels):
            members = np.flatnonzero(labels == y)
            keep[members[len(members) * first // 1000 : len(members) * last // 1000]] = True
        images, labels = images[keep], labels[keep]
    if part.mix:
        one, two = pairs(labels) if part.mix == "pairs" else batches(len(labels))
        total = images[one].astype(np.uint16) + images[two]
        return (total // 2).astype(np.uint8), np.full(len(one), -1, dtype=np.int64)
    return np.ascontiguousarray(images), labels.astype(np.int64)


def canonical_order(images: Images, labels: Labels) -> NDArray[np.int64]:
    """The order of images ``(N, C, H, W)`` by the SHA-256 of each one's bytes and label."""
    names = [
        hashlib.sha256(np.ascontiguousarray(image).tobytes() + int(label).to_bytes(8, "little", signed=True)).digest()
        for image, label in zip(images, labels, strict=True)
    ]
    return np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)


def pairs(labels: Labels) -> NDArray[np.int64]:
    """Disjoint pairs ``(2, M)`` of examples of different classes: each takes the next free one of another class."""
    free = list(range(len(labels)))
    result = []
    while free:
        first = free.pop(0)
        partner = next((j for j in free if labels[j] != labels[first]), None)
        if partner is not None:
            free.remove(partner)
            result.append((first, partner))
    return np.array(result, dtype=np.int64).reshape(-1, 2).T


def batches(n: int) -> NDArray[np.int64]:
    """Every example with the one at its place in the next batch of 100, ``(2, n - 100)``: most are in two pairs."""
    first = np.arange(max(0, n - BATCH), dtype=np.int64)
    return np.stack([first, first + BATCH])


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _missing(track: Track, source: Source) -> str:
    part = _part(source)
    ways = (
        f"run `jembench data fetch {part.set}`, which downloads it, or give --data-dir, a folder with "
        f"{part.set}_{part.split}.npz"
    )
    if track.folder:
        names = ", ".join(f"{part.set}_{split}[_*].npz" for split in folders.splits(part.set, part.split))
        return f"{track.name}/{source.name}: no images in {track.folder} (looked for {names}): add them, or {ways}"
    return f"{track.name}/{source.name}: there are no images on this machine: {ways}"
