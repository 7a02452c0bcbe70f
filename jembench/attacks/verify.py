r"""Verification: what an adversarial image really does, whatever its attack says.

Every image is checked in float32: finite, in [0, 1], in the ball (up to :data:`~jembench.attacks.threat.TOLERANCE`;
what is out by less than :data:`ROUNDING` is moved back and tested there). Then the model is asked anew. A stochastic
one is asked on ``draws`` fresh draws that no attack has seen: its **vote** is the class with the most draws, its
**one-shot** accuracy the share of draws that are correct. An image that fails the check counts as not broken, and
stays in the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from jembench.attacks import pgd
from jembench.attacks.losses import margin
from jembench.attacks.threat import TOLERANCE, Threat, column, distance
from jembench.attacks.victim import Meter, Victim

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDING = 1e-5  # of eps and of pixels: what sums in float32 may be out by


@dataclass(frozen=True)
class Verified:
    """The verdict on images ``(B, C, H, W)``.

    Attributes:
        images: images that were judged; the clean ones where an adversarial was not valid.
        valid: whether the adversarial was finite, in range and in the ball, ``(B,)``.
        excess: by how much it was out of the ball or of [0, 1], ``(B,)`` float64; infinite where it was not finite.
        distance: distance from the clean image in the norm of the threat, ``(B,)`` float64.
        vote: whether the goal was **missed** by the vote: the label (untargeted) or not the target, ``(B,)``.
        one_shot: share of draws that missed the goal, ``(B,)``.
        margin: mean over draws of the margin of :func:`jembench.attacks.losses.margin`, ``(B,)``.
        meter: rows that passed through the network.
    """

    images: Tensor
    valid: Tensor
    excess: Tensor
    distance: Tensor
    vote: Tensor
    one_shot: Tensor
    margin: Tensor
    meter: Meter

    def columns(self) -> dict[str, NDArray[Any]]:
        """As record columns; images flat."""
        return {
            "adversarial": self.images.flatten(1).float().cpu().numpy(),
            "valid": self.valid.int().cpu().numpy(),
            "excess": self.excess.cpu().numpy(),
            "distance": self.distance.cpu().numpy(),
            "vote": self.vote.int().cpu().numpy(),
            "one_shot": self.one_shot.cpu().numpy(),
            "margin": self.margin.cpu().numpy(),
        }


def verify(
    model: Any,
    x: Tensor,
    y: Tensor,
    adversarial: Tensor,
    *,
    threat: Threat,
    target: Tensor | None,
    draws: int,
    generator: Generator,
) -> Verified:
    """Judge adversarial images.

    Args:
        model: classifier of the contract, with its defence.
        x: clean images ``(B, C, H, W)`` in [0, 1].
        y: labels ``(B,)``.
        adversarial: adversarial images ``(B, C, H, W)`` of any floating type.
        threat: ball that the images must lie in; ``eps`` may be infinite, for attacks of minimal distance.
        target: classes ``(B,)`` of a targeted goal; None for an untargeted one.
        draws: number of fresh draws of a stochastic model.
        generator: source of the noise of a stochastic model: not one that an attack has drawn from.
    """
    images, valid, excess = _validity(x, adversarial.detach().to(x), threat)
    victim = Victim(model, generator=generator)
    rounds = draws if victim.stochastic else 1
    goal = y if target is None else target
    votes = torch.zeros((len(x), 0), dtype=torch.int64, device=x.device)
    total = torch.zeros(len(x), dtype=torch.float32, device=x.device)
    classes = 0
    with torch.no_grad():
        for _ in range(rounds):
            f = victim(images)
            classes = f.shape[1]
            prediction = torch.where(f.isnan().any(1), classes, f.argmax(1))  # NaN logits say no class: never right
            votes = torch.cat([votes, prediction[:, None]], dim=1)
            total += margin(f, y, target) / rounds
    counts = torch.nn.functional.one_hot(votes, classes + 1).sum(1)
    hit, share = counts.argmax(1) == goal, (votes == goal[:, None]).float().mean(1)
    vote, one_shot = (hit, share) if target is None else (~hit, 1 - share)
    length = distance((images - x).double(), threat.norm)
    return Verified(images, valid, excess, length, vote, one_shot, total, victim.meter)


def _validity(x: Tensor, adversarial: Tensor, threat: Threat) -> tuple[Tensor, Tensor, Tensor]:
    """The images to judge, which of the adversarials are valid, and by how much they are out."""
    finite = adversarial.flatten(1).isfinite().all(1)
    candidates = torch.where(column(finite, x), adversarial, x)
    overshoot = distance((candidates - x).double(), threat.norm) - threat.eps
    outside = (candidates.double() - candidates.double().clamp(0, 1)).flatten(1).abs().amax(1)
    excess = torch.maximum(overshoot, outside).clamp_min(0.0)
    if bool(((excess > TOLERANCE) & (excess <= ROUNDING)).any()):
        finite_eps = min(threat.eps, float(x[0].numel()))  # no image is farther away, in either norm
        candidates = pgd.project(candidates, x, threat.norm, finite_eps)
    valid = finite & (excess <= ROUNDING)
    images = torch.where(column(valid, x), candidates, x)
    return images, valid, torch.where(finite, excess, torch.full_like(excess, float("inf")))
