"""Evaluators: records in, metrics out.

- Here: what names the measurements that it needs and turns their columns into numbers.
- Never: a model, a tensor, a store: an evaluator cannot import what it judges.
- A new one: a module here and a line in `EVALUATORS`; it declares its tables and pictures, or gets a plain table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.ground.families import Family

if TYPE_CHECKING:
    from jembench.evaluators.contract import Evaluator

EVALUATORS: Family[type[Evaluator]] = Family(
    "evaluator",
    {
        "accuracy": (".accuracy:Accuracy", "the share of test images that are classified right"),
        "calibration": (".calibration:Calibration", "whether p(y|x) means what it says"),
        "shifts": (".shifts:Shifts", "accuracy and calibration under shift, attack, refinement"),
        "unlabelled": (".unlabelled:Unlabelled", "accuracy as estimated without labels"),
        "ood": (".ood:Ood", "OOD detection by every score"),
        "stress": (".stress:Stress", "OOD detection under attack, refinement and shift"),
        "corruptions": (".corruptions:Corruptions", "accuracy and calibration on corrupted copies of the test images"),
        "scores": (".scores:Scores", "OOD detection by scores of plug-ins"),
        "detectors": (".detectors:Detectors", "OOD detection by post-hoc detectors"),
        "generation": (".generation:Generation", "how good, varied and new generated images are"),
        "chains": (".chains:Chains", "what SGLD chains do that are longer than in training"),
        "likelihood": (".likelihood:Likelihood", "bits per dimension of test images"),
        "robustness": (".robustness:Robustness", "accuracy when an adversary moves the images"),
        "distance": (".distance:Distance", "how far the nearest adversarial of every image is"),
    },
    __package__,
    group="jembench.evaluators",
    fits=lambda thing: isinstance(thing, type) and hasattr(thing, "needs") and hasattr(thing, "metrics"),
)
