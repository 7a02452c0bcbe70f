"""A folder of ``.npz`` files as image sets: ``<set>_<split>.npz`` and ``<set>_<split>_*.npz``, joined in name order.

Each holds ``images``, uint8 ``(N, H, W, 3)``, and ``labels``, int64 ``(N,)``, which a set of outliers may leave out;
other keys are ignored. A file may hold a subset. Nothing is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from jembench.types import UserError

#: Other names of a split: CelebA is often at hand as a sample only.
ALSO = {("celeba", "test"): ("sample",)}


def splits(set_name: str, split: str) -> tuple[str, ...]:
    """The names under which a split may lie in a folder, the best first."""
    return (split, *ALSO.get((set_name, split), ()))


def files(folder: Path, set_name: str, split: str) -> list[Path]:
    """The files of a split in name order; none if there are none.

    Raises:
        UserError: if there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"--data-dir {folder}: no such folder")
    for name in splits(set_name, split):
        stem = f"{set_name}_{name}"
        if chosen := [path for path in folder.glob(f"{stem}*.npz") if path.stem == stem or path.stem[len(stem)] == "_"]:
            return sorted(chosen, key=lambda path: path.stem)
    return []


def read(folder: Path, set_name: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images ``(N, H, W, 3)`` and labels ``(N,)``, -1 where a file has none.

    Raises:
        UserError: if a file cannot be read or holds something else.
    """
    parts = [_file(path) for path in files(folder, set_name, split)]
    shapes = {images.shape[1:] for images, _ in parts}
    if len(shapes) > 1:
        raise UserError(f"{folder}: the files of {set_name}_{split} hold images of different shapes")
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _file(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        with np.load(path, allow_pickle=False) as content:
            if "images" not in content.files:
                raise UserError(f"{path}: has no 'images' (it holds {', '.join(content.files) or 'nothing'})")
            images = content["images"]
            labels = content["labels"] if "labels" in content.files else np.full(len(images), -1)
    except (OSError, ValueError, EOFError, BadZipFile, AttributeError) as error:
        raise UserError(f"{path}: not a readable .npz file ({error})") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"{path}: 'images' is {images.dtype} {images.shape}, needs uint8 (N, H, W, 3)")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{path}: 'labels' is {labels.dtype} {labels.shape}, needs integers ({len(images)},)")
    return images, labels.astype(np.int64)
