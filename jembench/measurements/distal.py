r"""Measurement ``distal``: noise that becomes a confident example (Grathwohl et al., ICLR 2020, section 5.4).

One chain for every example of the source, towards that example's class y, from uniform noise in [0, 1]^D:

.. math::
    x_{t+1} = \Pi_{[0,1]^D} \bigl( x_t + a\, g_t / \lVert g_t \rVert_2 \bigr), \qquad g_t = \nabla_x \log p(y|x_t),

until :math:`p(y|x_t) \ge` ``confidence`` or the steps run out; a is a length in units of the [0, 1] pixel range. The
image of the example is not used. A model that knew its data would have to draw a digit before it is confident of one;
the shipped ones, jem too, are soon confident of noise, so what is reported is how many chains get there, and what
their ends look like. (A model that is not confident of its clean images either, as an energy model may be, gets
nowhere: that says nothing of it.)

The end is judged anew: of a stochastic model by a fresh query, since a chain stops where one query was lucky. Through a
refinement the gradient is straight-through: on a digits JEM-10 it needed a third of the steps of the full one, and a
tenth of its time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.attacks.defences import Defended
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.measurements.attacked import metered
from jembench.types import Batch, Capability, capabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from jembench.attacks.victim import Victim


@dataclass(frozen=True)
class Distal:
    """Of every chain ``reached (B,)`` (0 or 1), ``steps (B,)`` that it took, and what its end is.

    ``confidence (B,)`` is p(y|x) there, ``log_density (B,)`` log p(x), NaN if the model has none, and
    ``adversarial (B, D)`` the image.

    Attributes:
        steps: largest number of steps of a chain.
        size: length a of a step, in units of the [0, 1] pixel range.
        confidence: p(y|x) at which a chain ends.
    """

    steps: int = 200
    size: float = 0.1
    confidence: float = 0.9

    name: ClassVar[str] = "distal"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "distal adversarials"
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset()

    def passes(self, facts: ModelFacts) -> Passes:
        """About ten steps: those of a chain until the model is confident."""
        return times(facts.query(gradient=True), 10) + times(facts.query(), 2)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Climb, then judge."""
        import torch

        from jembench.attacks.pgd import climb
        from jembench.attacks.victim import Victim

        y = batch.labels
        victim = Victim(model, generator=generator, gradient="straight-through")
        noise = torch.rand(batch.images.shape, generator=generator).to(batch.images)
        chains = _Chains(victim, noise, y, self.confidence)
        everywhere = 2 * math.sqrt(noise[0].numel())  # a ball that holds all of [0, 1]^D
        sizes = [self.size] * self.steps
        end = climb(chains.loss, noise, noise.clone(), norm="l2", eps=everywhere, sizes=sizes, watch=chains.watch)
        x = chains.images
        x[chains.rows] = end
        with torch.no_grad():
            final = _log_p(victim, x, y).exp()
            base = model.base if isinstance(model, Defended) else model
            density = victim.log_density(x) if "density" in capabilities(base) else torch.full_like(final, torch.nan)
        return {
            "reached": (final >= self.confidence).int().cpu().numpy(),
            "steps": chains.steps.int().cpu().numpy(),
            "confidence": final.float().cpu().numpy(),
            "log_density": density.float().cpu().numpy(),
            "adversarial": x.flatten(1).float().cpu().numpy(),
            **metered(len(y), victim.meter),
        }


class _Chains:
    """The chains that go on, and the ends of those that do not."""

    def __init__(self, victim: Victim, start: Tensor, y: Tensor, confidence: float) -> None:
        self._victim, self._y, self._confidence = victim, y, confidence
        self.images = start.clone()
        self.steps = y.new_zeros(len(y))
        self.rows = y.new_ones(len(y)).nonzero().squeeze(1)
        self._p = start.new_zeros(len(y))

    def loss(self, images: Tensor) -> Tensor:
        """log p(y|x)."""
        log_p = _log_p(self._victim, images, self._y[self.rows])
        self._p = log_p.detach().exp()
        return log_p

    def watch(self, images: Tensor, gradient: Tensor) -> Tensor | None:
        """Chains that are confident end here."""
        ends = self._p >= self._confidence
        self.images[self.rows[ends]] = images[ends]
        self.rows = self.rows[~ends]
        self.steps[self.rows] += 1
        return (~ends).nonzero().squeeze(1) if bool(ends.any()) else None


def _log_p(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """log p(y|x), ``(B,)``."""
    log_p: Tensor = victim(x).log_softmax(1).gather(1, y[:, None]).squeeze(1)
    return log_p
