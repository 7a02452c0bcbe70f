"""Feature extractors, by the name that stands in every figure of sample quality.

A Fréchet distance of features is called **FID** only with the Inception network of 2015; with any other extractor it is
FD. An extractor is loaded as a model of its own (:func:`jembench.zoo.catalogue.extractor`): it is never the one under
evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jembench.data.sets import Track
from jembench.types import UserError, unknown
from jembench.zoo import baselines

FOLDER = "extractors"  # beside the folders of the tracks' baselines


@dataclass(frozen=True)
class Extractor:
    """A feature extractor.

    Attributes:
        about: one line about it.
        tracks: the tracks it is for; empty for all.
        distance: what a Fréchet distance of its features is called, in files.
        kernel: what a kernel distance is.
    """

    about: str
    tracks: tuple[str, ...] = ()
    distance: str = "fd"
    kernel: str = "kd"


EXTRACTORS = {
    "digits-ref": Extractor("a small classifier of digits that is evaluated nowhere: 64 features", ("digits",)),
    "cifar10-ref": Extractor(
        "a wide residual network of photographs that is evaluated nowhere: 128 features", ("cifar10",)
    ),
    "pixels": Extractor("the pixels themselves, with the classes of the oracle", ("gauss",)),
    "inception-v3": Extractor(
        "the Inception network of 2015: 2,048 features; the only one of FID", distance="fid", kernel="kid"
    ),
}


def of_track(name: str, track: Track) -> Extractor:
    """The extractor called ``name``, if it is for the track.

    Raises:
        UserError: for an unknown name, or one of another track.
    """
    if name not in EXTRACTORS:
        raise unknown("extractor", name, EXTRACTORS)
    known = EXTRACTORS[name]
    if known.tracks and track.name not in known.tracks:
        fitting = ", ".join(other for other, item in EXTRACTORS.items() if not item.tracks or track.name in item.tracks)
        raise UserError(f"extractor {name!r} is not for track {track.name}: choose one of {fitting}")
    return known


def recipe_path(name: str) -> Path:
    """The recipe of an extractor that we trained."""
    return baselines.shipped() / FOLDER / name / baselines.RECIPE
