"""Own tracks: a data set of a user's, described by a few lines of TOML.

.. code-block:: toml

    name = "shapes"
    size = 16
    train = "train/"      # a folder a class
    test = "test/"
    [ood]
    textures = "textures/"

A set is an origin (:mod:`jembench.data.origins`), or a table with an origin and how its images are cut. Paths are
relative to the file. Without ``validation`` a tenth of every class of ``train`` validates. Images are put in canonical
order and prepared in the cache, as those of published sets are (:mod:`jembench.data.external`); their hashes are part
of the protocol.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from jembench.data import digits, origins, photographs, pictures
from jembench.data.sets import ASKED, CHAINS, Grid, Part, Source, Track
from jembench.ground.entry import Entry, read_toml
from jembench.types import Norm, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

TRAINED = "-ref"  # behind the name of a track: the folder of its own extractor, beside its file
SMALL = 16  # pixels a side up to which grey images are shifted as digits are
TENTH = {"train": (100, 1000), "validation": (0, 100)}
RESERVED = ("train", "validation", "test", "chains", "mean", "near", "far", "ood-base", "interp")

Positive = Annotated[int, Field(gt=0)]


class SetFile(Entry):
    """One image set of a track file.

    Attributes:
        origin: where the images are.
        crop: side of the square in the middle that is cut out before images are resized; None for all of them.
        near: whether an OOD set is close to the images of the track.
        split: part that is meant, of a data set with parts.
    """

    origin: str
    crop: Positive | None = None
    near: bool = False
    split: str = ""


class TrackFile(Entry):
    """A ``track.toml``.

    Attributes:
        name: identifier of the track.
        version: number to be raised by whoever changes what the track means.
        size: side of the images in pixels, or height and width; images of another size are resized.
        channels: number of colours, 1 or 3.
        levels: number of grey levels.
        classes: number or names of the classes; by default the folders of ``train``.
        train: training images.
        validation: images that validate; by default a tenth of every class of ``train``.
        test: test images.
        ood: OOD sets, by name.
        eps: radii of the balls of adversaries by norm, ``linf`` and ``l2``, in units of the [0, 1] pixel range.
        extractor: name of the feature extractor of sample quality: ``pixels``, ``inception-v3``, or by default the one
            that `jembench track extractor` trained, else ``pixels``.
        chunk: number of examples of a chunk.
    """

    name: str
    version: Positive = 1
    size: Positive | tuple[Positive, Positive]
    channels: Annotated[int, Field(ge=1, le=3)] = 3
    levels: Annotated[int, Field(ge=2, le=256)] = 256
    classes: Positive | tuple[str, ...] | None = None
    train: SetFile
    validation: SetFile | None = None
    test: SetFile
    ood: dict[str, SetFile] = Field(default_factory=dict)
    eps: dict[Norm, tuple[float, ...]] = Field(default_factory=dict)
    extractor: str = ""
    chunk: Positive = 100

    @field_validator("train", "validation", "test", mode="before")
    @classmethod
    def _set(cls, value: Any) -> Any:
        return {"origin": value} if isinstance(value, str) else value

    @field_validator("ood", mode="before")
    @classmethod
    def _sets(cls, value: Any) -> Any:
        return {key: cls._set(each) for key, each in value.items()} if isinstance(value, dict) else value


def described(path: Path, builtin: Mapping[str, Any]) -> Track:
    """The track in a file; of its images only names of folders are looked at.

    Raises:
        UserError: if it is no track file, or its sets cannot be those of a track.
    """
    path = path.expanduser().resolve()
    file = read_toml(path, TrackFile, "track")
    _check(file, path, builtin)
    height, width = (file.size, file.size) if isinstance(file.size, int) else file.size
    shape = (file.channels, height, width)
    classes = _classes(file, path)
    small = file.channels == 1 and max(height, width) <= SMALL
    like = digits.TRACK if small else photographs.CIFAR10
    grids = tuple(Grid(norm, tuple(sorted(eps)), sorted(eps)[len(eps) // 2]) for norm, eps in file.eps.items() if eps)
    reference = f"{file.name}{TRAINED}"
    own = reference if (path.parent / reference).is_dir() else "pixels"
    return Track(
        file.name,
        file.version,
        shape,
        file.levels,
        len(classes),
        file.chunk,
        tuple(_sources(file, path.parent)),
        threats=grids or like.threats,
        shifts=like.shifts,
        held_out=like.held_out,
        extractor=file.extractor or own,
        costly=None if small else like.costly,
        file=str(path),
        labels=classes,
    )


def _check(file: TrackFile, path: Path, builtin: Mapping[str, Any]) -> None:
    for name in (file.name, *file.ood):
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name):
            raise UserError(f"{path}: name {name!r} is made of letters, digits, '.', '_' and '-', at most 40")
    if file.name in builtin:
        raise UserError(f"{path}: {file.name!r} is a track of jembench: choose another name")
    if taken := sorted(set(file.ood) & set(RESERVED)):
        raise UserError(f"{path}: ood.{taken[0]}: that name means something else: choose another")
    if file.channels == 2:
        raise UserError(f"{path}: channels: 1 (grey) or 3 (colours), not 2")
    for norm, eps in file.eps.items():
        if not eps or not all(0 < radius < float("inf") for radius in eps):
            raise UserError(f"{path}: eps.{norm}: radii are above 0, in units of the [0, 1] pixel range, not {eps}")


def _classes(file: TrackFile, path: Path) -> tuple[str, ...]:
    """The names of the classes; numbers where nobody named them."""
    folder = path.parent / file.train.origin
    folders = [each.name for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []
    folder_names = tuple(pictures.ordered(name for name in folders if not name.startswith((".", "__"))))
    if isinstance(file.classes, int):
        if folder_names and len(folder_names) != file.classes and not origins.tables(folder):
            raise UserError(f"{path}: classes: {file.classes}, {file.train.origin} has {len(folder_names)} folders")
        names = folder_names if len(folder_names) == file.classes else tuple(map(str, range(file.classes)))
    else:
        names = file.classes or folder_names
    if len(set(names)) < len(names):
        raise UserError(f"{path}: classes: a name is there twice")
    if len(names) < 2:
        raise UserError(f"{path}: classes: say how many, or their names; {file.train.origin} has no folder for each")
    return names


def _sources(file: TrackFile, folder: Path) -> list[Source]:
    """The sources of a track, their numbers and hashes unknown until they are found."""

    def source(name: str, role: Any, each: SetFile, split: str, span: tuple[int, int] = (0, 1000)) -> Source:
        part = Part(origins.place(each.origin, folder), each.split or split, span)
        crop = "" if each.crop is None else f", the middle {each.crop} pixels"
        return Source(name, role, 0, "", about=f"{each.origin}{crop}", near=each.near, part=part, crop=each.crop or 0)

    whole = (0, 1000)
    spans = TENTH if file.validation is None else {"train": whole, "validation": whole}
    chains = Source(CHAINS, "chains", 1000, "", about=ASKED)
    return [
        source("train", "train", file.train, "train", spans["train"]),
        source("validation", "validation", *_validation(file), spans["validation"]),
        source("test", "test", file.test, "test"),
        *(source(name, "ood", each, "test") for name, each in file.ood.items()),
        chains,
    ]


def _validation(file: TrackFile) -> tuple[SetFile, str]:
    """The set that validates, and its part: a share of the training images where none is named."""
    return (file.train, "train") if file.validation is None else (file.validation, "validation")
