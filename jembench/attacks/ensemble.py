"""AutoAttack and its Square as pyautoattack runs them; :mod:`jembench.attacks.autoattack` says what they are."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jembench.attacks.contract import Attack, Crafted, Task
from jembench.attacks.losses import margin
from jembench.attacks.thirdparty import Shielded, borrowed, seed
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim

NORMS: dict[str, str] = {"linf": "Linf", "l2": "L2"}
NEEDS = {"apgd-t": 4, "apgd-dlr": 3}  # classes, by the DLR loss


def autoattack(attack: Attack, victim: Victim, task: Task, *, version: str) -> Crafted:
    """The adversarials of the first attack that broke each example; the clean image where none did.

    Raises:
        UserError: if the task, or a victim of this kind, is not for the attack.
    """
    with borrowed(attack, task):
        if victim.stochastic != (version == "rand"):
            kind, right = ("stochastic", "autoattack-rand") if victim.stochastic else ("deterministic", "autoattack")
            raise UserError(f"attack {attack.name!r} is not for a {kind} model: use {right!r}")
        parts = _parts(victim, task, version)
        images, predictions = parts.run_standard_evaluation(task.x.clone(), task.y.clone(), batch_size=len(task.x))
        return Crafted(images.detach(), predictions != task.y)


def _parts(victim: Victim, task: Task, version: str) -> Any:
    """pyautoattack's ensemble, without the parts that need more classes."""
    model, norm = Shielded(victim), NORMS[task.threat.norm]
    arguments = {"eps": task.threat.eps, "norm": norm, "seed": seed(task), "version": version}
    parts = import_module("pyautoattack").AutoAttack(model, device=task.x.device, **arguments)
    classes = model(task.x[:1]).shape[1]
    if classes < 10:
        parts.apgd_targeted.n_target_classes = parts.fab.n_target_classes = classes - 1
    parts.attacks_to_run = [part for part in parts.attacks_to_run if NEEDS.get(part, 0) <= classes]
    return parts


def square(attack: Attack, victim: Victim, task: Task, *, queries: int) -> Crafted:
    """The images of the lowest margin that the queries have seen.

    Raises:
        UserError: if the task is not for the attack.
    """
    classes = task.y if task.target is None else task.target
    with borrowed(attack, task):
        squares = _square()(
            Shielded(victim),
            norm=NORMS[task.threat.norm],
            n_queries=queries,
            eps=task.threat.eps,
            targeted=task.target is not None,
            device=task.x.device,
        )
        squares.init_hyperparam(task.x)
        images = task.x.clone()
        rows = _misses(victim, task, images)
        if len(rows):
            torch.manual_seed(seed(task))
            # Its method `perturb` would ask a stochastic victim once more, and forget what is not broken twice.
            _, images[rows] = squares.attack_single_run(task.x[rows].clone(), classes[rows].clone())
        claims = torch.ones_like(task.y, dtype=torch.bool)
        claims[_misses(victim, task, images)] = False
        return Crafted(images.detach(), claims)


def _square() -> Any:
    """pyautoattack's attack, where a margin of exactly 0 is a success: its own loop ends in an error there."""
    kind: Any = import_module("pyautoattack.square").SquareAttack

    class ZeroMarginSquare(kind):  # type: ignore[misc]
        def margin_and_loss(self, x: Tensor, y: Tensor) -> Any:
            margins, losses = super().margin_and_loss(x, y)
            return margins.where(margins > 0, margins.nan_to_num(0.0).clamp_max(-1e-12)), losses

    return ZeroMarginSquare


def _misses(victim: Victim, task: Task, images: Tensor) -> Tensor:
    """The rows that one query does not show to be broken."""
    with torch.no_grad():
        return (~(margin(victim(images), task.y, task.target) < 0)).nonzero().squeeze(1)
