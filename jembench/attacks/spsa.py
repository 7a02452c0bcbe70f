r"""SPSA: gradients from scores alone, through any noise (Uesato et al., ICML 2018, arXiv 1802.05666; Spall, 1992).

With Rademacher directions :math:`v_i \in \{-1, 1\}^D` and the margin m, below 0 where the goal is reached,

.. math::
    \hat g(x) = \frac1n \sum_{i=1}^n \frac{m(x + \delta v_i) - m(x - \delta v_i)}{2 \delta}\, v_i,
    \qquad x_{t+1} = \Pi_{B_\epsilon \cap [0,1]^D} \bigl( x_t - a \epsilon\, u(\hat g(x_t)) \bigr)

with u and the projection of :mod:`jembench.attacks.pgd`. The two queries are clipped to [0, 1], so at a pixel on the
edge the difference is one-sided. No gradient is asked for: a defence that breaks or hides its own stands in no way.

The iterate of the lowest margin is kept. Broken examples leave the batch of a deterministic victim; of a stochastic one
none does, and its lowest iterate and its last are scored anew on several queries, like the clean image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.types import Norm, UserError

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision


@dataclass(frozen=True)
class SPSA:
    """The attack; ``steps * (2 * samples + 1)`` queries for an image.

    Attributes:
        steps: number T of steps.
        samples: number n of directions of an estimate.
        delta: half of the distance of the two queries in every pixel, in units of the [0, 1] pixel range.
        size: length a of a step, in units of eps.
        copies: number of noisy copies behind a query of a stochastic victim; None for the defence's own votes.
    """

    steps: int = 40
    samples: int = 32
    delta: float = 0.05
    size: float = 0.2
    copies: int | None = None
    name: str = field(default="spsa", init=False)
    gradient: Gradient = field(default="full", init=False)
    precision: Precision = field(default="fp32", init=False)
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.samples < 1 or not self.delta > 0 or not self.size > 0:
            raise UserError(f"attack 'spsa' needs steps, samples, delta and size above 0, not {self}")

    def passes(self, norm: Norm, eps: float, facts: ModelFacts) -> Passes:
        """All steps of all images: few that are broken leave."""
        queries = self.steps * (2 * self.samples + 1) + 4
        return times(facts.query(self.copies), queries)

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The images of the lowest margin."""
        from jembench.attacks.ascent import ascend

        return ascend(victim, task, steps=self.steps, samples=self.samples, delta=self.delta, size=self.size)
