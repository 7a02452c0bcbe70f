"""The evaluators, by name. A new one is a module here and a line in :data:`EVALUATORS`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jembench.evaluators.contract import Evaluator

EVALUATORS = {
    "accuracy": "jembench.evaluators.accuracy:Accuracy",
    "calibration": "jembench.evaluators.calibration:Calibration",
    "shifts": "jembench.evaluators.shifts:Shifts",
    "unlabelled": "jembench.evaluators.unlabelled:Unlabelled",
    "ood": "jembench.evaluators.ood:Ood",
    "stress": "jembench.evaluators.stress:Stress",
    "generation": "jembench.evaluators.generation:Generation",
    "chains": "jembench.evaluators.chains:Chains",
    "likelihood": "jembench.evaluators.likelihood:Likelihood",
    "robustness": "jembench.evaluators.robustness:Robustness",
    "distance": "jembench.evaluators.distance:Distance",
}


def evaluator(name: str) -> Evaluator:
    """The evaluator called ``name``, a key of :data:`EVALUATORS`, with its own settings.

    Those with attacks have none: they are made for a model by :mod:`jembench.choices.batteries`.
    """
    module, _, attribute = EVALUATORS[name].partition(":")
    made: Evaluator = getattr(import_module(module), attribute)()
    return made
