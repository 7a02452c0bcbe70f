r"""Transfer: adversarials of other models (Papernot et al., 2016, arXiv 1605.07277), chosen by asking the victim.

Every candidate :math:`x'_s`, made on the surrogate s, is moved into the ball and scored by its margin on the victim:

.. math::
    x' = \arg\min_{s} m\bigl(\Pi_{B_\epsilon(x) \cap [0,1]^D}(x'_s)\bigr),

the clean image among them. One query scores a candidate, four one of a stochastic victim, since the lowest of several
single draws would be the luckiest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.types import Norm

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision

QUERIES = 4  # behind the score of a candidate of a stochastic victim


@dataclass(frozen=True)
class Transfer:
    """The best of the task's ``starts``.

    Attributes:
        sources: names or fingerprints of the models that the candidates were made on, as their maker says.
        copies: number of noisy copies behind a query of a stochastic victim; None for the defence's own votes.
    """

    sources: tuple[str, ...] = ()
    copies: int | None = None
    name: str = field(default="transfer", init=False)
    gradient: Gradient = field(default="full", init=False)
    precision: Precision = field(default="fp32", init=False)
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=False, init=False)

    def passes(self, norm: Norm, eps: float, facts: ModelFacts) -> Passes:
        """A query for each candidate, and for the clean image."""
        return times(facts.query(self.copies), len(self.sources) * (QUERIES if facts.stochastic else 1))

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The candidate of the lowest margin; the clean images where there is none."""
        from jembench.attacks.search import Best

        best = Best(victim, task)
        return Crafted(best.images, best.broken())
