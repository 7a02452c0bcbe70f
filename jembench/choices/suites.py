"""Suites: named lists of evaluators."""

from __future__ import annotations

from jembench.ground.families import Family

ACCURACY = ("accuracy",)
CALIBRATION = ("calibration", "shifts", "unlabelled")
OOD = ("ood", "stress")
GENERATION = ("generation", "chains")
HYBRID = ("accuracy", "generation")
LIKELIHOOD = ("likelihood",)
ROBUSTNESS = ("robustness",)
DISTANCE = ("distance",)
ALL = (*ACCURACY, *CALIBRATION, *OOD, *GENERATION, *LIKELIHOOD)

SUITES: Family[tuple[str, ...]] = Family(
    "suite",
    {
        "accuracy": ("jembench.choices.suites:ACCURACY", "top-1 accuracy on the test split"),
        "calibration": (
            "jembench.choices.suites:CALIBRATION",
            "does p(y|x) mean what it says: clean, shifted, attacked, refined, and without labels",
        ),
        "ood": (
            "jembench.choices.suites:OOD",
            "every score against every OOD set: clean, attacked, refined, along shifts",
        ),
        "generation": (
            "jembench.choices.suites:GENERATION",
            "sample quality: IS, FD, KD, precision, coverage; long chains",
        ),
        "hybrid": ("jembench.choices.suites:HYBRID", "accuracy, IS and FD in one row: the paper's table 1"),
        "likelihood": (
            "jembench.choices.suites:LIKELIHOOD",
            "bits per dimension of the test split, with log Z by annealing where it is unknown",
        ),
        "robustness": (
            "jembench.choices.suites:ROBUSTNESS",
            "worst-case accuracy under white-box and black-box attacks; takes minutes",
        ),
        "distance": (
            "jembench.choices.suites:DISTANCE",
            "the nearest adversarial of every image: accuracy against distance (jem2020)",
        ),
        "all": ("jembench.choices.suites:ALL", "everything but robustness and distance, in one result"),
    },
)
