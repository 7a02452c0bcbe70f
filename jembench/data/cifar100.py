"""``cifar100``: photographs of 32x32 pixels in 100 classes (Krizhevsky, 2009), the track of JEM's calibration headline.

Divided like :mod:`jembench.data.cifar10`. OOD sets: SVHN, CIFAR-10 (test splits), CelebA and ``interp``. The images are
the user's; no complete copy was at hand to pin their hashes, so their downloads are guarded by torchvision's checksums.
"""

from __future__ import annotations

from jembench.data import external
from jembench.data.sets import ASKED, CHAINS, ImageSet, Part, Source, Track

TRACK = Track(
    name="cifar100",
    version=1,
    about="60,000 photographs of 100 classes, 32x32; its images are not part of jembench",
    shape=(3, 32, 32),
    levels=256,
    classes=100,
    chunk=100,
    sources=(
        Source("train", "train", 45000, "", part=Part("cifar100", "train", external.TRAIN)),
        Source("validation", "validation", 3000, "", part=Part("cifar100", "train", external.VALIDATION)),
        Source("ood-base", "ood-base", 2000, "", part=Part("cifar100", "train", external.BASE)),
        Source("test", "test", 10000, "", part=Part("cifar100", "test")),
        Source("svhn", "ood", 26032, "", about="house numbers", part=Part("svhn", "test")),
        Source(
            "interp",
            "ood",
            1000,
            "",
            "ood-base",
            "mean of two photographs of different classes",
            near=True,
            part=Part("cifar100", "train", external.BASE, mix="pairs"),
        ),
        Source(
            "cifar10",
            "ood",
            10000,
            external.CIFAR10_OUTLIERS,
            about="photographs of 10 other classes",
            near=True,
            part=Part("cifar10", "test"),
        ),
        Source("celeba", "ood", 19962, "", about="faces", part=Part("celeba", "test", view="crop")),
        Source(CHAINS, "chains", 1000, "3766806fa4bf104f565416e50e7afd3946f0c4a2cc2d706ad738dc8392483aaa", about=ASKED),
    ),
    threats=external.THREATS,
    shifts=external.SHIFTS,
    held_out=external.HELD_OUT,
    costly=external.COSTLY,
)


def build(name: str) -> ImageSet:
    """The one source that needs no image."""
    return external.built(TRACK, name)
