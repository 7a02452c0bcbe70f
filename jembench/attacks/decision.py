"""Decision attacks: they see the predicted class and nothing else. By foolbox, an extra of the installation.

- ``boundary`` (Brendel et al., ICLR 2018, arXiv 1712.04248): a walk along the decision boundary, L2;
- ``hopskipjump`` (Chen et al., S&P 2020, arXiv 1904.02144): the boundary's normal from decisions, L2 or L-infinity;
- ``pointwise`` (Schott et al., ICLR 2019, arXiv 1805.09190): pixel after pixel set back, or as near as possible.

They look for the nearest image of another class. What counts here is whether it lies within eps: the nearest that was
seen is kept for every image, the attack ends when all of these are within eps or every image has had its ``queries``,
and where the nearest is beyond eps the result is the clean image.

A starting point is an adversarial that the task brings, the nearest image of the batch that is predicted as a class
that will do, or noise; an image for which there is none is left alone, and so is one that is misclassified already.

foolbox takes it that one image has one class. Of a stochastic victim every image is therefore asked about once, and the
answer stands. Its nearest adversarial lies where the classes are tied, or beyond eps; so it is moved to the radius eps
along its direction where one more query agrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.types import Norm, UserError, unknown

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision

NORMS: dict[str, tuple[Norm, ...]] = {"boundary": ("l2",), "hopskipjump": ("linf", "l2"), "pointwise": ("linf", "l2")}

#: Shares of the queries that are asked: of a model that resists nothing, and what one adds that resists.
SHARES = {"boundary": (0.1, 0.8), "hopskipjump": (0.25, 0.7), "pointwise": (0.28, 0.05)}


@dataclass(frozen=True)
class Decision:
    """One of the three.

    Attributes:
        name: name of the attack: ``boundary``, ``hopskipjump`` or ``pointwise``.
        queries: largest number of queries for an image.
        copies: number of noisy copies behind a query of a stochastic victim; None for the defence's own votes.
    """

    name: str
    queries: int = 2500
    copies: int | None = None
    gradient: Gradient = field(default="full", init=False)
    precision: Precision = field(default="fp32", init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.name not in NORMS:
            raise unknown("decision attack", self.name, NORMS)
        if self.queries < 1:
            raise UserError(f"attack {self.name!r} needs at least 1 query, not {self.queries}")

    @property
    def norms(self) -> tuple[Norm, ...]:
        """The norms of the distance that it can shorten."""
        return NORMS[self.name]

    def passes(self, norm: Norm, eps: float, facts: ModelFacts) -> Passes:
        """A share of the queries, which grows with what resists."""
        least, more = SHARES[self.name]
        share = least + more * facts.survival(norm, eps) ** 0.3
        return times(facts.query(self.copies), share * self.queries)._replace(calls=self.queries)

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The nearest adversarials that were seen, where they are within eps."""
        from jembench.attacks.nearest import nearest

        return nearest(self, victim, task, queries=self.queries)


BOUNDARY = partial(Decision, name="boundary")
HOPSKIPJUMP = partial(Decision, name="hopskipjump")
POINTWISE = partial(Decision, name="pointwise")
