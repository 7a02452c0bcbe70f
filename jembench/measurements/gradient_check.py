"""Measurement ``gradient_check``: is there a gradient, is it finite, and is it the slope of the loss?

See :mod:`jembench.attacks.sanity`. Of a model behind a refinement the gradient is checked without it: what passes
through the refinement is judged by what the rungs of the ladder break, and no rung is trusted alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.measurements.attacked import shared
from jembench.types import Batch, Capability, Norm

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class GradientCheck:
    """Columns ``zero (B,)``, ``broken (B,)`` (0 or 1) and ``follows (B,)`` in [0, 1].

    Attributes:
        norm: of the steps.
        eps: radius of the threat model: its attacks take steps of this order.
    """

    norm: Norm
    eps: float

    name: ClassVar[str] = "gradient_check"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def title(self) -> str:
        """For people."""
        return "gradient check"

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """A gradient and a few steps at every image."""
        from jembench.attacks.defences import Defended
        from jembench.attacks.sanity import slope
        from jembench.attacks.victim import Victim

        refined = isinstance(model, Defended) and model.defence.steps > 0
        victim = Victim(model, generator=generator, gradient="none" if refined else "full")
        found = slope(victim, batch.images, batch.labels, norm=self.norm, eps=self.eps, generator=generator)
        count = len(batch.images)
        return {
            "zero": found.zero.float().cpu().numpy(),
            "broken": found.broken.float().cpu().numpy(),
            "follows": found.follows.float().cpu().numpy(),
            "forwards": shared(victim.meter.forwards, count),
            "gradients": shared(victim.meter.gradients, count),
        }
