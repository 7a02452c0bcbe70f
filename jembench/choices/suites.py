"""Suites: named lists of evaluators."""

from __future__ import annotations

from jembench.evaluators import EVALUATORS
from jembench.types import unknown

#: name -> (evaluators, one line of explanation)
SUITES: dict[str, tuple[tuple[str, ...], str]] = {
    "accuracy": (("accuracy",), "top-1 accuracy on the test split"),
    "calibration": (
        ("calibration", "shifts", "unlabelled"),
        "does p(y|x) mean what it says: clean, shifted, attacked, refined, and without labels",
    ),
    "ood": (("ood", "stress"), "every score against every OOD set: clean, attacked, refined, along shifts"),
    "generation": (("generation", "chains"), "sample quality: IS, FD, KD, precision, coverage; long chains"),
    "hybrid": (("accuracy", "generation"), "accuracy, IS and FD in one row: the paper's table 1"),
    "likelihood": (
        ("likelihood",),
        "bits per dimension of the test split, with log Z by annealing where it is unknown",
    ),
    "robustness": (("robustness",), "worst-case accuracy under white-box and black-box attacks; takes minutes"),
    "distance": (("distance",), "the nearest adversarial of every image: accuracy against distance (jem2020)"),
    "all": (
        tuple(name for name in EVALUATORS if name not in ("robustness", "distance")),
        "everything but robustness and distance, in one result",
    ),
}


def suite(name: str) -> tuple[str, ...]:
    """The evaluators of a suite.

    Raises:
        UserError: for an unknown name.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    return SUITES[name][0]
