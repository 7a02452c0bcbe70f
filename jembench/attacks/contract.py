"""What an attack is, and what it gives back.

An attack is a frozen dataclass whose fields, with its ``name`` among them, are its identity. It knows a victim, images
and labels; whether it succeeded is not its to say: :mod:`jembench.attacks.verify` checks what it returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jembench.attacks.threat import Threat
from jembench.types import Norm

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision


@dataclass(frozen=True)
class Task:
    """The examples of one attack.

    Attributes:
        x: clean images ``(B, C, H, W)`` in [0, 1].
        y: labels ``(B,)``.
        target: class ``(B,)`` that every image is to get; None where any wrong class will do.
        threat: ball around every image, and goal.
        starts: adversarials of other attacks on the same examples, ``(B, C, H, W)`` each, to begin from or to try.
        generator: source of every draw of an attack of ours.
        stream: key of a seeded fork for an attack that draws from the global generators.
    """

    x: Tensor
    y: Tensor
    target: Tensor | None
    threat: Threat
    starts: tuple[Tensor, ...]
    generator: Generator
    stream: tuple[str | int, ...]


@dataclass(frozen=True)
class Crafted:
    """What an attack gives back.

    Attributes:
        images: adversarial images ``(B, C, H, W)``; the clean image where the attack found none.
        claimed: whether the attack says that it succeeded, ``(B,)``; None if it says nothing.
        zero: share of the attack's gradients that were 0 everywhere, ``(B,)``; None if it takes none of ours.
        broken: share of the attack's gradients that were NaN or infinite, ``(B,)``; None if it takes none of ours.
    """

    images: Tensor
    claimed: Tensor | None = None
    zero: Tensor | None = None
    broken: Tensor | None = None


class Attack(Protocol):
    """A frozen dataclass.

    Attributes:
        name: name of the attack; a field, so that it is part of every description.
        norms: norms of the balls that it can serve.
        targeted: whether it can aim at a class.
        white: whether it uses gradients of the victim.
        gradient: what the attack's gradient sees of a refinement; ``none`` attacks the model without its defence.
        copies: number of noisy copies behind one query of a stochastic victim; None for the defence's own votes.
        precision: precision of the victim's network while the attack crafts.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def norms(self) -> tuple[Norm, ...]: ...  # noqa: D102

    @property
    def targeted(self) -> bool: ...  # noqa: D102

    @property
    def white(self) -> bool: ...  # noqa: D102

    @property
    def gradient(self) -> Gradient: ...  # noqa: D102

    @property
    def copies(self) -> int | None: ...  # noqa: D102

    @property
    def precision(self) -> Precision: ...  # noqa: D102

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """Adversarial images for the task."""
        ...
