"""The search of a rung: restarts of the one PGD loop over the examples that are left, and the best iterate of each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.losses import Loss, loss, margin
from jembench.attacks.pgd import climb, decayed, project, random_offset

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim

SCORE_QUERIES = 4  # queries behind the score of a stochastic victim's adversarial
VERDICT_QUERIES = 8  # fresh ones behind the word that it is broken


def search(
    victim: Victim,
    task: Task,
    *,
    eps: float | Tensor,
    steps: int,
    restarts: int,
    losses: tuple[Loss, ...],
    size: float = 1.0,
    decay: bool = True,
    confident: bool = False,
) -> Crafted:
    """The best images of all restarts within balls of radius ``eps``, one number or one for each example ``(B,)``.

    The settings are those of :class:`jembench.attacks.ladder.Rung`.
    """
    best = Best(victim, task, eps=eps, confident=confident)
    for restart in range(restarts):
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
        climber = _GradientClimber(best, losses[restart % len(losses)], rows)
        shares = decayed(steps) if decay else [1.0] * steps
        sizes = [size * share * radius for share in shares]
        end = climb(climber.loss, x, start, norm=task.threat.norm, eps=radius, sizes=sizes, watch=climber.watch)
        climber.finish(end)
    return Crafted(best.images, best.broken(), *best.tallies())


class Best:
    """The best adversarial of every example so far, by margin, and what the gradients were like.

    Args:
        victim: model under attack, which is asked for logits.
        task: examples of the attack, with its threat; the clean images and the starts are the first that are scored.
        eps: radius of the balls that the starts are moved into, a number or ``(B,)``; by default that of the threat.
        confident: whether broken examples are still searched.
    """

    def __init__(
        self, victim: Victim, task: Task, *, eps: float | Tensor | None = None, confident: bool = False
    ) -> None:
        self.victim, self.task = victim, task
        self.confident = confident
        self.images = task.x.clone()
        self._rows = torch.arange(len(task.x), device=task.x.device)
        self.margins = torch.full(task.y.shape, math.inf, device=task.x.device)
        self._steps, self._zero, self._broken = (torch.zeros_like(self.margins) for _ in range(3))
        self.offer(task.x)
        for start in task.starts:
            radius = task.threat.eps if eps is None else eps
            self.offer(project(start.to(task.x), task.x, task.threat.norm, radius))

    def offer(self, images: Tensor, rows: Tensor | None = None) -> None:
        """Score images of the rows (all by default) and keep those that are better."""
        rows = self._rows if rows is None else rows
        if not len(rows):
            return
        with torch.no_grad():
            scores = [
                self.margin(self.victim(images), rows) for _ in range(SCORE_QUERIES if self.victim.stochastic else 1)
            ]
        self.keep(images, torch.stack(scores).mean(0), rows)

    def keep(self, images: Tensor, margins: Tensor, rows: Tensor) -> None:
        """Keep what is better than before; a margin that is NaN is not."""
        better = margins < self.margins[rows]
        if bool(better.any()):
            index = rows[better]
            self.images[index], self.margins[index] = images[better], margins[better]

    def margin(self, logits: Tensor, rows: Tensor) -> Tensor:
        """How far the goal of the rows is."""
        target = self.task.target
        return margin(logits, self.task.y[rows], None if target is None else target[rows])

    def unbroken(self) -> Tensor:
        """The rows that are left for another restart."""
        if self.confident:
            return self._rows
        if self.victim.precision != "fp32" and not self.victim.stochastic:
            with torch.no_grad(), self.victim.exact():  # what only rounding broke is searched on
                self.margins = self.margin(self.victim(self.images), self._rows)
        return (~self.broken()).nonzero().squeeze(1)

    def broken(self) -> Tensor:
        """Which examples are broken; of a stochastic victim by fresh queries, by one standard deviation of a query.

        The lowest of many noisy scores is a lucky one, and an image on the boundary is judged by luck.
        """
        if not self.victim.stochastic:
            return self.margins < 0
        with torch.no_grad():
            fresh = torch.stack([self.margin(self.victim(self.images), self._rows) for _ in range(VERDICT_QUERIES)])
        return fresh.mean(0) < -fresh.std(0)

    def tally(self, rows: Tensor, largest: Tensor) -> None:
        """Count a gradient of the rows by its largest element: whether it was 0, or not finite."""
        self._steps[rows] += 1
        low, high = largest.aminmax()
        if not 0 < low.item() <= high.item() < math.inf:  # NaN is nowhere
            self._zero[rows] += (largest == 0).float()
            self._broken[rows] += (~largest.isfinite()).float()

    def tallies(self) -> tuple[Tensor, Tensor]:
        """Share of gradients that were 0, and not finite, ``(B,)`` each."""
        steps = self._steps.clamp_min(1)
        return self._zero / steps, self._broken / steps


class Climber:
    """One ascent over the rows that are left: what it keeps of every iterate.

    Args:
        best: best adversarials of all ascents so far.
        rows: rows of the examples at the start.
        images: images ``(R, C, H, W)`` that are kept of a stochastic victim where no iterate has a margin.
    """

    def __init__(self, best: Best, rows: Tensor, images: Tensor) -> None:
        self._best, self._rows, self._start = best, rows, rows
        self._iterates, self._low = images.clone(), best.margins.new_full(rows.shape, math.inf)

    def follow(self, images: Tensor, margins: Tensor) -> Tensor | None:
        """Keep what is better; rows that are broken do not go on, but of a stochastic victim all do."""
        if self._best.victim.stochastic:
            better = margins < self._low
            self._iterates[better], self._low[better] = images[better], margins[better]
            return None
        self._best.keep(images, margins, self._rows)
        broken = margins < 0
        if self._best.confident or not bool(broken.any()):
            return None
        rows = (~broken).nonzero().squeeze(1)
        self._rows = self._rows[rows]
        return rows

    def finish(self, end: Tensor) -> None:
        """The last iterate counts too; of a stochastic victim, the best one is scored again."""
        self._best.offer(end, self._rows)
        if self._best.victim.stochastic:
            self._best.offer(self._iterates, self._start)


class _GradientClimber(Climber):
    """One restart of PGD: the loss that it climbs, and the margins of its last iterate."""

    def __init__(self, best: Best, name: Loss, rows: Tensor) -> None:
        super().__init__(best, rows, best.task.x[rows])
        self._name, self._margins = name, best.margins[rows]

    def loss(self, images: Tensor) -> Tensor:
        task, rows = self._best.task, self._rows
        logits = self._best.victim(images)
        y, target = task.y[rows], None if task.target is None else task.target[rows]
        gap = margin(logits if self._name == "margin" else logits.detach(), y, target)
        self._margins = gap.detach()
        return -gap if self._name == "margin" else loss(self._name, logits, y, target)

    def watch(self, images: Tensor, gradient: Tensor) -> Tensor | None:
        self._best.tally(self._rows, torch.linalg.vector_norm(gradient.flatten(1), math.inf, 1))
        return self.follow(images, self._margins)
