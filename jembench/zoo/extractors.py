"""Feature extractors, by the name that stands in every figure of sample quality.

A Fréchet distance of features is called **FID** only with the Inception network of 2015; with any other extractor it is
FD. An extractor is loaded as a model of its own (:func:`jembench.zoo.catalogue.extractor`): it is never the one under
evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jembench.data.sets import Track
from jembench.ground.families import Family
from jembench.types import UserError
from jembench.zoo import baselines
from jembench.zoo.references import RECIPE

FOLDER = "extractors"  # beside the folders of the tracks' baselines


@dataclass(frozen=True)
class Extractor:
    """A feature extractor.

    Attributes:
        general: whether it is for every track, not only for those whose own it is.
        distance: what a Fréchet distance of its features is called, in files.
        kernel: what a kernel distance is.
    """

    general: bool = False
    distance: str = "fd"
    kernel: str = "kd"


OWN = Extractor()
INCEPTION_V3 = Extractor(general=True, distance="fid", kernel="kid")

EXTRACTORS: Family[Extractor] = Family(
    "extractor",
    {
        "digits-ref": (".extractors:OWN", "a small classifier of digits that is evaluated nowhere: 64 features"),
        "cifar10-ref": (
            ".extractors:OWN",
            "a wide residual network of photographs that is evaluated nowhere: 128 features",
        ),
        "pixels": (".extractors:OWN", "the pixels themselves, with the classes of the oracle"),
        "inception-v3": (
            ".extractors:INCEPTION_V3",
            "the Inception network of 2015: 2,048 features; the only one of FID",
        ),
    },
    __package__,
)


def of_track(name: str, track: Track) -> Extractor:
    """The extractor called ``name``, if it is for the track.

    Raises:
        UserError: for an unknown name, or one of another track.
    """
    if name == track.extractor and name not in EXTRACTORS:
        return OWN  # that of an own track
    extractor = EXTRACTORS[name]
    if not extractor.general and name != track.extractor:
        fitting = ", ".join(other for other in EXTRACTORS if other == track.extractor or EXTRACTORS[other].general)
        raise UserError(f"extractor {name!r} is not for track {track.name}: choose one of {fitting}")
    return extractor


def known(name: str, track: Track) -> bool:
    """Whether a model of this name is an extractor."""
    return name in EXTRACTORS or name == track.extractor


def recipe_path(name: str, track: Track) -> Path:
    """The recipe of an extractor that we trained, or of the one that lies beside the file of an own track."""
    if track.file and name not in EXTRACTORS:
        return Path(track.file).parent / name / RECIPE
    return baselines.shipped() / FOLDER / name / RECIPE
