"""AutoAttack (Croce & Hein, ICML 2020, arXiv 2003.01690), by pyautoattack.

``standard`` runs APGD on the cross-entropy, targeted APGD on the DLR loss, targeted FAB (9 classes each) and Square
with 5,000 queries, in turn, each on the examples that the ones before it left: for a deterministic model. ``rand`` runs
APGD on cross-entropy and DLR with the mean gradient of 20 draws: for a stochastic one, here with one noisy copy behind
every draw.

The images of a task are one batch, and pyautoattack gets one seed, from the task's stream: so the images are those of a
bare pyautoattack with the same seed, batch and number of threads, to the last bit.

With fewer than 10 classes, K - 1 of them are targets. The targeted DLR loss needs 4 classes and the plain one 3: where
there are fewer, the attacks on it are left out.

:class:`Square` alone (Andriushchenko et al., ECCV 2020, arXiv 1912.00049) is a black-box attack: random squares are
kept where they lower the margin. It stops at the first query that is misclassified; of a stochastic victim, that may be
luck.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.types import Norm, UserError

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision

Version = Literal["standard", "rand"]

#: Passes of an image: 100 steps of APGD, and what follows of one that resists it; as measured on digits.
FIRST, LAST, BACK = 105, 8400, 1950
RAND_QUERIES = 4000  # two losses, 100 steps, 20 draws
SOME = 8  # a model of whose images one in so many resists is asked to the end


@dataclass(frozen=True)
class AutoAttack:
    """The ensemble.

    Attributes:
        version: ``standard`` for a deterministic victim, ``rand`` for a stochastic one.
        gradient: what the attack's gradient sees of a refinement: ``none``, ``straight-through`` or ``full``.
        name: ``autoattack`` or ``autoattack-rand``.
    """

    version: Version = "standard"
    gradient: Gradient = "full"
    name: str = field(default="", init=False)
    copies: int | None = field(default=None, init=False)
    precision: Precision = field(default="fp32", init=False)
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=False, init=False)
    white: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.version not in ("standard", "rand"):
            raise UserError(f"AutoAttack has the versions standard and rand, not {self.version!r}")
        rand = self.version == "rand"
        object.__setattr__(self, "name", "autoattack-rand" if rand else "autoattack")
        object.__setattr__(self, "copies", 1 if rand else None)  # rand averages over draws of its own

    def passes(self, norm: Norm, eps: float, facts: ModelFacts) -> Passes:
        """APGD of all images, and targeted APGD, FAB and Square of those that resist it."""
        if self.version == "rand":
            return times(facts.query(1, gradient=True), RAND_QUERIES)
        share = facts.survival(norm, eps)
        calls = FIRST + LAST * min(1.0, SOME * share)
        return Passes(FIRST + LAST * share, FIRST + BACK * share, calls)

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The adversarials of the first attack that broke each example; the clean image where none did."""
        from jembench.attacks import ensemble

        return ensemble.autoattack(self, victim, task, version=self.version)


STANDARD, RAND = partial(AutoAttack, version="standard"), partial(AutoAttack, version="rand")


@dataclass(frozen=True)
class Square:
    """The black-box part.

    Attributes:
        queries: largest number of queries for an image.
        copies: number of noisy copies behind a query of a stochastic victim; None for the defence's own votes.
    """

    queries: int = 1000
    copies: int | None = None
    name: str = field(default="square", init=False)
    gradient: Gradient = field(default="full", init=False)
    precision: Precision = field(default="fp32", init=False)
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise UserError(f"attack 'square' needs at least 1 query, not {self.queries}")

    def passes(self, norm: Norm, eps: float, facts: ModelFacts) -> Passes:
        """All queries of images that resist, half of some others."""
        share = facts.survival(norm, eps)
        queries = self.queries * min(1.0, share + (1 - share) * (0.05 + 0.4 * min(1.0, SOME * share)))
        return times(facts.query(self.copies), queries)._replace(calls=self.queries * min(1.0, 0.3 + SOME * share))

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The images of the lowest margin that its queries have seen."""
        from jembench.attacks import ensemble

        return ensemble.square(self, victim, task, queries=self.queries)
