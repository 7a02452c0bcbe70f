r"""PGD as an attack, and the gradient ladder of a refined defence.

PGD from several starts, each with a loss of its own in turn (:mod:`jembench.attacks.losses`), with the best iterate of
every example kept, by margin. Examples that are broken leave the batch. The first start is the best of the adversarials
that the attack is given, the others are random in the ball. Step t of T is :math:`a_t = a \epsilon\, \tfrac12 (1 +
\cos \pi t / T)`, or a constant :math:`a \epsilon`.

Against a defence that refines its input, what the gradient passes back is a rung of the ladder: ``none`` (the model
without its defence is attacked), ``straight-through`` (the refinement counts as the identity: BPDA, Athalye et al., ICML
2018), ``full`` (through every SGLD step); each over ``copies`` noisy copies (EOT). No rung is the truth: measured on one
model, any of them can be the strongest, so each also starts from what the rungs before it found, and the figure is the
worst case over all.

A stochastic victim is never left early on the strength of one draw: its best iterate of a restart is scored again on
fresh copies, and examples leave only between restarts, where even that score says broken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.losses import Loss, loss, margin
from jembench.attacks.pgd import climb, project, random_offset
from jembench.attacks.threat import Norm

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim
    from jembench.sgld import Gradient
    from jembench.types import Precision

SCORED = 4  # queries behind the score of a stochastic victim's adversarial


@dataclass(frozen=True)
class Rung:
    """PGD.

    Attributes:
        name: of the attack.
        steps: T, of a restart.
        restarts: starting points.
        losses: of the restarts, in turn.
        size: first step a, in units of eps.
        decay: whether the steps shrink.
        gradient: what passes back through a refinement.
        copies: noisy copies behind a query of a stochastic victim (EOT).
        precision: of the victim while crafting.
    """

    name: str = "pgd"
    steps: int = 40
    restarts: int = 5
    losses: tuple[Loss, ...] = ("ce", "margin")
    size: float = 1.0
    decay: bool = True
    gradient: Gradient = "full"
    copies: int | None = None
    precision: Precision = "fp32"
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=True, init=False)

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The best images of all restarts."""
        return search(self, victim, task, eps=task.threat.eps)


def search(attack: Rung, victim: Victim, task: Task, *, eps: float | Tensor) -> Crafted:
    """The best images of all restarts within balls of radius ``eps``, one number or one for each example ``(B,)``."""
    best = _Best(attack, victim, task)
    best.offer(task.x)
    for start in task.starts:
        best.offer(project(start.to(task.x), task.x, task.threat.norm, eps))
    for restart in range(attack.restarts):
        rows = best.unbroken()
        if not len(rows):
            break
        radius = eps[rows] if isinstance(eps, Tensor) else eps
        x = task.x[rows]
        if restart == 0 and task.starts:
            start = best.images[rows]
        else:
            normal = torch.randn(task.x.shape, generator=task.generator).to(task.x)[rows]
            start = project(x + random_offset(normal, task.threat.norm, radius), x, task.threat.norm, radius)
        climber = _Climber(best, attack.losses[restart % len(attack.losses)], rows)
        sizes = [attack.size * share * radius for share in _shares(attack)]
        end = climb(climber.loss, x, start, norm=task.threat.norm, eps=radius, sizes=sizes, watch=climber.watch)
        climber.finish(end)
    return Crafted(best.images, best.margins < 0, *best.tallies())


def _shares(attack: Rung) -> list[float]:
    """The length of every step over that of the first."""
    return [(1 + math.cos(math.pi * t / attack.steps)) / 2 if attack.decay else 1.0 for t in range(attack.steps)]


class _Best:
    """The best adversarial of every example so far, by margin, and what the gradients were like."""

    def __init__(self, attack: Rung, victim: Victim, task: Task) -> None:
        self.victim, self.task = victim, task
        self.images = task.x.clone()
        self.margins = torch.full(task.y.shape, math.inf, device=task.x.device)
        self._steps, self._zero, self._broken = (torch.zeros_like(self.margins) for _ in range(3))

    def offer(self, images: Tensor, rows: Tensor | None = None) -> None:
        """Score images of the rows (all by default) and keep those that are better."""
        rows = torch.arange(len(self.images), device=self.images.device) if rows is None else rows
        if not len(rows):
            return
        with torch.no_grad():
            scores = [self.margin(self.victim(images), rows) for _ in range(SCORED if self.victim.stochastic else 1)]
        self.keep(images, torch.stack(scores).mean(0), rows)

    def keep(self, images: Tensor, margins: Tensor, rows: Tensor) -> None:
        """Keep what is better than before; a margin that is NaN is not."""
        better = margins < self.margins[rows]
        if bool(better.any()):
            chosen = rows[better]
            self.images[chosen], self.margins[chosen] = images[better], margins[better]

    def margin(self, logits: Tensor, rows: Tensor) -> Tensor:
        target = self.task.target
        return margin(logits, self.task.y[rows], None if target is None else target[rows])

    def unbroken(self) -> Tensor:
        return (~(self.margins < 0)).nonzero().squeeze(1)

    def tally(self, rows: Tensor, zero: Tensor, broken: Tensor) -> None:
        self._steps[rows] += 1
        self._zero[rows] += zero.float()
        self._broken[rows] += broken.float()

    def tallies(self) -> tuple[Tensor, Tensor]:
        steps = self._steps.clamp_min(1)
        return self._zero / steps, self._broken / steps


class _Climber:
    """One restart: the loss that it climbs, and what it does with every iterate."""

    def __init__(self, best: _Best, name: Loss, rows: Tensor) -> None:
        self._best, self._name, self._rows = best, name, rows
        self._margins = best.margins[rows]
        self._start = rows
        self._found = best.task.x[rows].clone()
        self._low = torch.full_like(self._margins, math.inf)

    def loss(self, images: Tensor) -> Tensor:
        task, rows = self._best.task, self._rows
        logits = self._best.victim(images)
        target = None if task.target is None else task.target[rows]
        self._margins = margin(logits.detach(), task.y[rows], target)
        return loss(self._name, logits, task.y[rows], target)

    def watch(self, images: Tensor, gradient: Tensor) -> Tensor | None:
        largest = gradient.flatten(1).abs().amax(1)
        if not bool(((largest > 0) & largest.isfinite()).all()):
            bad = ~largest.isfinite()
            self._best.tally(self._rows, largest == 0, bad)
            gradient.nan_to_num_(0.0, 0.0, 0.0)
        else:
            self._best._steps[self._rows] += 1
        if self._best.victim.stochastic:
            self._note(images)
            return None
        self._best.keep(images, self._margins, self._rows)
        broken = self._margins < 0
        if not bool(broken.any()):
            return None
        kept = (~broken).nonzero().squeeze(1)
        self._rows = self._rows[kept]
        return kept

    def finish(self, end: Tensor) -> None:
        """The last iterate counts too; of a stochastic victim, the best one is scored again."""
        self._best.offer(end, self._rows)
        if self._best.victim.stochastic:
            self._best.offer(self._found, self._start)

    def _note(self, images: Tensor) -> None:
        better = self._margins < self._low
        self._found[better], self._low[better] = images[better], self._margins[better]
