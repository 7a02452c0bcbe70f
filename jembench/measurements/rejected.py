r"""Measurement ``rejected``: robustness of a model that may abstain, against an attacker who knows.

The model abstains where :math:`\log p(x) < \tau`, a threshold that keeps 95 % of the clean test images: those that FPR
at 95 % TPR keeps, halfway to the next lower one, so that rounding flips none. An example is **robust** if its clean
image is accepted and correct, and no image in the ball was found that is accepted and misclassified
(:mod:`jembench.attacks.reject`). An abstention on an adversarial is a success of the model; one on a clean image is an
error. Both constraints are computed anew, in float32, at the image that was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.attacks.contract import Task
from jembench.attacks.passes import ModelFacts, Passes
from jembench.attacks.threat import TITLES, Threat
from jembench.measurements.attacked import given_images, metered
from jembench.metrics.fpr import true_positives
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator

SHARE = 0.4  # of the steps that even a model takes which resists nothing


@dataclass(frozen=True)
class Rejected:
    """Columns of :meth:`jembench.attacks.verify.Verified.columns` with ``vote`` and ``one_shot`` of the rule above.

    ``accepted (B,)``: whether the clean image is; ``log_density (B,)`` at the image that was found; ``tau (B,)``.

    Attributes:
        threat: the threat model: the ball of the adversarials.
        steps: number of steps of a restart of the attack.
        restarts: number of restarts of the attack.
        kept: share of the clean images on which the model does not abstain.
    """

    threat: Threat
    steps: int = 40
    restarts: int = 3
    kept: float = 0.95

    name: ClassVar[str] = "rejected"
    version: ClassVar[int] = 2
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier", "density"})
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def title(self) -> str:
        """What people read while the attack runs, with the ball."""
        return f"abstention {TITLES[self.threat.norm]} {self.threat.eps:.3g}"

    def passes(self, facts: ModelFacts) -> Passes:
        """A share of all steps, which grows with what resists; some of them go back twice."""
        every = (SHARE + 1.6 * facts.survival(self.threat.norm, self.threat.eps)) * self.steps * self.restarts
        return Passes(every + 12, every)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """The threshold from all clean images, the attack from the worst plain adversarials, and the verdict."""
        import torch

        from jembench.attacks.reject import evade
        from jembench.attacks.verify import verify
        from jembench.attacks.victim import Victim

        x, y = batch.images, batch.labels
        clean = batch.whole[0]
        assert clean is not None  # a model with a density has records of it
        tau = threshold(clean["log_density"], self.kept)
        victim = Victim(model, generator=generator)
        task = Task(x, y, None, self.threat, given_images(batch), generator, ("rejected",))
        attempt = evade(victim, task, tau, steps=self.steps, restarts=self.restarts)
        verdict = verify(model, x, y, attempt.images, threat=self.threat, target=None, draws=1, generator=generator)
        with torch.no_grad():
            right = victim.predictions(x) == y
            answers = victim.log_density(x) >= tau
            density = victim.log_density(verdict.images)
        errors = ~verdict.vote & (density >= tau)
        robust = right & answers & ~errors
        assert attempt.claimed is not None
        return {
            **verdict.columns(),
            "vote": robust.int().cpu().numpy(),
            "one_shot": robust.float().cpu().numpy(),
            "accepted": answers.int().cpu().numpy(),
            "log_density": density.float().cpu().numpy(),
            "tau": np.full(len(x), tau),
            "claimed": attempt.claimed.int().cpu().numpy(),
            **metered(len(x), victim.meter, verdict.meter),
        }


def threshold(density: NDArray[Any], share: float) -> float:
    """The log density above which the share of these lies; NaN, which accepts nothing, if one of them is.

    >>> threshold(np.array([5.0, 1.0, 3.0, 4.0]), 0.75)
    2.0
    """
    values = np.sort(density.astype(np.float64))
    if np.isnan(values[-1]):
        return float("nan")
    below = len(values) - true_positives(len(values), share)
    return float(values[max(below - 1, 0) : below + 1].mean())
