"""Tracks: what a data set is, before any of it is loaded.

A track is described by pinned facts (sizes, hashes, roles), so that a plan, its identity and a finished result need
no image; :func:`jembench.data.load` builds an image set and checks it against them. Images are stored as integers
0..levels-1 in a **fixed shuffled order**: "the first N" of a source is a random sample of it, the same for everyone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jembench.ground.identity import array_sha256, let_go
from jembench.types import Norm

Role = Literal["train", "validation", "ood-base", "test", "ood", "chains", "shift"]

BATCH = 100  # images of a batch of JEM's evaluation, of which ``interp`` is mixed
CHAINS = "chains"  # the source whose rows are sampling chains, not images
ASKED = "sampling chains, asked for the classes in turn"


@dataclass(frozen=True)
class Part:
    """How a source is cut from a published set that jembench does not carry: see :mod:`jembench.data.external`.

    Attributes:
        set: name of the published set, such as ``cifar10``.
        split: split of the published set, ``train`` or ``test``.
        span: range of the images of every class in canonical order that are taken, from and to, in thousandths.
        mix: what the images are: ``pairs``, means of two images of different classes, each used once; ``batches``,
            means of image i and i + 100, since JEM's code mixes each batch of 100 with the one before; empty for the
            images themselves.
        view: what is done to photographs that are not stored at the size of the track, ``crop`` or ``resize``; empty
            for others.
    """

    set: str
    split: str
    span: tuple[int, int] = (0, 1000)
    mix: Literal["", "pairs", "batches"] = ""
    view: Literal["", "crop", "resize"] = ""


@dataclass(frozen=True)
class Source:
    """One image set of a track.

    Attributes:
        name: identifier of the set, unique in the track.
        role: use of the set; only ``test``, ``ood``, ``chains`` and ``shift`` (corrupted test images) may
            appear in a published number.
        n: number of images.
        sha256: hash of its images and labels (:func:`jembench.ground.identity.array_sha256`); empty where no complete
            copy of a published set was at hand to pin it.
        base: name of the source its images are made from, if any; sets with the same base are not independent.
        about: one line of explanation.
        origin: where a user's own set is read from (:mod:`jembench.data.user`), or the prepared images of an external
            one; empty for those that jembench carries.
        near: whether the images of an OOD set are close to those of the track, so that it is hard to tell.
        part: how an external set is cut from a published one; n is that of the complete set. None for other sets.
        noise: standard deviation of Gaussian noise on its pixels, wherever the model under evaluation sees them.
        crop: side of the square in the middle of the images that is looked at, of an own track; 0 for all of them.
        absent: why a protocol cannot have an OOD set here: its figures are empty and say so. Empty if it can.
    """

    name: str
    role: Role
    n: int
    sha256: str
    base: str | None = None
    about: str = ""
    origin: str = ""
    near: bool = False
    part: Part | None = None
    noise: float = 0.0
    absent: str = ""
    crop: int = 0


@dataclass(frozen=True)
class Grid:
    """The balls of one threat model of a track, in units of the [0, 1] pixel range.

    Attributes:
        norm: norm of the balls, ``linf`` or ``l2``.
        eps: radii of the balls, ascending.
        headline: radius, one of ``eps``, at which every attack runs.
    """

    norm: Norm
    eps: tuple[float, ...]
    headline: float


@dataclass(frozen=True)
class Severities:
    """The amounts of one kind of shift, from mild to severe: see :mod:`jembench.data.shifts`.

    Attributes:
        kind: name of the shift, a key of :data:`jembench.data.shifts.SHIFTS`.
        amounts: amounts of the shift, ascending; the first is severity 1.
    """

    kind: str
    amounts: tuple[float, ...]


@dataclass(frozen=True)
class Track:
    """An in-distribution data set with its splits and OOD sets.

    Attributes:
        name: identifier of the track.
        version: number that every change of the track raises that moves a figure.
        shape: (C, H, W) of an image.
        levels: number of grey levels; a pixel is k / (levels - 1).
        classes: number of classes K.
        chunk: number of examples of a chunk and of a batch of an evaluation.
        sources: all image sets of the track.
        builder: ``module:function`` that makes the images of a source by its name; empty where they are the user's.
        threats: balls that adversaries may use, a grid for every norm.
        shifts: shifts of the test images in the tables.
        extractor: name of the feature extractor of sample quality (:mod:`jembench.zoo.extractors`).
        exact: whether the density of the images is known, so that a model can be that density itself.
        published_fid: sources of the real images that the FID of JEM++ and SADA-JEM is of.
        held_out: shifts of the validation images that estimators are fitted on: of no kind in ``shifts``.
        costly: number of the first images of a source that are used by measurements that take many passes for an image
            or look at it many times (views and refinements); all by default.
        folder: the user's folder of ``.npz`` files, for a track with external sources; the downloads if empty.
        file: path of the file of an own track (:mod:`jembench.data.trackfile`); empty for those of jembench.
        labels: names of the classes of an own track.
    """

    name: str
    version: int
    shape: tuple[int, int, int]
    levels: int
    classes: int
    chunk: int
    sources: tuple[Source, ...]
    builder: str = ""
    threats: tuple[Grid, ...] = ()
    shifts: tuple[Severities, ...] = ()
    held_out: tuple[Severities, ...] = ()
    extractor: str = "inception-v3"
    exact: bool = False
    published_fid: tuple[str, ...] = ("train", "validation", "ood-base", "test")
    costly: int | None = None
    folder: str = ""
    file: str = ""
    labels: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """What any process finds the track by: its name, or the path of its file."""
        return self.file or self.name

    @property
    def external(self) -> bool:
        """Whether its images are not part of jembench."""
        return any(source.part is not None for source in self.sources)

    @property
    def id(self) -> str:
        """Versioned name, such as ``digits-v1``."""
        return f"{self.name}-v{self.version}"

    @property
    def ood(self) -> tuple[Source, ...]:
        """The OOD sets, in the order of the tables."""
        return tuple(source for source in self.sources if source.role == "ood")

    def placed(self, name: str, origin: str) -> Track:
        """The track with the place of one of its sources."""
        sources = (replace(each, origin=origin) if each.name == name else each for each in self.sources)
        return replace(self, sources=tuple(sources))

    def source(self, name: str) -> Source:
        """The source called ``name``; ``KeyError`` if there is none."""
        return {source.name: source for source in self.sources}[name]


@dataclass(frozen=True)
class ImageSet:
    """Images as integers, with labels.

    Attributes:
        images: images, uint8 or uint16 ``(N, C, H, W)``, values 0..levels-1.
        labels: classes, int64 ``(N,)``, -1 where an example has no class of the track.
        levels: number of grey levels.
    """

    images: NDArray[np.unsignedinteger]
    labels: NDArray[np.int64]
    levels: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sha256(self) -> str:
        """Hash of images and labels."""
        return array_sha256(self.images, self.labels)

    def pixels(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Images ``start:stop`` as float32 in [0, 1]: k / (levels - 1)."""
        return self._floats(self.images[start:stop])

    def at(self, index: NDArray[np.integer]) -> NDArray[np.float32]:
        """The images at positions ``index (M,)`` as float32 in [0, 1]."""
        return self._floats(self.images[index])

    def of_class(self, y: int) -> NDArray[np.float32]:
        """The images of class y as float32 in [0, 1]."""
        return self.at(np.flatnonzero(self.labels == y))

    def _floats(self, integers: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
        x = np.array(integers, dtype=np.float32)  # of a mapped set, an array like any other
        x /= np.float32(self.levels - 1)
        let_go(self.images)
        return x


def chains(track: Track) -> ImageSet:
    """The source of a track whose rows are sampling chains: no images, and the classes asked for in turn."""
    n = track.source(CHAINS).n
    blank: NDArray[np.unsignedinteger] = np.broadcast_to(np.zeros(1, dtype=np.uint8), (n, *track.shape))
    return ImageSet(blank, np.arange(n, dtype=np.int64) % track.classes, track.levels)


def pairs(labels: NDArray[np.int64]) -> NDArray[np.int64]:
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
