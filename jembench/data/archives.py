"""Downloads: published image sets through torchvision's classes, in the cache of this machine.

The MD5 of every file is checked before it is opened, by us and by torchvision: the batches of CIFAR are pickles, and
one that is not the published file is never unpickled. Of CelebA only the photographs and their split are needed: they
are read from the ``.zip`` as it was published, since nobody could check 202,599 unpacked files.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from jembench.data import cache
from jembench.ground import guard
from jembench.types import UserError, unknown

PHOTOGRAPHS, PARTITION = "img_align_celeba.zip", "list_eval_partition.txt"  # of CelebA


@dataclass(frozen=True)
class Archive:
    """A published set in the format of CIFAR, batches of pickles.

    Attributes:
        about: one line about the images.
        terms: terms on which the set may be used.
        kind: name of the class of ``torchvision.datasets`` that reads it.
        megabytes: size of the download, in megabytes.
        home: address where the set is published.
        images: number of images of every split.
        files: paths of the files of every split, relative to the folder of downloads.
    """

    about: str
    terms: str
    kind: str
    megabytes: int
    home: str
    images: dict[str, int]
    files: dict[str, tuple[str, ...]]

    lost: ClassVar[str] = (
        "{name}: cannot be downloaded; run `jembench data fetch {name}` again where there is a network, or give "
        "--data-dir, a folder with {name}_test.npz and the like"
    )
    unreadable: ClassVar[str] = "{name}: cannot be read from {downloads}"

    @property
    def torchvision(self) -> Any:
        """The class of torchvision."""
        from torchvision import datasets

        return getattr(datasets, self.kind)

    def checksums(self) -> dict[str, str]:
        """The MD5 of every file, as torchvision knows them."""
        cifar = self.torchvision
        entries = [*cifar.train_list, *cifar.test_list, [cifar.meta["filename"], cifar.meta["md5"]]]
        return {f"{cifar.base_folder}/{file}": md5 for file, md5 in entries}

    def download(self) -> None:
        """Download all files that are not there."""
        for split in self.files:
            self.data_set(split, download=True)

    def data_set(self, split: str, *, download: bool) -> Any:
        """The data set of torchvision, which checks its files once more."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy about pickles of 2009
            return self.torchvision(download=download, **self.place(split))

    def place(self, split: str) -> dict[str, Any]:
        """The arguments of torchvision's class that say where a split is."""
        return {"root": str(cache.downloads()), "train": split == "train"}

    def read(self, split: str, view: str) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
        """Images ``(N, H, W, 3)`` and labels ``(N,)`` of a split whose files have been checked."""
        data_set = self.data_set(split, download=False)
        return np.asarray(data_set.data), np.asarray(data_set.targets)


class HouseNumbers(Archive):
    """SVHN: a file of Matlab for each split, which torchvision reads by scipy."""

    def checksums(self) -> dict[str, str]:
        """The MD5 of every file, as torchvision knows them."""
        return {f"svhn/{file}": md5 for _, file, md5 in self.torchvision.split_list.values()}

    def data_set(self, split: str, *, download: bool) -> Any:
        """The data set of torchvision, which checks its files once more.

        Raises:
            UserError: without scipy.
        """
        try:
            return super().data_set(split, download=download)
        except ImportError as error:
            raise UserError("svhn: torchvision reads it by scipy, which is missing: pip install scipy") from error

    def place(self, split: str) -> dict[str, Any]:
        """The arguments of torchvision's class that say where a split is: its files have no folder of their own."""
        return {"root": str(cache.downloads() / "svhn"), "split": split}

    def read(self, split: str, view: str) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
        """Images ``(N, H, W, 3)`` and labels ``(N,)`` of a split whose files have been checked."""
        data_set = self.data_set(split, download=False)
        return np.asarray(data_set.data).transpose(0, 2, 3, 1), np.asarray(data_set.labels)


class Faces(Archive):
    """CelebA: photographs in a ``.zip``, without labels of ours."""

    lost: ClassVar[str] = (
        f"celeba: Google Drive does not give it; get {PHOTOGRAPHS} and {PARTITION} by hand from {{home}} into "
        "{downloads}/celeba and run `jembench data verify celeba`"
    )
    unreadable: ClassVar[str] = "{downloads}/celeba: the photographs cannot be read"

    def checksums(self) -> dict[str, str]:
        """The MD5 of every file, as torchvision knows them."""
        return {f"celeba/{file}": md5 for _, md5, file in self.torchvision.file_list}

    def download(self) -> None:
        """Download the photographs and their partition, unless they are there."""
        from torchvision.datasets import utils

        folder = cache.downloads() / "celeba"
        for identifier, md5, file in self.torchvision.file_list:
            if file in (PHOTOGRAPHS, PARTITION) and not utils.check_integrity(folder / file, md5):
                utils.download_file_from_google_drive(identifier, str(folder), file, md5)

    def read(self, split: str, view: str) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
        """Images ``(N, H, W, 3)`` of a split whose files have been checked; -1 for labels."""
        from jembench.data import celeba

        folder = cache.downloads() / "celeba"
        images = celeba.photographs(folder / PHOTOGRAPHS, folder / PARTITION, split=split, view=view)
        return images, np.full(len(images), -1)


