r"""Threat models: which images an adversary may show instead of x, and what counts as success.

The ball :math:`B_\epsilon(x) = \{x' \in [0, 1]^D : \lVert x' - x \rVert \le \epsilon\}` with the norm L-infinity or L2
over all pixels, **in units of the [0, 1] pixel range**. The goal is any wrong class (``untargeted``), or one named
class: the least likely of the clean image (``least-likely``) or one of the others in turn (``targeted``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from jembench.types import Norm, UserError

if TYPE_CHECKING:
    from torch import Tensor

Goal = Literal["untargeted", "targeted", "least-likely"]

TITLES: dict[str, str] = {"linf": "L∞", "l2": "L2"}
TOLERANCE = 1e-6  # of eps, absolutely and relatively: float32 sums are not exact


@dataclass(frozen=True)
class Threat:
    """A ball and a goal.

    Attributes:
        norm: norm of the ball.
        eps: radius of the ball, in units of the [0, 1] pixel range.
        goal: goal of the adversary: any wrong class, the next wrong class in turn, or the least likely one.
    """

    norm: Norm
    eps: float
    goal: Goal = "untargeted"

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm) or self.goal not in get_args(Goal):
            raise ValueError(f"no such threat: {self}")


def check_eps(eps: float, norm: Norm, shape: Sequence[int]) -> None:
    """Refuse a radius that no image of ``shape`` (C, H, W) has: not above 0, or wider than [0, 1]^D.

    Raises:
        UserError: naming the range.
    """
    widest = 1.0 if norm == "linf" else math.sqrt(math.prod(shape))
    if not 0 < eps <= widest:
        advice = f"; eps is in units of the [0, 1] pixel range: {eps:g}/255?" if 1 < eps <= 255 else ""
        raise UserError(f"eps {eps:g} is outside of the {TITLES[norm]} threat model, (0, {widest:g}]{advice}")


def distance(delta: Tensor, norm: Norm) -> Tensor:
    """Length ``(B,)`` of ``delta (B, C, H, W)``."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def column(values: Tensor, like: Tensor) -> Tensor:
    """Values ``(B,)``, one for each example, in the shape ``(B, 1, 1, 1)`` that goes with ``like (B, C, H, W)``."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def targets(goal: Goal, logits: Tensor, y: Tensor, index: Tensor) -> Tensor | None:
    """The class ``(B,)`` that every example is to get; None where any wrong one will do.

    Args:
        goal: goal of the adversary.
        logits: logits ``(B, K)`` of the clean images.
        y: labels ``(B,)``.
        index: positions ``(B,)`` of the examples in their source: those of ``targeted`` take the wrong classes in turn,
            so that every attack on an example has the same.
    """
    if goal == "untargeted":
        return None
    classes = logits.shape[1]
    if goal == "targeted":
        return (y + 1 + index.to(y) % (classes - 1)) % classes
    return logits.scatter(1, y[:, None], math.inf).argmin(1)
