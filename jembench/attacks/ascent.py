"""The ascent of SPSA (:mod:`jembench.attacks.spsa`): gradients that are estimated from queries of a victim."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.pgd import climb
from jembench.attacks.search import Best

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


class Ascent:
    """One ascent: the rows that are left, and the lowest iterate of each by one query."""

    def __init__(self, best: Best, rows: Tensor, *, samples: int, delta: float) -> None:
        self._best, self._rows, self._samples, self._delta = best, rows, samples, delta
        self._all, self._iterates = rows, best.images[rows].clone()
        self._low = best.margins.new_full(rows.shape, math.inf)

    def slope(self, images: Tensor) -> Tensor:
        """A function ``(B,)`` of the images whose gradient is the estimate, upwards in minus the margin."""
        return -(images * self._estimate(images.detach())).flatten(1).sum(1)

    def watch(self, images: Tensor, gradient: Tensor) -> Tensor | None:
        """Score every iterate; rows that are broken do not go on."""
        margins = self._margins(images, self._rows)
        if self._best.victim.stochastic:
            better = margins < self._low
            self._iterates[better], self._low[better] = images[better], margins[better]
            return None
        self._best.keep(images, margins, self._rows)
        if not bool((margins < 0).any()):
            return None
        rows = (~(margins < 0)).nonzero().squeeze(1)
        self._rows = self._rows[rows]
        return rows

    def finish(self, end: Tensor) -> None:
        """The last iterate counts too."""
        self._best.offer(end, self._rows)
        if self._best.victim.stochastic:
            self._best.offer(self._iterates, self._all)

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
