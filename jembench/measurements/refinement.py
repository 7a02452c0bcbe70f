r"""Measurement ``refinement``: what n SGLD steps do to every example.

From :math:`x_0 = x` the chain of :mod:`jembench.langevin.sgld` climbs log p(x),

.. math::
    x_{t+1} = x_t + a\, \nabla \log p(x_t) + s\, \xi_t,

with the step and the noise of the paper (Grathwohl et al., ICLR 2020), a = .25 and s = .005 in units of [0, 1] pixels,
and without a clamp. Recorded are log p and the norm of its gradient at both ends, and the L2 distance between them: the
scores ``refine_*`` are their differences. Where log p is more curved than 2 / a these steps diverge, as they do on a
normalised density of narrow data; what is then not finite is recorded as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.attacks.passes import ModelFacts, Passes
from jembench.measurements.contract import costs
from jembench.measurements.input_gradient import InputGradient
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class RefinementEffect:
    """Columns ``log_density_…`` and ``gradient_norm_…`` ``before`` and ``after``, and ``distance``, all ``(B,)``.

    Attributes:
        steps: number n of SGLD steps.
        size: step a, the factor of the gradient.
        noise: standard deviation s of the noise of a step, in units of the [0, 1] pixel range.
    """

    steps: int = 10
    size: float = 0.25
    noise: float = 0.005

    name: ClassVar[str] = "refinement"
    version: ClassVar[int] = 1
    costly: ClassVar[bool] = True
    requires: ClassVar[frozenset[Capability]] = frozenset({"density"})
    finite: ClassVar[frozenset[str]] = frozenset()

    def passes(self, facts: ModelFacts) -> Passes:
        """A gradient for each step, and one at both ends."""
        return Passes(self.steps + 2, self.steps + 2)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """n + 2 gradients; all noise comes from ``generator``.

        Raises:
            UserError: if the log density is not differentiable in the images.
        """
        from jembench.langevin import sgld

        ends = InputGradient()
        before = ends.columns(model, batch, generator)
        settings = sgld.SGLD(steps=self.steps, size=self.size, noise=self.noise)
        x = sgld.chain(model.log_density, batch.images, settings=settings, generator=generator)
        after = ends.columns(model, replace(batch, images=x), generator)
        return {
            "log_density_before": before["log_density"],
            "log_density_after": after["log_density"],
            "gradient_norm_before": before["gradient_norm"],
            "gradient_norm_after": after["gradient_norm"],
            "distance": (x - batch.images).float().flatten(1).norm(dim=1).cpu().numpy(),
            **costs(len(x), self.steps + 2, self.steps + 2),
        }
