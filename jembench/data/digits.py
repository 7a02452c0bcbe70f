"""``digits``: 1,797 real handwritten digits of 8x8 pixels, the embedded default track.

Source: UCI "Optical recognition of handwritten digits" (Alpaydin & Kaynak, 1998), as scikit-learn ships it: integers
0..16. The split is stratified (seed 0). All is integer arithmetic, so the arrays are the same everywhere.

OOD sets: ``textures`` (8x8 grey patches of scikit-learn's two photographs, shipped beside this file because JPEG
decoders differ: see NOTICE), ``interp`` (mean of two digits of different classes), ``rotated`` (by 90 degrees),
``flipped`` (left-right), ``inverted`` and ``noise``. The four made from digits use images of a split of their own,
``ood-base``, disjoint from test. A transformed digit that still is a digit is not OOD: classes in ``STILL_DIGITS`` are
left out.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib import metadata, resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jembench.data.sets import ASKED, CHAINS, Grid, ImageSet, Severities, Source, Track, chains, pairs
from jembench.ground import seeding
from jembench.types import UserError

SPLITS = {"train": 1077, "validation": 180, "test": 360, "ood-base": 180}

#: Classes that stay digits under the transformation: most of three independent classifiers keep the class in more than
#: half of its images (see the track's test), or, for a turned 0, a reader does.
STILL_DIGITS = {"rotated": (0, 4), "flipped": (0, 1, 4, 8)}

#: Hashes of the images and labels of every source.
PINS = {
    "train": "2306ee81a7ba81ba4e6a18d1a27e64c19b13dcedad59ba8bab080a9880824ff6",
    "validation": "0daf4251205f0f8eab1d20f7e2e989504b5e53f40729afb796c320b135c236b9",
    "ood-base": "18c9b4fd93159a2e582982eadeea09ae13d3870e120d60e6181a06a365ccca76",
    "test": "8cc0f47849445d826938b723103fce93edf5f91e738222dc1e5061fda677d33c",
    "textures": "278e6c3b2429fd6b3df21f8bf4e026df4b7035adcd139369f3fcf63a6bbd6d9d",
    "interp": "55ed141d87f67cccbcc291ec7b8e1404a1ad5f6e9d7323a7febe8a9803020ddc",
    "rotated": "2d6ceb35b1e420457ae9536d699d2154efbea72289565f29112680e1a4430a62",
    "flipped": "27d2947835ac2fb217928afaaad52f64a493228864036813b7baee1458afc830",
    "inverted": "88857f6ff79730d5760085ad17400065a2da87fb61c65f0f84c0ab6ba6f5d6f6",
    "noise": "acb037e65692a1271b17390945ada21d9e54a736391ab900767a1052a4368c35",
    CHAINS: "8f10f558bfb2dee1dd13844df646511034fd40ec47e8c02af21b9d83e16395a0",
}

TRACK = Track(
    name="digits",
    version=1,
    shape=(1, 8, 8),
    levels=17,
    classes=10,
    chunk=180,
    builder="jembench.data.digits:build",
    sources=(
        Source("train", "train", 1077, PINS["train"]),
        Source("validation", "validation", 180, PINS["validation"]),
        Source("ood-base", "ood-base", 180, PINS["ood-base"], about="base images of the OOD sets made from digits"),
        Source("test", "test", 360, PINS["test"]),
        Source("textures", "ood", 360, PINS["textures"], about="grey patches of two photographs"),
        Source("interp", "ood", 90, PINS["interp"], "ood-base", "mean of two digits of different classes", near=True),
        Source("rotated", "ood", 144, PINS["rotated"], "ood-base", "turned by 90 degrees", near=True),
        Source("flipped", "ood", 108, PINS["flipped"], "ood-base", "mirrored left-right", near=True),
        Source("inverted", "ood", 180, PINS["inverted"], "ood-base", "16 - x"),
        Source("noise", "ood", 360, PINS["noise"], about="uniform integers 0..16"),
        Source(CHAINS, "chains", 1000, PINS[CHAINS], about=ASKED),
    ),
    threats=(Grid("linf", (0.05, 0.1, 0.2, 0.3, 0.4), 0.1), Grid("l2", (0.25, 0.5, 1.0, 1.5, 2.0), 0.5)),
    extractor="digits-ref",
    # amounts at which the accuracy of jem on the validation split goes from about .98 to about .45
    shifts=(
        Severities("noise", (0.15, 0.3, 0.45, 0.6, 0.8)),
        Severities("blur", (0.6, 0.9, 1.2, 1.5, 1.8)),
        Severities("contrast", (0.4, 0.6, 0.75, 0.85, 0.92)),
        Severities("brightness", (0.15, 0.3, 0.4, 0.5, 0.6)),
        Severities("rotation", (10.0, 17.0, 24.0, 31.0, 40.0)),
    ),
    held_out=(
        Severities("occlusion", (0.25, 0.5, 0.625)),
        Severities("translation", (0.06, 0.12, 0.2)),
        Severities("impulse", (0.1, 0.25, 0.45)),
        Severities("shear", (0.3, 0.5, 0.8)),
        Severities("gamma", (1.0, 4.0, 8.0)),
        Severities("pixelate", (0.25, 0.375, 0.625)),
    ),
)

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def build(name: str) -> ImageSet:
    """The image set ``name`` of the track, unchecked."""
    if name == CHAINS:
        return chains(TRACK)
    if name in SPLITS:
        images, labels = split(name)
    elif name == "textures":
        images = textures()
        labels = np.full(len(images), -1)
    elif name == "noise":
        draws = seeding.integers("digits-v1", "noise", count=360 * 64, high=17)
        images, labels = draws.astype(np.uint8).reshape(-1, 1, 8, 8), np.full(360, -1)
    else:
        images = _outliers(name, *split("ood-base"))
        labels = np.full(len(images), -1)
    return ImageSet(images, labels.astype(np.int64), TRACK.levels)


@cache
def original() -> tuple[Images, Labels]:
    """All 1,797 digits ``(N, 1, 8, 8)`` and labels, in scikit-learn's order.

    The file is read from the installed scikit-learn without importing it (1 s).
    """
    path = Path(str(metadata.distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")))
    try:
        text = gzip.decompress(path.read_bytes())
    except OSError as error:
        raise UserError(f"the digits data of scikit-learn cannot be read ({error}): reinstall scikit-learn") from error
    table = np.fromstring(text.decode("ascii").replace("\n", ","), sep=",").astype(np.uint8).reshape(-1, 65)
    return _frozen(table[:, :64].reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64))


@cache
def split(name: str) -> tuple[Images, Labels]:
    """One of the four splits, in its fixed shuffled order.

    Every class is shuffled and dealt to the splits in proportion to their sizes, by largest remainder over the running
    totals; then each split is shuffled as a whole.
    """
    images, labels = original()
    order = seeding.permutation("digits-v1", "split", 0, n=len(labels))
    by_class = np.concatenate([order[labels[order] == k] for k in range(TRACK.classes)])
    # Position j of the class-sorted order goes to the split whose quota is furthest behind: stratified to within one.
    sizes = np.array([SPLITS[part] for part in SPLITS])
    owner = np.empty(len(labels), dtype=np.int64)
    counts = np.zeros(len(sizes), dtype=np.int64)
    for position in range(len(labels)):
        lag = sizes * (position + 1) - counts * len(labels)
        lag[counts >= sizes] = np.iinfo(np.int64).min
        owner[position] = int(np.argmax(lag))
        counts[owner[position]] += 1
    members = by_class[owner == list(SPLITS).index(name)]
    members = members[seeding.permutation("digits-v1", "order", name, n=len(members))]
    return _frozen(images[members], labels[members])


def textures() -> Images:
    """The shipped patches ``(360, 1, 8, 8)``."""
    with resources.files("jembench.data").joinpath("textures.npy").open("rb") as file:
        patches: Images = np.load(file, allow_pickle=False)
    return patches


def _frozen(images: Images, labels: Labels) -> tuple[Images, Labels]:
    """What is cached must not be written to."""
    images.setflags(write=False)
    labels.setflags(write=False)
    return images, labels


def _outliers(name: str, images: Images, labels: Labels) -> Images:
    if name == "interp":
        first, second = pairs(labels)
        total = images[first].astype(np.uint16) + images[second]
        return np.array(total // 2, dtype=np.uint8)
    if name == "inverted":
        return np.array(TRACK.levels - 1 - images, dtype=np.uint8)
    digits = images[~np.isin(labels, STILL_DIGITS[name])]
    outliers = np.rot90(digits, axes=(2, 3)) if name == "rotated" else digits[..., ::-1]
    return np.array(outliers, dtype=np.uint8, order="C")
