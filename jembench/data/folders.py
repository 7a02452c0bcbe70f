"""A folder of ``.npz`` files as image sets: ``<set>_<split>.npz`` and ``<set>_<split>_*.npz``, joined in name order.

Each holds ``images``, uint8 ``(N, H, W, 3)``, and ``labels``, integers ``(N,)``, which a set of outliers may leave out;
other keys are ignored. A file may hold a subset. Nothing is unpickled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jembench.data import arrays
from jembench.ground import guard
from jembench.types import UserError

#: Other names of a split: CelebA is often at hand as a sample only.
ALSO = {("celeba", "test"): ("sample",)}


def splits(set_name: str, split: str) -> tuple[str, ...]:
    """The names under which a split may lie in a folder, the best first."""
    return (split, *ALSO.get((set_name, split), ()))


def files(folder: Path, set_name: str, split: str) -> list[Path]:
    """The files of a split in name order; none if there are none."""
    for name in splits(set_name, split):
        stem = f"{set_name}_{name}"
        if paths := [
            path
            for path in folder.glob(f"{stem}*.npz")
            if (path.stem == stem or path.stem[len(stem)] == "_") and path.is_file()
        ]:
            return sorted(paths, key=lambda path: path.stem)
    return []


def read(paths: list[Path]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images ``(N, H, W, 3)`` and labels ``(N,)`` of the files of a split, -1 where a file has none.

    Raises:
        UserError: if a file cannot be read or holds something else.
    """
    parts = [_file(path) for path in paths]
    for path, (images, _) in zip(paths, parts, strict=True):
        if images.shape[1:] != parts[0][0].shape[1:]:
            raise UserError(
                f"{path}: images of shape {images.shape[1:]}, those of {paths[0].name} have {parts[0][0].shape[1:]}"
            )
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _file(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with guard.guarded(f"{path}: not a readable .npz file"), arrays.opened(path) as content:
        if isinstance(content, np.ndarray):
            raise UserError(f"{path}: is a single array (.npy), not an .npz file: save it as 'images' by np.savez")
        with content:
            if "images" not in content.files:
                raise UserError(f"{path}: has no 'images' (it holds {', '.join(content.files) or 'nothing'})")
            images = arrays.member(content, "images")
            labels = arrays.member(content, "labels") if "labels" in content.files else None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"{path}: 'images' is {images.dtype} {images.shape}, needs uint8 (N, H, W, 3)")
    if labels is None:
        return images, np.full(len(images), -1, dtype=np.int64)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise UserError(f"{path}: 'labels' is {labels.dtype} {labels.shape}, needs integers ({len(images)},)")
    return images, labels.astype(np.int64)
