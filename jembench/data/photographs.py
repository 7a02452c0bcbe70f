"""The tracks of photographs, 32x32, whose images are the user's: ``cifar10``, ``cifar100`` and ``svhn``.

``cifar10`` is the paper's track (Krizhevsky, 2009). The training images are divided per class, in canonical order
(:mod:`jembench.data.external`): 4 % are the base of the OOD set made from them, 6 % validate, 90 % train. OOD sets:
SVHN and CIFAR-100 (test splits), CelebA (test split, the centre of 140 pixels resized) and ``interp``, the mean of two
photographs of different classes.

``cifar100`` is the track of JEM's calibration headline; ``svhn`` (Netzer et al., 2011) is divided likewise, by the
share of every class: its classes are not balanced. No complete copy of these two was at hand to pin their hashes, so
their downloads are guarded by torchvision's checksums; the sizes of svhn are those of the published counts of the
digits.
"""

from __future__ import annotations

from jembench.data import external
from jembench.data.sets import ASKED, CHAINS, Part, Source, Track

CIFAR10 = Track(
    name="cifar10",
    version=1,
    shape=(3, 32, 32),
    levels=256,
    classes=10,
    chunk=100,
    sources=(
        Source(
            "train",
            "train",
            45000,
            "8025e076ab2f96d1a2a1b273bab06d4a8894a8c492fd4920101533d6f1a1ca0f",
            part=Part("cifar10", "train", external.TRAIN),
        ),
        Source(
            "validation",
            "validation",
            3000,
            "7d11edf1973451ccbb8741bc7a3de1240c7af500da4764656f95073566b2dd13",
            part=Part("cifar10", "train", external.VALIDATION),
        ),
        Source(
            "ood-base",
            "ood-base",
            2000,
            "c060c21eeb8bb67f3a192bfed2691d3e52675041ac552cb9fd3eb1eb14e16ce7",
            about="base images of the OOD set made from photographs",
            part=Part("cifar10", "train", external.BASE),
        ),
        Source(
            "test",
            "test",
            10000,
            "524a90d27358ac1192655263f6d7d85df751c6ae5ba752c743b48e8d2e17a209",
            part=Part("cifar10", "test"),
        ),
        Source("svhn", "ood", 26032, "", about="house numbers", part=Part("svhn", "test")),
        Source(
            "interp",
            "ood",
            995,
            "bfae21d735956131130dadd9778ee7eef9924149d5a6ae7cd0dedcb9021eada4",
            "ood-base",
            "mean of two photographs of different classes",
            near=True,
            part=Part("cifar10", "train", external.BASE, mix="pairs"),
        ),
        Source(
            "cifar100",
            "ood",
            10000,
            "",
            about="photographs of 100 other classes",
            near=True,
            part=Part("cifar100", "test"),
        ),
        Source("celeba", "ood", 19962, "", about="faces", part=Part("celeba", "test", view="crop")),
        Source(CHAINS, "chains", 1000, "6a883c4fe23a474544fc52d197879bc4288b327364228daa8f6a9ef79709d2a6", about=ASKED),
    ),
    threats=external.THREATS,
    shifts=external.SHIFTS,
    held_out=external.HELD_OUT,
    costly=external.COSTLY,
    extractor="cifar10-ref",
)

CIFAR100 = Track(
    name="cifar100",
    version=1,
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
    published_fid=("train", "validation", "ood-base"),
)

SVHN = Track(
    name="svhn",
    version=1,
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
    published_fid=("train", "validation", "ood-base"),
)
