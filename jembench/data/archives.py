"""Downloads: published image sets through torchvision's classes, in the cache of this machine.

torchvision checks the MD5 of every archive, before it is unpacked and whenever a set is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench import usercode
from jembench.data import cache
from jembench.types import UserError, unknown

CROP = 140  # side of the centre crop of an aligned CelebA photograph (178x218)
SIZE = 32


@dataclass(frozen=True)
class Archive:
    """A published set.

    Attributes:
        about: one line: what it is, and on which terms.
        kind: the class of ``torchvision.datasets``.
        megabytes: of its download.
        splits: what its parts are called in torchvision, by ours.
        files: what lies in the cache when it is there, relative to it.
    """

    about: str
    kind: str
    megabytes: int
    splits: dict[str, dict[str, Any]]
    files: tuple[str, ...]


_BY_TRAIN: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}

ARCHIVES = {
    "cifar10": Archive(
        "60,000 photographs of 10 classes (Krizhevsky, 2009)",
        "CIFAR10",
        170,
        _BY_TRAIN,
        (*(f"cifar-10-batches-py/data_batch_{k}" for k in range(1, 6)), "cifar-10-batches-py/test_batch"),
    ),
    "cifar100": Archive(
        "60,000 photographs of 100 classes (Krizhevsky, 2009)",
        "CIFAR100",
        169,
        _BY_TRAIN,
        ("cifar-100-python/train", "cifar-100-python/test"),
    ),
    "svhn": Archive(
        "99,289 house numbers (Netzer et al., 2011), for non-commercial use",
        "SVHN",
        246,
        {"train": {"split": "train"}, "test": {"split": "test"}},
        ("svhn/train_32x32.mat", "svhn/test_32x32.mat"),
    ),
    "celeba": Archive(
        "202,599 faces (Liu et al., ICCV 2015), for non-commercial research only",
        "CelebA",
        1443,
        {split: {"split": split, "target_type": "identity"} for split in ("test", "all")},
        ("celeba/img_align_celeba.zip", "celeba/list_eval_partition.txt"),
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


def _root(name: str) -> Path:
    """Sets of one archive lie in the folder of downloads; SVHN's files would lie among others."""
    return cache.downloads() / "svhn" if name == "svhn" else cache.downloads()


def files(name: str) -> list[Path]:
    """The downloaded files of a set; none unless all are there."""
    paths = [cache.downloads() / path for path in archive(name).files]
    return paths if all(path.is_file() for path in paths) else []


def fetch(name: str) -> None:
    """Download a set unless it is there, and check it.

    Raises:
        UserError: for an unknown name, without a network, or if a checksum is wrong.
    """
    for split in archive(name).splits:
        _opened(name, split, download=True)


def verify(name: str) -> None:
    """Check the downloaded files of a set by torchvision's checksums.

    Raises:
        UserError: for an unknown name, if it is not there, or if a checksum is wrong.
    """
    if not files(name):
        raise UserError(f"{name}: not in {cache.downloads()}: run `jembench data fetch {name}`")
    for split in archive(name).splits:
        _opened(name, split, download=False)


def read(name: str, split: str, *, view: str = "") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images ``(N, H, W, 3)`` and labels ``(N,)`` of a downloaded set.

    Args:
        name: of the set.
        split: of it.
        view: of photographs larger than 32x32: ``crop``, the centre square of 140 pixels resized to 32x32, or
            ``resize``, the whole photograph resized so that its shorter side has 32 pixels, as in JEM's code.

    Raises:
        UserError: if it is not there or a checksum is wrong.
    """
    made = _opened(name, split, download=False)
    if view:
        shown = _VIEWS[view]
        images = np.stack([shown(made[i][0]) for i in range(len(made))])
        return images, np.full(len(images), -1, dtype=np.int64)
    images = np.asarray(made.data)
    if name == "svhn":
        images = images.transpose(0, 2, 3, 1)
    labels = made.labels if name == "svhn" else made.targets
    return images, np.asarray(labels, dtype=np.int64)


def _cropped(picture: Any) -> NDArray[np.uint8]:
    from PIL import Image

    left, top = (picture.width - CROP) // 2, (picture.height - CROP) // 2
    square = picture.crop((left, top, left + CROP, top + CROP))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.uint8)


def _resized(picture: Any) -> NDArray[np.uint8]:
    from PIL import Image

    short = min(picture.size)
    size = tuple(int(SIZE * side / short) for side in picture.size)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)


_VIEWS: dict[str, Callable[[Any], NDArray[np.uint8]]] = {"crop": _cropped, "resize": _resized}


def _opened(name: str, split: str, *, download: bool) -> Any:
    """The data set of torchvision, its checksums checked."""
    from torchvision import datasets

    known = archive(name)
    root = _root(name)
    root.mkdir(parents=True, exist_ok=True)
    advice = (
        f"{name}: cannot be had from {cache.downloads()} (without a network, give --data-dir, a folder with "
        f"{name}_*.npz; remove a damaged download and fetch it again)"
    )
    with usercode.guarded(advice):
        return getattr(datasets, known.kind)(root=str(root), download=download, **known.splits[split])