def _cifar(folder: str, *names: str) -> dict[str, tuple[str, ...]]:
    """torchvision asks for all files of CIFAR, whichever split is read."""
    return dict.fromkeys(("train", "test"), tuple(f"{folder}/{name}" for name in names))


CIFAR = "https://www.cs.toronto.edu/~kriz/cifar.html"
CITATION = "no formal licence: cite Krizhevsky, 2009"

ARCHIVES: dict[str, Archive] = {
    "cifar10": Archive(
        "60,000 photographs of 10 classes (Krizhevsky, 2009)",
        CITATION,
        "CIFAR10",
        170,
        CIFAR,
        {"train": 50000, "test": 10000},
        _cifar("cifar-10-batches-py", *(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"),
    ),
    "cifar100": Archive(
        "60,000 photographs of 100 classes (Krizhevsky, 2009)",
        CITATION,
        "CIFAR100",
        169,
        CIFAR,
        {"train": 50000, "test": 10000},
        _cifar("cifar-100-python", "train", "test", "meta"),
    ),
    "svhn": HouseNumbers(
        "99,289 house numbers (Netzer et al., 2011)",
        "non-commercial use only",
        "SVHN",
        246,
        "http://ufldl.stanford.edu/housenumbers/",
        {"train": 73257, "test": 26032},
        {"train": ("svhn/train_32x32.mat",), "test": ("svhn/test_32x32.mat",)},
    ),
    "celeba": Faces(
        "202,599 aligned faces (Liu et al., ICCV 2015)",
        "non-commercial research only, no copies to others",
        "CelebA",
        1446,
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        {"test": 19962, "all": 202599},
        dict.fromkeys(("test", "all"), (f"celeba/{PHOTOGRAPHS}", f"celeba/{PARTITION}")),
    ),
}


def archive(name: str) -> Archive:
    """The published set called ``name``.

    Raises:
        UserError: for an unknown name.
    """
    if name not in ARCHIVES:
        raise unknown("data set", name, ARCHIVES)
    return ARCHIVES[name]


def files(name: str, split: str) -> list[Path]:
    """The downloaded files that a split is read from; none unless all are there."""
    paths = [cache.downloads() / path for path in archive(name).files[split]]
    return paths if all(path.is_file() for path in paths) else []


def fetch(name: str) -> None:
    """Download a set unless it is there, and check it; its progress goes to stderr.

    Raises:
        UserError: for an unknown name, without a network, or if a checksum is wrong.
    """
    source, downloads = archive(name), cache.downloads()
    advice = source.lost.format(name=name, home=source.home, downloads=downloads)
    with cache.locked(f"fetch-{name}"), guard.guarded(advice), guard.impatient():
        downloads.mkdir(parents=True, exist_ok=True)
        source.download()
    verify(name)


def verify(name: str, split: str | None = None) -> None:
    """Check the downloaded files of a set, or of one split, by the checksums in torchvision; opens none of them.

    Raises:
        UserError: for an unknown name, if a file is not there, or if its checksum is wrong.
    """
    splits = archive(name).files
    names = [path for part in (splits if split is None else (split,)) for path in splits[part]]
    checksums = archive(name).checksums()
    for relative in dict.fromkeys(names):
        path = cache.downloads() / relative
        if not path.is_file():
            raise UserError(f"{name}: there is no {path}: run `jembench data fetch {name}`")
        if (digest := _md5(path)) != checksums[relative]:
            raise UserError(
                f"{path}: damaged, or not the published file (MD5 {digest}, expected {checksums[relative]}): "
                f"remove it and run `jembench data fetch {name}`"
            )


def read(name: str, split: str, *, view: str = "") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images ``(N, H, W, 3)`` and labels ``(N,)`` of a downloaded set, -1 where it has none.

    Args:
        name: name of the set, a key of :data:`ARCHIVES`.
        split: name of a split of the set.
        view: what is done to photographs larger than 32x32: ``crop``, the centre square of 140 pixels resized to 32x32,
            or ``resize``, the whole photograph resized so that its shorter side has 32 pixels, as in JEM's code.

    Raises:
        UserError: if it is not there or a checksum is wrong.
    """
    verify(name, split)
    source = archive(name)
    with guard.guarded(source.unreadable.format(name=name, downloads=cache.downloads())):
        images, labels = source.read(split, view)
    return images, np.asarray(labels, dtype=np.int64)


def _md5(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
