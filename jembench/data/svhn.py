"""``svhn``: house numbers of 32x32 pixels in 10 classes (Netzer et al., 2011). The images are the user's.

Divided like :mod:`jembench.data.cifar10`, by the share of every class: its classes are not balanced. OOD sets: CIFAR-10
and CIFAR-100 (test splits), CelebA and ``interp``. No complete copy was at hand to pin hashes, so downloads
are guarded by torchvision's checksums; the sizes are those of the published counts of the digits.
"""

from __future__ import annotations

from jembench.data import external
from jembench.data.sets import ASKED, CHAINS, ImageSet, Part, Source, Track

TRACK = Track(
    name="svhn",
    version=1,
    about="99,289 house numbers, 32x32; its images are not part of jembench",
    shape=(3, 32, 32),
    levels=256,
    classes=10,
    chunk=100,
    sources=(
        Source("train", "train", 65937, "", part=Part("svhn", "train", external.TRAIN)),
        Source("validation", "validation", 4395, "", part=Part("svhn", "train", external.VALIDATION)),
        Source("ood-base", "ood-base", 2925, "", part=Part("svhn", "train", external.BASE)),
        Source("test", "test", 26032, "", part=Part("svhn", "test")),
        Source("cifar10", "ood", 10000, external.CIFAR10_OUTLIERS, about="photographs", part=Part("cifar10", "test")),
        Source(
            "interp",
            "ood",
            1462,
            "",
            "ood-base",
            "mean of two house numbers of different digits",
            near=True,
            part=Part("svhn", "train", external.BASE, mix="pairs"),
        ),
        Source("cifar100", "ood", 10000, "", about="photographs", part=Part("cifar100", "test")),
        Source("celeba", "ood", 19962, "", about="faces", part=Part("celeba", "test", view="crop")),
        Source(CHAINS, "chains", 1000, "6a883c4fe23a474544fc52d197879bc4288b327364228daa8f6a9ef79709d2a6", about=ASKED),
    ),
    threats=external.THREATS,
    shifts=external.SHIFTS,
    held_out=external.HELD_OUT,
    costly=external.COSTLY,
)


def build(name: str) -> ImageSet:
    """The one source that needs no image."""
    return external.built(TRACK, name)
