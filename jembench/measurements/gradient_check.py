"""Measurement ``gradient_check``: is there a gradient, is it finite, and is it the slope of the loss?

See :mod:`jembench.attacks.sanity`. Of a model behind a refinement the gradient is checked without it: what passes
through the refinement is judged by what the rungs of the ladder break, and no rung is trusted alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.attacks.defences import Defended
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.measurements.attacked import metered
from jembench.types import Batch, Capability, Norm

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class GradientCheck:
    """Columns ``zero (B,)``, ``broken (B,)`` (0 or 1) and ``follows (B,)`` in [0, 1].

    Attributes:
        norm: norm in which the length of a step is measured.
        eps: radius of the threat model, in units of the [0, 1] pixel range: its attacks take steps of this order.
    """

    norm: Norm
    eps: float

    name: ClassVar[str] = "gradient_check"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "gradient check"
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset()

    def passes(self, facts: ModelFacts) -> Passes:
        """Two gradients, and the losses at nine points."""
        if facts.stochastic:
            return times(facts.query(), 72) + times(facts.query(gradient=True), 16)
        return Passes(11, 2)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """A gradient and a few steps at every image."""
        from jembench.attacks.sanity import slope
        from jembench.attacks.victim import Victim

        refines = isinstance(model, Defended) and model.defence.steps > 0
        victim = Victim(model, generator=generator, gradient="none" if refines else "full")
        check = slope(victim, batch.images, batch.labels, norm=self.norm, eps=self.eps, generator=generator)
        return {
            "zero": check.zero.float().cpu().numpy(),
            "broken": check.broken.float().cpu().numpy(),
            "follows": check.follows.float().cpu().numpy(),
            **metered(len(batch.images), victim.meter),
        }
