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
        "accuracy": ("jembench.evaluators.accuracy:Accuracy", "the share of test images that are classified right"),
        "calibration": ("jembench.evaluators.calibration:Calibration", "whether p(y|x) means what it says"),
        "shifts": ("jembench.evaluators.shifts:Shifts", "accuracy and calibration under shift, attack, refinement"),
        "unlabelled": ("jembench.evaluators.unlabelled:Unlabelled", "accuracy as estimated without labels"),
        "ood": ("jembench.evaluators.ood:Ood", "OOD detection by every score"),
        "stress": ("jembench.evaluators.stress:Stress", "OOD detection under attack, refinement and shift"),
        "detectors": ("jembench.evaluators.detectors:Detectors", "OOD detection by post-hoc detectors"),
        "generation": ("jembench.evaluators.generation:Generation", "how good, varied and new generated images are"),
        "chains": ("jembench.evaluators.chains:Chains", "what SGLD chains do that are longer than in training"),
        "likelihood": ("jembench.evaluators.likelihood:Likelihood", "bits per dimension of test images"),
        "robustness": ("jembench.evaluators.robustness:Robustness", "accuracy when an adversary moves the images"),
        "distance": ("jembench.evaluators.distance:Distance", "how far the nearest adversarial of every image is"),
    },
)
