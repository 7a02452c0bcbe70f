"""The null attack: the clean images.

Beside a stochastic defence it says what the defence's own noise breaks: an attack that does no more has found luck.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.passes import ModelFacts, Passes
from jembench.types import Norm

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision


@dataclass(frozen=True)
class Null:
    """No attack; it asks the victim nothing."""

    name: str = field(default="null", init=False)
    gradient: Gradient = field(default="full", init=False)
    copies: int | None = field(default=None, init=False)
    precision: Precision = field(default="fp32", init=False)
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=False, init=False)

    def passes(self, norm: Norm, eps: float, facts: ModelFacts) -> Passes:
        """None."""
        return Passes()

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The clean images."""
        return Crafted(task.x.clone())
