"""Tracks whose images are the user's: from a folder of ``.npz`` files or from the cache of downloads.

The part of a source (:class:`jembench.data.sets.Part`) says how it is cut from a published set. The images of a set are
first put into their **canonical order**, by the SHA-256 of each image with its label: whatever order a copy of the set
has, its sources are the same to the last bit, and "the first N" of a source is a random sample of it. Outliers have no
labels: their order is that of the images alone. A complete copy is checked against the pinned hash; of a subset the
protocol carries the size and the hash that it has, so that it never shares a ranking with the complete set.

What a source is on this machine is prepared once: integers ``(N, C, H, W)`` in an ``.npy`` file of the cache, mapped
into memory, so that an evaluation holds no more of a set than the chunk it works on. Files are written whole, the facts
last: a folder of the cache whose files have the sizes in its facts is complete, any other is made anew. Whoever loads
images hashes them, so that damaged bytes are no images. Two processes that need the same set at once write the same
bytes; a lock only keeps the second from doing the work again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench.data import archives, cache, folders
from jembench.data.sets import BATCH, CHAINS, ImageSet, Part, Source, Track, chains, pairs
from jembench.ground import files
from jembench.ground.identity import identity
from jembench.types import UserError

VERSION = 1  # of the preparation
FACTS, IMAGES, LABELS = "facts.json", "images.npy", "labels.npy"
BLOCK = 1000  # images that are copied at a time
PATIENCE = 2.0  # seconds of work without a word
COPIES = 0.01  # share of images that occur twice above which files are copies of each other

LOG = logging.getLogger("jembench")

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Facts:
    """What is known of a prepared source without reading it.

    Attributes:
        n: number of images of the source.
        sha256: hash of the images and labels of the source.
        whole: whether the set that it was cut from had as many images as the published one.
    """

    n: int
    sha256: str
    whole: bool


def found(track: Track, source: Source) -> Source:
    """The source as it is on this machine: its size, its hash, and as origin the folder of its prepared images.

    Raises:
        UserError: if its set is not there, cannot be read, or has as many images as the published one, or more, and
            others.
    """
    part = _part(source)
    if track.folder and part.view == "resize":
        raise UserError(
            f"{track.name}/{source.name}: needs the uncropped photographs of {part.set}, which a folder of .npz files "
            f"does not hold: leave --data-dir out and run `jembench data fetch {part.set}`"
        )
    paths = here(track, source)
    if not paths:
        raise UserError(_missing(track, source))
    place = _place(track, source, paths)
    preparation = facts(place)
    if preparation is None:
        with (
            cache.locked(f"{part.set}-{part.split}"),
            notice(f"preparing {part.set}_{part.split}, once, in {cache.root()}"),
        ):
            preparation = facts(place) or _prepare(track, source, paths)
    if source.sha256 and preparation.whole and preparation.sha256 != source.sha256:
        raise UserError(
            f"{track.name}/{source.name}: {_names(paths)} hold as many images as the complete set, but not those "
            f"(sha256 {preparation.sha256[:12]}, expected {source.sha256[:12]}): the copy is altered; get another one"
        )
    return replace(source, n=preparation.n, sha256=preparation.sha256, origin=str(place))


def here(track: Track, source: Source) -> list[Path]:
    """The files on this machine that the source is cut from; none if they are not all there."""
    part = _part(source)
    if track.folder:
        return folders.files(Path(track.folder), part.set, part.split)
    return archives.files(part.set, part.split)


def load(track: Track, name: str, origin: str, *, sha256: str = "") -> ImageSet:
    """The prepared images of a source, mapped from the disk and hashed.

    Args:
        track: track of the source.
        name: name of the source.
        origin: folder of the prepared images of the source.
        sha256: hash that images and labels must have; that of their facts by default.

    Raises:
        UserError: if they are gone, cannot be read or have another hash.
    """
    place = Path(origin)
    try:
        image_set = _mapped(place, track.levels)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(track, name, place, str(error)) from error
    preparation = facts(place)
    pin = sha256 or (preparation.sha256 if preparation else "")
    if (digest := image_set.sha256) != pin:
        raise _damaged(track, name, place, f"sha256 {digest[:12]}, expected {pin[:12] or 'another'}")
    return image_set


def built(track: Track, name: str) -> ImageSet:
    """The one source of an external track that needs no file.

    Raises:
        UserError: for another one.
    """
    if name != CHAINS:
        raise UserError(_missing(track, track.source(name)))
    return chains(track)


def _mapped(place: Path, levels: int) -> ImageSet:
    images = np.load(place / IMAGES, mmap_mode="r", allow_pickle=False)
    labels = np.load(place / LABELS, allow_pickle=False)
    return ImageSet(images, labels, levels)


def _damaged(track: Track, name: str, place: Path, why: str) -> UserError:
    return UserError(
        f"{track.name}/{name}: the prepared images in {place} are gone or damaged ({why}): remove that folder and run "
        "the command again"
    )


def _part(source: Source) -> Part:
    assert source.part is not None  # else it is not external
    return source.part


def facts(place: Path) -> Facts | None:
    """The facts of a folder of the cache, if all of its files are there and have their sizes."""
    try:
        content = json.loads((place / FACTS).read_text(encoding="utf-8"))
        if any((place / name).stat().st_size != content["bytes"][name] for name in (IMAGES, LABELS)):
            return None
        return Facts(int(content["n"]), str(content["sha256"]), bool(content["whole"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _place(track: Track, source: Source, paths: list[Path]) -> Path:
    """Where the images of a source lie that were prepared from files with this content."""
    try:
        contents = [cache.content(path) for path in paths]
    except OSError as error:
        raise UserError(f"{track.name}/{source.name}: a file is gone while it is looked at ({error})") from error
    return cache.prepared(identity([VERSION, track.id, source.role, asdict(_part(source)), contents]))


def _prepare(track: Track, source: Source, paths: list[Path]) -> Facts:
    """Write the images of all sources that are cut from the same set: reading it is what takes long."""
    part = _part(source)
    siblings = [sibling for sibling in track.sources if sibling != source and _read_as(sibling) == _read_as(source)]
    places = {sibling: _place(track, sibling, paths) for sibling in (source, *siblings)}
    if track.folder:
        images, labels = folders.read(paths)
    else:
        images, labels = archives.read(part.set, part.split, view=part.view)
    if _place(track, source, paths) != places[source]:
        raise UserError(f"{track.name}/{source.name}: {_names(paths)} changed while being read: run the command again")
    _check(track, source, images, labels, paths)
    if not _labelled(source):
        labels = np.full(len(labels), -1, dtype=np.int64)
    images = images.transpose(0, 3, 1, 2)
    names = fingerprints(images, labels)
    copies = len(names) - len(set(names))
    if copies > COPIES * len(names):
        raise UserError(
            f"{track.name}/{source.name}: {copies} of {len(names)} images in {_names(paths)} are there twice: leave "
            "out what is a copy"
        )
    order = canonical_order(names)
    whole = len(images) == archives.archive(part.set).images[part.split]
    for sibling in siblings:
        if (positions := cut(labels[order], _part(sibling))).size:
            write(track, sibling, places[sibling], images, labels, order[positions], whole=whole)
    positions = cut(labels[order], part)
    if not positions.size:
        raise UserError(
            f"{track.name}/{source.name}: the {len(labels)} images of {part.set}_{part.split} are too few, none of "
            "them falls to it: add more"
        )
    return write(track, source, places[source], images, labels, order[positions], whole=whole)


def _labelled(source: Source) -> bool:
    """Whether labels have a part in what the source is."""
    part = _part(source)
    return source.role != "ood" or part.span != (0, 1000) or part.mix == "pairs"


def _read_as(source: Source) -> tuple[Any, ...]:
    """Sources with the same answer are cut from one reading of one set."""
    part = source.part
    return () if part is None else (part.set, part.split, part.view, _labelled(source))


def _check(track: Track, source: Source, images: Images, labels: Labels, paths: list[Path]) -> None:
    """Raise :class:`UserError` unless the images of a set can be those of the track, and its labels where needed."""
    prefix = f"{track.name}/{source.name}: {_names(paths)}"
    channels, height, width = track.shape
    total = archives.archive(_part(source).set).images[_part(source).split]
    if not 0 < len(images) <= total:
        raise UserError(
            f"{prefix}: {len(images)} images, the complete set has {total}: files of another set, or copies"
        )
    if _part(source).view != "resize" and images.shape[1:] != (height, width, channels):
        raise UserError(
            f"{prefix}: images of shape {images.shape[1:]} (height, width, colours), the track has "
            f"{(height, width, channels)}"
        )
    if not _labelled(source):
        return
    if (labels == -1).any():
        raise UserError(f"{prefix}: has no labels, or some of -1: {source.name!r} needs the class of every image")
    if not 0 <= labels.min() <= labels.max() < track.classes:
        raise UserError(f"{prefix}: labels {labels.min()}..{labels.max()}, the track has 0..{track.classes - 1}")


def write(
    track: Track,
    source: Source,
    place: Path,
    images: Images,
    labels: Labels,
    positions: NDArray[np.int64],
    *,
    whole: bool,
) -> Facts:
    """Write the images of one source, then its facts.

    Args:
        track: track of the source.
        source: what is written.
        place: folder in the cache.
        images: images ``(M, C, H, W)`` of the set that it is cut from.
        labels: labels ``(M,)`` of these.
        positions: positions ``(1, N)`` in the set, or ``(2, N)`` for means of two.
        whole: whether the set is complete.
    """
    shape = (positions.shape[1], *images.shape[1:])
    with files.replacing(place / IMAGES) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], BLOCK):
            block = images[positions[0, start : start + BLOCK]]
            if len(positions) == 2:
                total = block.astype(np.uint16) + images[positions[1, start : start + BLOCK]]
                block = (total // 2).astype(np.uint8)
            file.write(np.ascontiguousarray(block).data)
    classes = np.full(shape[0], -1, dtype=np.int64) if source.role == "ood" else labels[positions[0]]
    with files.replacing(place / LABELS) as file:
        np.save(file, classes, allow_pickle=False)
    image_set = _mapped(place, track.levels)
    preparation = Facts(shape[0], image_set.sha256, whole)
    sizes = {name: (place / name).stat().st_size for name in (IMAGES, LABELS)}
    files.write(place / FACTS, json.dumps({**asdict(preparation), "bytes": sizes}).encode())
    return preparation


def cut(labels: Labels, part: Part) -> NDArray[np.int64]:
    """Which images of a set a source is made of: positions ``(1, N)``, or ``(2, N)`` where each is the mean of two.

    Args:
        labels: labels ``(M,)`` of the set, in canonical order.
        part: how the source is cut from the set.
    """
    positions = np.arange(len(labels))
    if part.span != (0, 1000):
        first, last = part.span
        mask = np.zeros(len(labels), dtype=bool)
        for y in np.unique(labels):
            members = np.flatnonzero(labels == y)
            mask[members[len(members) * first // 1000 : len(members) * last // 1000]] = True
        positions = np.flatnonzero(mask)
    if part.mix == "pairs":
        return positions[pairs(labels[positions])]
    if part.mix == "batches":
        return positions[batches(len(positions))]
    return positions[None]


def fingerprints(images: Images, labels: Labels) -> list[bytes]:
    """The SHA-256 of each of the images ``(N, C, H, W)`` with its label ``(N,)``."""
    ends = labels.astype("<i8")
    return [
        hashlib.sha256(np.ascontiguousarray(image).tobytes() + end.tobytes()).digest()
        for image, end in zip(images, ends, strict=True)
    ]


def canonical_order(names: list[bytes]) -> NDArray[np.int64]:
    """The order of images by their :func:`fingerprints`."""
    return np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)


def batches(n: int) -> NDArray[np.int64]:
    """Every example with the one at its place in the next batch of 100, ``(2, n - 100)``: most are in two pairs."""
    first = np.arange(max(0, n - BATCH), dtype=np.int64)
    return np.stack([first, first + BATCH])


@contextmanager
def notice(words: str) -> Iterator[None]:
    """Say what is done, once it has taken a while."""
    timer = threading.Timer(PATIENCE, LOG.info, [words])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths) + f" in {paths[0].parent}"


def _missing(track: Track, source: Source) -> str:
    part = _part(source)
    if track.folder:
        names = " or ".join(f"{part.set}_{split}.npz" for split in folders.splits(part.set, part.split))
        return (
            f"{track.name}/{source.name}: no images in {track.folder}: add {names} there, or leave --data-dir out and "
            f"run `jembench data fetch {part.set}`"
        )
    return (
        f"{track.name}/{source.name}: its images are not on this machine: run `jembench data fetch {part.set}`, which "
        f"downloads them, or give --data-dir, a folder with {part.set}_{part.split}.npz"
    )
