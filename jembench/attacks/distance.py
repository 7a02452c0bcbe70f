r"""Minimal distance: how near is the nearest adversarial of every image?

.. math::
    d(x) = \min \{ \lVert \delta \rVert : x + \delta \in [0, 1]^D \text{ reaches the goal} \},

by PGD (:mod:`jembench.attacks.search`) in balls whose radius is searched for every example on its own
(:mod:`jembench.attacks.bracket`). What is found is
an upper bound; that a ball hardly smaller was searched in vain is the reason to trust it.

**Bracket.** If logits were linear, as they look at x, the class would change to k at the distance :math:`r_k = (f_y -
f_k) / \lVert \nabla (f_y - f_k) \rVert_*` (Moosavi-Dezfooli et al., CVPR 2016). The nearest points of these boundaries
are tried; if none is adversarial, the first ball has the radius :math:`\min_k r_k`, and it doubles, up to ``eps`` of
the threat, until one holds an adversarial. From there the balls shrink by half of the tolerance, by all of it, by twice
it, until one holds nothing; then their radii are bisected.

**Ball.** The first restart goes from the nearest image so far to any class. The others start anywhere and aim at the
classes of the least :math:`r_k` in turn: the margin alone climbs to the top class, which need not be the nearest.

**Success.** The distance of an adversarial counts, not the radius of its ball. It is drawn towards x along the line
between them, and x is projected onto the boundary there, taken as linear, within [0, 1]^D (as FAB does: Croce & Hein,
ICML 2020), as long as that helps. The nearest of all restarts is kept.

**Noise.** A stochastic victim is broken by an image if the mean margin over several fresh queries is below 0 by
one standard deviation of a query: an image on the boundary would be judged by luck. The nearest that ever was is lucky
even so: it is asked once more, and moved outwards until it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.types import Norm, UserError

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision

BALLS = 12  # of an image, as a rule


@dataclass(frozen=True)
class MinimalDistance:
    """PGD by margin in balls of every size, up to ``eps`` of the threat.

    Attributes:
        name: name of the attack.
        steps: number of PGD steps of a restart in one ball.
        restarts: number of starting points in one ball.
        size: length of the first step, in units of the radius; the steps shrink.
        tolerance: relative error of the distance, if PGD does not fail; balls are half of it apart.
        gradient: what the attack's gradient sees of a refinement: ``none``, ``straight-through`` or ``full``.
        copies: number of noisy copies behind a query of a stochastic victim; None for the defence's own votes.
        precision: precision of the victim's network: at a boundary every bit counts.
    """

    name: str = "distance"
    steps: int = 20
    restarts: int = 5
    size: float = 0.5
    tolerance: float = 0.01
    gradient: Gradient = "full"
    copies: int | None = None
    precision: Precision = field(default="fp32", init=False)
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1 or not self.size > 0 or not 0 < self.tolerance < 0.5:
            raise UserError(f"attack {self.name!r} needs steps, restarts, size > 0 and 0 < tolerance < 0.5, not {self}")

    def passes(self, norm: Norm, eps: float, facts: ModelFacts) -> Passes:
        """All steps in about a dozen balls."""
        number = BALLS * self.restarts * self.steps
        return times(facts.query(self.copies, gradient=True), number)._replace(gradients=number)

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The nearest adversarials that were found; the clean image where there is none."""
        from jembench.attacks import bracket, search

        # What barely breaks a stochastic victim is no success: there the search of a ball goes on.
        settings: dict[str, Any] = {
            "steps": self.steps,
            "restarts": 1,
            "losses": ("margin",),
            "size": self.size,
            "confident": victim.stochastic,
        }
        nearest = bracket.RadiusBracket(victim, task, self.tolerance / 2)  # PGD stops short of what it could reach
        while len(rows := nearest.open()):
            eps = nearest.radii(rows)
            for restart in range(self.restarts):
                hit = nearest.judge(search.search(victim, nearest.part(rows, restart), eps=eps, **settings), rows)
                rows, eps = rows[~hit], eps[~hit]
                if not len(rows):
                    break
            nearest.low[rows] = eps
        if victim.stochastic:
            nearest.confirm()
        return Crafted(nearest.images, nearest.high.isfinite(), *nearest.tallies())
