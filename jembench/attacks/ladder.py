r"""PGD as an attack, and the gradient ladder of a refined defence.

PGD from several starts, each with a loss of its own in turn (:mod:`jembench.attacks.losses`), with the best iterate of
every example kept, by margin. Examples that are broken leave the batch. The first start is the best of the adversarials
that the attack is given, the others are random in the ball. Step t of T is :math:`a_t = a \epsilon\, \tfrac12 (1 +
\cos \pi t / T)`, or a constant :math:`a \epsilon`.

Against a defence that refines its input, what the gradient passes back is a rung of the ladder: ``none`` (the model
without its defence is attacked), ``straight-through`` (the refinement counts as the identity: BPDA, Athalye et al.,
ICML 2018), ``full`` (through every SGLD step); each over ``copies`` noisy copies (EOT). No rung is the truth: measured
on one model, any of them can be the strongest, so each also starts from what the rungs before it found, and the figure
is the worst case over all.

A stochastic victim is never left early on the strength of one draw: its best iterate of a restart is scored again on
fresh copies, and examples leave only between restarts, where fresh queries say broken by a standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.losses import Loss
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.types import Norm

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision

SCORING = 12  # queries behind the scores and the verdict of a stochastic victim


@dataclass(frozen=True)
class Rung:
    """PGD.

    Attributes:
        name: name of the attack.
        steps: number T of steps of a restart.
        restarts: number of starting points of every example.
        losses: losses of the restarts, in turn.
        size: length a of the first step, in units of eps.
        decay: whether the steps shrink.
        gradient: what the attack's gradient sees of a refinement: ``none``, ``straight-through`` or ``full``.
        copies: number of noisy copies behind a query of a stochastic victim (EOT); None for the defence's own votes.
        confident: whether the attack goes on after a success: what barely fools this victim does not fool another.
        precision: precision of the victim's network while the attack crafts.
    """

    name: str = "pgd"
    steps: int = 40
    restarts: int = 5
    losses: tuple[Loss, ...] = ("ce", "margin")
    size: float = 1.0
    decay: bool = True
    gradient: Gradient = "full"
    copies: int | None = None
    confident: bool = False
    precision: Precision = "fp32"
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=True, init=False)

    def passes(self, norm: Norm, eps: float, facts: ModelFacts) -> Passes:
        """All steps of images that resist, two or three of the others."""
        share = 1.0 if self.confident else facts.survival(norm, eps)
        if self.gradient == "none":
            facts = replace(facts, refinement=0, votes=1, stochastic=False)
        if facts.stochastic:
            climbing = times(facts.query(self.copies, gradient=self.gradient == "full"), self.restarts * self.steps)
            return climbing + times(facts.query(self.copies), SCORING)
        steps = share * self.restarts * self.steps
        climbing = Passes(steps + share * self.restarts, steps)
        calls = self.restarts * (self.steps + 1) * min(1.0, 20 * share)
        return climbing + Passes(1 + 3.5 * (1 - share), 2.5 * (1 - share), calls + 5)

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The best images of all restarts."""
        from jembench.attacks.search import search

        return search(
            victim,
            task,
            eps=task.threat.eps,
            steps=self.steps,
            restarts=self.restarts,
            losses=self.losses,
            size=self.size,
            decay=self.decay,
            confident=self.confident,
        )
