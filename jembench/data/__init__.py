"""Data: tracks and their image sets, integers checked against pinned hashes.

- Here: descriptions of tracks, builders of images, downloads, folders of users, shifts of images.
- Never: a model; torch where a track is only described.
- A new one: a module with a `Track` and, if jembench carries its images, `build`; a line in `TRACKS`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jembench.data import lookup
from jembench.ground import families
from jembench.ground.families import Family
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.data.sets import ImageSet, Source, Track

DEFAULT = "digits"  # the track of whoever names none
PAPERS = "cifar10"  # the track of published recipes, checkpoints and numbers that name none

TRACKS: Family[Track] = Family(
    "track",
    {
        "digits": (".digits:TRACK", "1,797 handwritten digits, 8x8, from scikit-learn"),
        "cifar10": (
            ".photographs:CIFAR10",
            "60,000 photographs of 10 classes, 32x32; its images are not part of jembench",
        ),
        "cifar100": (
            ".photographs:CIFAR100",
            "60,000 photographs of 100 classes, 32x32; its images are not part of jembench",
        ),
        "svhn": (".photographs:SVHN", "99,289 house numbers, 32x32; its images are not part of jembench"),
        "gauss": (".gauss:TRACK", "a Gaussian mixture with known truth, 8x8"),
    },
    __package__,
    group="jembench.tracks",
    fits=lambda thing: hasattr(thing, "sources") and hasattr(thing, "shape"),
)


def track(name: str, *, folder: Path | None = None) -> Track:
    """The description of a track; loads no image.

    Args:
        name: name of the track, or path of the file of an own one (:mod:`jembench.data.trackfile`).
        folder: folder of ``.npz`` files with its images, if they are not part of jembench; its downloads by default.

    Raises:
        UserError: for an unknown name, no such folder, or a folder for a track that has its images.
    """
    if (file := lookup.located(name, TRACKS)) is not None:
        if folder is not None:
            raise UserError(f"track file {file} says where its images are: leave out --data-dir")
        described: Track = families.load(".trackfile:described", __package__)(file, TRACKS)
        return described
    description = TRACKS[name]
    if folder is None:
        return description
    if not description.external:
        raise UserError(f"track {name} carries its images: leave out --data-dir")
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UserError(f"--data-dir {folder}: no such folder")
    return replace(description, folder=str(folder.resolve()))


def about(name: str) -> str:
    """One line about a track, by what it is found by.

    Raises:
        UserError: for an unknown name.
    """
    return TRACKS.about(name) if name in TRACKS else f"a track of its own, {Path(track(name).file).name}"


def found(track: Track, name: str) -> Source:
    """A source of a track as it is on this machine; of an external one, where its images are, their number and hash.

    Raises:
        UserError: if they are not there, or not those of the track.
    """
    source = track.source(name)
    if source.origin:
        return source
    if track.file:
        return _own(track, source)
    if source.part is None:
        return source
    from jembench.data import external

    return external.found(track, source)


def _own(track: Track, source: Source) -> Source:
    """A source of an own track as it is."""
    from jembench.data import own
    from jembench.data.sets import CHAINS, chains

    if source.name == CHAINS:
        return replace(source, sha256=chains(track).sha256)
    n, sha256, place = own.found(track, source)
    return replace(source, n=n, sha256=sha256, origin=str(place))


def images(track: Track, name: str) -> ImageSet:
    """The images of a source of a track, wherever they come from.

    Raises:
        UserError: see :func:`found` and :func:`load`.
    """
    return load(track.ref, name, origin=found(track, name).origin)


def load(track_name: str, source_name: str, *, origin: str = "", sha256: str = "") -> ImageSet:
    """Build one image set and check it: against the track's pinned size and hash, or what was found before.

    Args:
        track_name: name of the track.
        source_name: name of one of its sources.
        origin: where a user's own set is read from, or an external one lies prepared; empty for those of the track.
        sha256: hash of the images and labels at the origin that whoever planned for them found; by default that of the
            preparation of an external set, and none of a user's own.

    Raises:
        UserError: if the bytes are not those that the track was published with, or those that were found.
    """
    from jembench.data import corruptions, external, user

    description = track(track_name)
    if origin:
        if source_name in [source.name for source in description.sources]:
            return external.load(description, source_name, origin, sha256=sha256)
        shifted = origin.startswith(corruptions.START)
        own = corruptions.load(origin, description) if shifted else user.load(source_name, origin, description)
        if sha256 and own.sha256 != sha256:
            raise UserError(
                f"{origin}: the images of {source_name!r} have changed since they were planned for: run the command "
                "again"
            )
        return own
    source = description.source(source_name)
    if description.file:
        source = _own(description, source)
        if source.origin:
            return external.load(description, source_name, source.origin)
    if description.external:
        image_set: ImageSet = external.built(description, source_name)
    else:
        image_set = families.load(description.builder)(source_name)
    digest = image_set.sha256
    if digest != source.sha256 or len(image_set) != source.n:
        raise UserError(
            f"{track_name}/{source_name}: the images are not those of the track (sha256 {digest[:12]}, "
            f"expected {source.sha256[:12]}): numbers would not be comparable; reinstall jembench and its dependencies"
        )
    return image_set
