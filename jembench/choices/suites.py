"""Suites: named lists of evaluators."""

from __future__ import annotations

from jembench.ground.families import Family

ACCURACY = ("accuracy",)
CALIBRATION = ("calibration", "shifts")
UNLABELLED = ("unlabelled",)
OOD = ("ood",)
STRESS = ("stress",)
GENERATION = ("generation", "chains")
HYBRID = ("accuracy", "generation")
LIKELIHOOD = ("likelihood",)
ROBUSTNESS = ("robustness",)
DISTANCE = ("distance",)
ALL = (*ACCURACY, *CALIBRATION, *UNLABELLED, *OOD, *STRESS, *GENERATION, *LIKELIHOOD)

SUITES: Family[tuple[str, ...]] = Family(
    "suite",
    {
        "accuracy": (".suites:ACCURACY", "top-1 accuracy on the test split"),
        "calibration": (
            ".suites:CALIBRATION",
            "does p(y|x) mean what it says: clean, shifted, attacked, refined",
        ),
        "unlabelled": (".suites:UNLABELLED", "accuracy and a temperature as estimated without labels"),
        "ood": (".suites:OOD", "every score against every OOD set"),
        "stress": (".suites:STRESS", "OOD detection under attack, after refinement, along shifts"),
        "generation": (".suites:GENERATION", "sample quality: IS, FD, KD, precision, coverage; long chains"),
        "hybrid": (".suites:HYBRID", "accuracy, IS and FD in one row: the paper's table 1"),
        "likelihood": (
            ".suites:LIKELIHOOD",
            "bits per dimension of the test split, with log Z by annealing where it is unknown",
        ),
        "robustness": (
            ".suites:ROBUSTNESS",
            "worst-case accuracy under white-box and black-box attacks; takes minutes",
        ),
        "distance": (".suites:DISTANCE", "the nearest adversarial of every image: accuracy against distance (jem2020)"),
        "all": (".suites:ALL", "everything but robustness and distance, in one result"),
    },
    __package__,
)
