r"""Measurement ``distal``: noise that becomes a confident example (Grathwohl et al., ICLR 2020, section 5.4).

One chain for every example of the source, towards that example's class y, from uniform noise in [0, 1]:

.. math::
    x_{t+1} = \Pi_{[0,1]^D} \bigl( x_t + a\, g_t / \lVert g_t \rVert_2 \bigr), \qquad g_t = \nabla_x \log p(y|x_t),

until :math:`p(y|x_t) \ge` ``confidence`` or the steps run out. A model that knows its data needs to draw a digit to be
confident of one; the image of the example itself is not used. Of a stochastic model the end is judged by a fresh query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.evaluators.attacked import shared
from jembench.types import Batch, Capability, capabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from jembench.attacks.victim import Victim


@dataclass(frozen=True)
class Distal:
    """Columns ``reached (B,)`` (0 or 1), ``steps``, ``confidence``, ``log_density`` (NaN without one), ``adversarial (B, D)``.

    Attributes:
        steps: most steps of a chain.
        size: length a of a step, in L2 over all pixels of [0, 1].
        confidence: p(y|x) at which a chain ends.
    """

    steps: int = 200
    size: float = 0.1
    confidence: float = 0.9

    name: ClassVar[str] = "distal"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def title(self) -> str:
        """For people."""
        return "distal adversarials"

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Climb, then judge."""
        import torch

        from jembench.attacks.victim import Victim

        y = batch.labels
        victim = Victim(model, generator=generator)
        x = torch.rand(batch.images.shape, generator=generator).to(batch.images)
        taken = torch.zeros_like(y)
        rows = torch.arange(len(y), device=y.device)
        for step in range(self.steps + 1):
            z = x[rows].requires_grad_()
            log_p = _log_p(victim, z, y[rows])
            left = log_p.detach().exp() < self.confidence
            if step == self.steps or not bool(left.any()):
                break
            (gradient,) = torch.autograd.grad(log_p.sum(), z)
            length = gradient.flatten(1).norm(dim=1).clamp_min(1e-30).reshape(-1, *[1] * (x.ndim - 1))
            moved = (z.detach() + self.size * gradient / length).clamp(0, 1)
            rows, moved = rows[left], moved[left]
            x[rows] = moved
            taken[rows] += 1
        with torch.no_grad():
            final = _log_p(victim, x, y).exp()
            density = victim.log_density(x) if "density" in capabilities(model) else torch.full_like(final, torch.nan)
        return {
            "reached": (final >= self.confidence).int().cpu().numpy(),
            "steps": taken.int().cpu().numpy(),
            "confidence": final.float().cpu().numpy(),
            "log_density": density.float().cpu().numpy().astype(np.float32),
            "adversarial": x.flatten(1).cpu().numpy(),
            "forwards": shared(victim.meter.forwards, len(y)),
            "gradients": shared(victim.meter.gradients, len(y)),
        }


def _log_p(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """log p(y|x), ``(B,)``."""
    return victim(x).log_softmax(1).gather(1, y[:, None]).squeeze(1)
