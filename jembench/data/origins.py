"""Origins: where a user's images are, by one text, and how they are read, one by one.

=================================  ===================================================================================
``FOLDER``                         pictures (:mod:`jembench.data.pictures`); folders at its top are classes
``FOLDER`` of Hugging Face         Parquet or Arrow files with a column of images (:mod:`jembench.data.columns`)
``FILE.npz``, ``FILE.npy``         arrays of 0..255 (:mod:`jembench.data.arrays`); of another range ``FILE.npz@0..16``
``FILE.parquet``                   a table with a column of images
``FILE.txt``                       a list of pictures, ``path label`` a line, as OpenOOD's are; paths relative to it
``imglist:FILE.txt:FOLDER``        such a list whose paths are relative to the folder
``torchvision:NAME:FOLDER``        a data set of torchvision that lies there; nothing is downloaded
``pytorch-ood:NAME:FOLDER``        one of pytorch-ood, likewise
``file.py:function``               a function without arguments that gives images, or images and labels
a name                             an entry point of the group ``jembench.ood``, such a function
=================================  ===================================================================================
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from jembench.data import arrays, pictures
from jembench.data.arrays import Range
from jembench.data.pictures import Bytes
from jembench.ground import families, guard, usercode
from jembench.ground.files import require_file
from jembench.types import UserError, unknown

GROUP = "jembench.ood"
LIST = "imglist"
#: First words of the names of tables, and the split that they mean.
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev"), "validation"
)
TABLES = (".parquet", ".arrow")
LIBRARIES = {"torchvision": "torchvision.datasets", "pytorch-ood": "pytorch_ood.dataset.img"}

Row = tuple[Bytes, int]


@dataclass(frozen=True)
class Rows:
    """The images of an origin with their labels, -1 where there is none.

    Attributes:
        images: images ``(H, W, C)`` of 0..255, C = 1 or 3, each with its label; read when they are asked for.
        classes: names of the classes; empty where nobody knows.
        words: what a user must know of how they were read; empty if nothing.
    """

    images: Iterable[Row] = field(repr=False)
    classes: tuple[str, ...] = ()
    words: str = ""


def read(origin: str, what: str, *, labelled: bool = False, split: str = "test") -> Rows:
    """The images of an origin.

    Args:
        origin: one of the forms above.
        what: what they are to be, for messages, such as ``OOD set 'mine'``.
        labelled: whether their classes matter; if not, labels that are none are no fault.
        split: the part that is meant, where a data set has parts.

    Raises:
        UserError: if there is nothing, or it cannot be read.
    """
    text, pixels = ranged(origin)
    path = Path(text).expanduser()
    library, colon, rest = text.partition(":")
    if colon and library in LIBRARIES:
        return _of_library(library, rest, what, split)
    if colon and library == LIST:
        list_path, apart, base = rest.rpartition(":")
        if not apart:
            raise UserError(f"{what}: {origin}: a list and the folder of its pictures are {LIST}:FILE.txt:FOLDER")
        return _of_list(Path(list_path), what, labelled=labelled, base=Path(base))
    if path.is_dir():
        if tables := _tables(path, split):
            return _of_tables(tables, what, labelled=labelled)
        return _of_folder(path, what)
    if path.suffix.lower() in arrays.SUFFIXES:
        return _of_arrays(*arrays.read(path, what, pixels, labelled=labelled))
    if path.suffix.lower() in TABLES and path.is_file():
        return _of_tables((path,), what, labelled=labelled)
    if path.suffix.lower() == ".txt" and path.is_file():
        return _of_list(path, what, labelled=labelled, base=path.parent)
    if path.exists():
        raise UserError(
            f"{what}: {origin} is no folder of pictures, and neither .npz, .npy, .parquet nor a list of pictures (.txt)"
        )
    return _of_function(text, what, pixels)


def place(origin: str, folder: Path) -> str:
    """An origin whose path is relative to a folder, as one that is relative to nothing."""
    library, colon, rest = origin.partition(":")
    if colon and library in LIBRARIES:
        name, _, inner = rest.partition(":")
        return f"{library}:{name}:{folder / Path(inner).expanduser()}" if inner else origin
    if colon and library == LIST:
        listed, _, base = rest.rpartition(":")
        return f"{LIST}:{folder / Path(listed).expanduser()}:{folder / Path(base).expanduser()}"
    name_alone = re.fullmatch(r"[\w-]+", origin) and not (folder / origin).exists()
    return origin if name_alone else str(folder / Path(origin).expanduser())


def ranged(origin: str) -> tuple[str, Range | None]:
    """An origin without the range that is said behind it, and that range."""
    match = re.fullmatch(r"(.+)@(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)", origin)
    if match is None:
        return origin, None
    low, high = float(match[2]), float(match[3])
    if low >= high:
        raise UserError(f"{origin}: a range goes from black to white, such as 0..255")
    return match[1], Range(low, high)


def tables(folder: Path) -> list[Path]:
    """The tables of a folder of Hugging Face; none if it has none."""
    places = [place for place in (folder, *(folder / name for name in ("data", *SPLITS))) if place.is_dir()]
    return [path for place in places for path in sorted(place.iterdir()) if path.suffix.lower() in TABLES]


def _tables(folder: Path, split: str) -> tuple[Path, ...]:
    """The tables of a folder, those of a split where names say of which they are; none if it has none."""
    splits = {path: _split(path) for path in tables(folder)}
    if not any(splits.values()):
        return tuple(splits)
    found = tuple(path for path, name in splits.items() if name == split)
    if not found:
        parts = ", ".join(sorted(set(filter(None, splits.values()))))
        raise UserError(f"{folder}: has no part {split!r}, only {parts}: name a file of it, or the split that is meant")
    return found


def _split(path: Path) -> str:
    """The split that the name of a table, or of its folder, says; empty if none."""
    names = (re.split(r"[-_.]", path.stem)[0], path.parent.name)
    return next((SPLITS[name] for name in names if name in SPLITS), "")


def listed(path: Path, base: Path, what: str) -> list[tuple[Path, str, int]]:
    """The pictures that a list names, with what it says of their class, and the number of the line.

    Raises:
        UserError: if it cannot be read, or a picture is not there.
    """
    require_file(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what}: {path} is no list of pictures ({error})") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not (words := line.split()):
            continue
        name, label = (" ".join(words[:-1]), words[-1]) if len(words) > 1 else (words[0], "")
        if not (base / name).is_file() and (base / line.strip()).is_file():
            name, label = line.strip(), ""
        if not (base / name).is_file():
            raise UserError(f"{what}: {path}, line {number}: no picture {base / name}")
        rows.append((base / name, label, number))
    return rows


def _of_tables(paths: tuple[Path, ...], what: str, *, labelled: bool) -> Rows:
    return Rows(*families.load(".columns:read", __package__)(paths, what, labelled=labelled))


def _of_folder(folder: Path, what: str) -> Rows:
    there = pictures.found(folder, what)
    rows = ((pictures.read(path, what), there.label(path, folder)) for path in there.paths)
    return Rows(rows, there.classes, there.words)


def _of_arrays(images: Any, labels: Any) -> Rows:
    return Rows(zip(images, np.full(len(images), -1) if labels is None else labels, strict=True))


def _of_list(path: Path, what: str, *, labelled: bool, base: Path) -> Rows:
    """The pictures that a list names: ``path`` or ``path label`` a line."""
    rows = []
    for picture, label, number in listed(path, base, what):
        if labelled and not re.fullmatch(r"-?\d+", label):
            raise UserError(f"{what}: {path}, line {number}: {label!r} is no number of a class")
        rows.append((picture, int(label) if labelled else -1))
    return Rows((pictures.read(picture, what), label) for picture, label in rows)


def _of_library(library: str, rest: str, what: str, split: str) -> Rows:
    """A part of a data set of a library, whose own checksums guard its files: the test part, or all without parts."""
    name, _, folder = rest.partition(":")
    try:
        datasets: Any = import_module(LIBRARIES[library])
    except ImportError as error:
        raise UserError(f"{what}: {library} is not installed: pip install 'jembench[ood]'") from error
    names = getattr(datasets, "__all__", None) or [each for each in vars(datasets) if each[0].isupper()]
    if name not in names:
        raise unknown(f"{library} data set of {what}:", name, names)
    constructor = getattr(datasets, name)
    parameters = inspect.signature(constructor).parameters
    if {"classes", "background"} & set(parameters):
        raise UserError(f"{what}: {library}'s {name} has no test part")
    if "train" in parameters and split not in ("train", "test"):
        raise UserError(f"{what}: {library}'s {name} has no part {split!r}, only train and test")
    options: dict[str, Any] = {"root": folder} if "root" in parameters else {}
    options |= (
        {"train": split == "train"} if "train" in parameters else {"split": split} if "split" in parameters else {}
    )
    options |= {"download": False} if library != "torchvision" and "download" in parameters else {}
    with guard.guarded(f"{what}: {library}'s {name} cannot be read from {folder!r}"):
        data_set = constructor(**options)
        count = len(data_set)

    def rows() -> Iterator[Row]:
        for i in range(count):
            with guard.guarded(f"{what}: {library}'s {name} cannot be read from {folder!r}"):
                picture, target = data_set[i][:2]
                image = np.asarray(picture if picture.mode == "L" else picture.convert("RGB"), dtype=np.uint8)
            yield image if image.ndim == 3 else image[:, :, None], target if isinstance(target, int) else -1

    return Rows(rows(), tuple(getattr(data_set, "classes", ())))


def _of_function(text: str, what: str, pixels: Range | None) -> Rows:
    """Images, or images and labels, of a function of the user's."""
    function: Callable[[], Any]
    if ".py:" in text:
        with guard.guarded(f"{what}: {text} fails"), usercode.importable(text):
            function = usercode.load(text)
            content = function()
    else:
        entry = next(iter(metadata.entry_points(group=GROUP, name=text)), None)
        if entry is None:
            names = ", ".join(sorted(metadata.entry_points(group=GROUP).names)) or "none"
            raise UserError(f"{what}: {text} is no folder, no file and no entry point of {GROUP} (known: {names})")
        with guard.guarded(f"{what}: entry point {text!r} fails"):
            content = entry.load()()
    images, labels = content if isinstance(content, tuple) and len(content) == 2 else (content, None)
    with guard.guarded(f"{what}: {text} gives no array"):
        array = np.asarray(images)
    values = arrays.images(array, f"{what}: {text}", pixels)
    if labels is not None:
        with guard.guarded(f"{what}: {text} gives no labels"):
            labels = np.asarray(labels)
        if labels.shape != (len(values),) or labels.dtype.kind not in "iu":
            shape = f"integers ({len(values)},)"
            raise UserError(f"{what}: {text}: labels are {labels.dtype} {labels.shape}, needs {shape}")
    return _of_arrays(values, labels)
