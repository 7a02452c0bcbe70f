"""OpenOOD's benchmarks: the outliers of CIFAR-10 and CIFAR-100 by its published lists.

Zhang et al., "OpenOOD v1.5" (arXiv 2306.09301): near sets share much with the track's images, far ones little. Its
``data`` folder holds lists, ``benchmark_imglist/<track>/test_<set>.txt``, and pictures, ``images_classic/<set>/...``;
its download script fetches both. ``--ood openood=FOLDER`` takes all sets that the folder has.
"""

from __future__ import annotations

from pathlib import Path

from jembench.data.sets import Track
from jembench.types import UserError

NAME = "openood"  # of the sets together
LISTS, PICTURES = "benchmark_imglist", "images_classic"

#: Track -> set -> whether it is near. A set that the track has of its own gets a name of its own here.
SETS = {
    "cifar10": {"cifar100": True, "tin": True, "mnist": False, "svhn": False, "texture": False, "places365": False},
    "cifar100": {"cifar10": True, "tin": True, "mnist": False, "svhn": False, "texture": False, "places365": False},
}
WHENCE = "get it by the download script of github.com/Jingkang50/OpenOOD"


def sets(track: Track, folder: Path) -> dict[str, tuple[str, bool]]:
    """The sets of a track that a ``data`` folder has: name -> origin, and whether the set is near.

    Raises:
        UserError: if OpenOOD has no benchmark of the track, or the folder holds none of its sets.
    """
    if track.name not in SETS:
        raise UserError(
            f"OpenOOD has lists of tracks {', '.join(SETS)}, not of {track.name}: name sets by --ood NAME=PATH"
        )
    origins = {}
    for name, near in SETS[track.name].items():
        imglist = folder / LISTS / track.name / f"test_{name}.txt"
        if imglist.is_file() and (folder / PICTURES / name).is_dir():
            origins[f"{NAME}-{name}"] = (f"imglist:{imglist}:{folder / PICTURES}", near)
    if not origins:
        layout = f"{LISTS}/{track.name}/test_*.txt with {PICTURES}/*"
        raise UserError(f"{folder}: no set of OpenOOD: {layout} is not in it; {WHENCE}")
    return origins
