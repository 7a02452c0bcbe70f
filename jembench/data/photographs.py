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

from collections.abc import Mapping
from typing import Any

from jembench.data.sets import ASKED, CHAINS, Grid, Part, Role, Severities, Source, Track

#: How the training images of a track are divided, in thousandths of every class.
SPANS: dict[Role, tuple[int, int]] = {"train": (100, 1000), "validation": (40, 100), "ood-base": (0, 40)}

#: The radii that the tables of CIFAR-10 have, RobustBench's among them.
THREATS = (
    Grid("linf", (2 / 255, 4 / 255, 8 / 255, 12 / 255, 16 / 255), 8 / 255),
    Grid("l2", (0.25, 0.5, 1.0, 1.5, 2.0), 0.5),
)

#: Images of a source that are shifted, attacked and refined in suites that are not about attacks: with a network of
#: photographs these are most of the cost, and 300 give an AUROC to within about four points.
COSTLY = 300

#: From mild to severe, near the amounts of CIFAR-10-C (Hendrycks & Dietterich, ICLR 2019).
SHIFTS = (
    Severities("noise", (0.04, 0.06, 0.08, 0.09, 0.10)),
    Severities("blur", (0.4, 0.6, 0.7, 0.8, 1.0)),
    Severities("contrast", (0.25, 0.5, 0.6, 0.7, 0.85)),
    Severities("brightness", (0.05, 0.1, 0.15, 0.2, 0.3)),
    Severities("rotation", (5.0, 10.0, 15.0, 20.0, 30.0)),
)
HELD_OUT = (
    Severities("occlusion", (0.2, 0.35, 0.5)),
    Severities("translation", (0.06, 0.12, 0.2)),
    Severities("impulse", (0.01, 0.03, 0.08)),
    Severities("shear", (0.15, 0.3, 0.5)),
    Severities("gamma", (0.3, 0.8, 2.0)),
    Severities("pixelate", (0.15, 0.3, 0.5)),
)

CELEBA = Source("celeba", "ood", 19962, "", about="faces", part=Part("celeba", "test", view="crop"))
HOUSE_NUMBERS = Source("svhn", "ood", 26032, "", about="house numbers", part=Part("svhn", "test"))


def _track(
    name: str,
    sizes: tuple[int, int, int, int, int],
    outliers: tuple[Source, Source],
    pins: Mapping[str, str],
    *,
    classes: int = 10,
    base: str = "",
    mixed: str = "mean of two photographs of different classes",
    **facts: Any,
) -> Track:
    """A track of a published set.

    Its sizes are those of train, validation, the base, test and the means of two images of the base. ``pins`` are the
    hashes of the sources that a complete copy was at hand for.
    """
    *divided, test, means = sizes
    splits = (
        Source(role, role, n, pins.get(role, ""), about=base * (role == "ood-base"), part=Part(name, "train", span))
        for (role, span), n in zip(SPANS.items(), divided, strict=True)
    )
    mean = Part(name, "train", SPANS["ood-base"], mix="pairs")
    sources = (
        *splits,
        Source("test", "test", test, pins.get("test", ""), part=Part(name, "test")),
        outliers[0],
        Source("interp", "ood", means, pins.get("interp", ""), "ood-base", mixed, near=True, part=mean),
        outliers[1],
        CELEBA,
        Source(CHAINS, "chains", 1000, pins[CHAINS], about=ASKED),
    )
    common: dict[str, Any] = {"threats": THREATS, "shifts": SHIFTS, "held_out": HELD_OUT, "costly": COSTLY}
    return Track(name, 1, (3, 32, 32), 256, classes, chunk=100, sources=sources, **common, **facts)


def _cifar(name: str, about: str, *, sha256: str = "", near: bool = False) -> Source:
    """The test images of CIFAR as outliers, without their labels."""
    return Source(name, "ood", 10000, sha256, about=about, near=near, part=Part(name, "test"))


CIFAR10_OUTLIERS = "bdfe1951f8309eb5fef297d050ef4774c8426570a3a97ab3808bca33df340739"
CHAINS_OF_10 = "6a883c4fe23a474544fc52d197879bc4288b327364228daa8f6a9ef79709d2a6"

CIFAR10 = _track(
    "cifar10",
    (45000, 3000, 2000, 10000, 995),
    (HOUSE_NUMBERS, _cifar("cifar100", "photographs of 100 other classes", near=True)),
    {
        "train": "8025e076ab2f96d1a2a1b273bab06d4a8894a8c492fd4920101533d6f1a1ca0f",
        "validation": "7d11edf1973451ccbb8741bc7a3de1240c7af500da4764656f95073566b2dd13",
        "ood-base": "c060c21eeb8bb67f3a192bfed2691d3e52675041ac552cb9fd3eb1eb14e16ce7",
        "test": "524a90d27358ac1192655263f6d7d85df751c6ae5ba752c743b48e8d2e17a209",
        "interp": "bfae21d735956131130dadd9778ee7eef9924149d5a6ae7cd0dedcb9021eada4",
        CHAINS: CHAINS_OF_10,
    },
    base="base images of the OOD set made from photographs",
    extractor="cifar10-ref",
)

CIFAR100 = _track(
    "cifar100",
    (45000, 3000, 2000, 10000, 1000),
    (HOUSE_NUMBERS, _cifar("cifar10", "photographs of 10 other classes", sha256=CIFAR10_OUTLIERS, near=True)),
    {CHAINS: "3766806fa4bf104f565416e50e7afd3946f0c4a2cc2d706ad738dc8392483aaa"},
    classes=100,
    published_fid=("train", "validation", "ood-base"),
)

SVHN = _track(
    "svhn",
    (65937, 4395, 2925, 26032, 1462),
    (_cifar("cifar10", "photographs", sha256=CIFAR10_OUTLIERS), _cifar("cifar100", "photographs")),
    {CHAINS: CHAINS_OF_10},
    mixed="mean of two house numbers of different digits",
    published_fid=("train", "validation", "ood-base"),
)
