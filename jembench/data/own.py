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

import logging
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from jembench.data import cache, digits, external, origins, photographs, pictures
from jembench.data.sets import ASKED, CHAINS, Grid, Part, Source, Track
from jembench.ground.entry import Entry, read_toml
from jembench.ground.identity import array_sha256, identity
from jembench.types import Norm, UserError, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jembench.data.pictures import Bytes

VERSION = 1  # of the preparation
TRAINED = "-ref"  # behind the name of a track: the folder of its own extractor, beside its file
PLACES = ("tracks",)  # folders of track files in the working directory
SMALL = 16  # pixels a side up to which grey images are shifted as digits are
TENTH = {"train": (100, 1000), "validation": (0, 100)}
RESERVED = ("train", "validation", "test", "chains", "mean", "near", "far", "ood-base", "interp")

LOG = logging.getLogger("jembench")
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


def located(name: str, builtin: Mapping[str, Any]) -> Path | None:
    """The file of a track that is named by its path, or by the name of a file where tracks are looked for.

    Args:
        name: what a user calls the track.
        builtin: the tracks that come with jembench, which are found first.
    """
    if name.endswith(".toml"):
        return Path(name)
    if name in builtin or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        return None
    return next((path for path in (folder / f"{name}.toml" for folder in _folders()) if path.is_file()), None)


def shelf() -> dict[str, Path]:
    """The tracks that are found by name: name -> file."""
    return {path.stem: path for folder in reversed(_folders()) for path in sorted(folder.glob("*.toml"))}


def _folders() -> list[Path]:
    base = os.environ.get("XDG_CONFIG_HOME")
    config = (Path(base).expanduser() if base else Path.home() / ".config") / "jembench" / "tracks"
    return [*(Path(place) for place in PLACES), config]


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
    trained = f"{file.name}{TRAINED}"
    own = trained if (path.parent / trained).is_dir() else "pixels"
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
    named = tuple(pictures.ordered(name for name in folders if not name.startswith((".", "__"))))
    if isinstance(file.classes, int):
        if named and len(named) != file.classes and not origins.tables(folder):
            raise UserError(f"{path}: classes: {file.classes}, {file.train.origin} has {len(named)} folders")
        names = named if len(named) == file.classes else tuple(map(str, range(file.classes)))
    else:
        names = file.classes or named
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
    given = origins.read(origin, what, split=source.part.split).images  # a function: nobody knows what it reads
    return [str(pixels), [[array_sha256(image), int(y)] for image, y in given]]


def _prepare(track: Track, source: Source, place: Path) -> external.Facts:
    """Read the images of a set, bring them to the track, and write those of the source in canonical order."""
    assert source.part is not None
    what = f"{track.name}/{source.name}"
    labelled = source.role != "ood"
    rows = origins.read(source.part.set, what, labelled=labelled, split=source.part.split)
    if rows.words:
        LOG.info("%s", rows.words)
    pairs = [(fitted(image, track.shape, source.crop), y) for image, y in rows.images]
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


def fitted(image: Bytes, shape: tuple[int, int, int], crop: int = 0) -> Bytes:
    """An image ``(H, W, C)`` as one of a track ``(C, H, W)``: the middle of it, resized (antialiased, bilinear).

    Args:
        image: values 0..255, C = 1 or 3.
        shape: shape of the images of the track; colours are made grey, or grey repeated.
        crop: side of the square in the middle that is cut out before; 0 for all of the image.
    """
    from PIL import Image

    channels, height, width = shape
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if crop:
        left, top = (max(0, (side - crop) // 2) for side in picture.size)
        picture = picture.crop((left, top, min(picture.width, left + crop), min(picture.height, top + crop)))
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1).copy()
