"""The ascent of SPSA (:mod:`jembench.attacks.spsa`): gradients that are estimated from queries of a victim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.pgd import climb
from jembench.attacks.search import Best, Climber

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim

ROWS = 4096  # most rows of a query: what keeps memory bounded


def ascend(victim: Victim, task: Task, *, steps: int, samples: int, delta: float, size: float) -> Crafted:
    """The images of the lowest margin that an ascent from the best start has seen."""
    best = Best(victim, task)
    rows = torch.arange(len(task.x), device=task.x.device) if victim.stochastic else best.unbroken()
    if len(rows):
        ascent = Ascent(best, rows, samples=samples, delta=delta)
        norm, eps = task.threat.norm, task.threat.eps
        sizes = [size * eps] * steps
        end = climb(ascent.slope, task.x[rows], best.images[rows], norm=norm, eps=eps, sizes=sizes, watch=ascent.watch)
        ascent.finish(end)
    return Crafted(best.images, best.broken())


class Ascent(Climber):
    """One ascent along estimates, whose iterates are scored by one query each."""

    def __init__(self, best: Best, rows: Tensor, *, samples: int, delta: float) -> None:
        super().__init__(best, rows, best.images[rows])
        self._samples, self._delta = samples, delta

    def slope(self, images: Tensor) -> Tensor:
        """A function ``(B,)`` of the images whose gradient is the estimate, upwards in minus the margin."""
        return -(images * self._estimate(images.detach())).flatten(1).sum(1)

    def watch(self, images: Tensor, gradient: Tensor) -> Tensor | None:
        """Score every iterate."""
        return self.follow(images, self._margins(images, self._rows))

    def _estimate(self, images: Tensor) -> Tensor:
        task, delta, n = self._best.task, self._delta, self._samples
        # Drawn for every example, so that one's directions do not depend on which others are left.
        bits = torch.randint(0, 2, (n, *task.x.shape), generator=task.generator, dtype=torch.int8)
        v = (2 * bits - 1).to(images)[:, self._rows]
        total = torch.zeros_like(images)
        at_once = max(1, ROWS // (2 * len(images)))
        for first in range(0, n, at_once):
            part = v[first : first + at_once]
            pair = torch.cat([images + delta * part, images - delta * part]).clamp(0, 1)
            up, down = self._margins(pair.flatten(0, 1), self._rows.repeat(len(pair))).reshape(2, *part.shape[:2])
            total += torch.einsum("nb,nb...->b...", up - down, part)
        return total / (2 * delta * n)

    def _margins(self, images: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return self._best.margin(self._best.victim(images), rows)
