r"""SPSA: gradients from scores alone, through any noise (Uesato et al., ICML 2018, arXiv 1802.05666; Spall, 1992).

With Rademacher directions :math:`v_i \in \{-1, 1\}^D` and the margin m, below 0 where the goal is reached,

.. math::
    \hat g(x) = \frac1n \sum_{i=1}^n \frac{m(x + \delta v_i) - m(x - \delta v_i)}{2 \delta}\, v_i,
    \qquad x_{t+1} = \Pi_{B_\epsilon \cap [0,1]^D} \bigl( x_t - a \epsilon\, u(\hat g(x_t)) \bigr)

with u and the projection of :mod:`jembench.attacks.pgd`. The two queries are clipped to [0, 1], so at a pixel on the
edge the difference is one-sided. No gradient is asked for: a defence that breaks or hides its own stands in no way.

The iterate of the lowest margin is kept. Broken examples leave the batch of a deterministic victim; of a stochastic one
none does, and its lowest iterate and its last are scored anew on several queries, like the clean image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jembench.attacks.contract import Crafted, Task
from jembench.types import Norm, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from jembench.attacks.search import Best
    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision

ROWS = 4096  # most rows of a query: what keeps memory bounded


@dataclass(frozen=True)
class SPSA:
    """The attack; ``steps * (2 * samples + 1)`` queries for an image.

    Attributes:
        steps: number T of steps.
        samples: number n of directions of an estimate.
        delta: half of the distance of the two queries in every pixel, in units of the [0, 1] pixel range.
        size: length a of a step, in units of eps.
        copies: number of noisy copies behind a query of a stochastic victim; None for the defence's own votes.
    """

    steps: int = 40
    samples: int = 32
    delta: float = 0.05
    size: float = 0.2
    copies: int | None = None
    name: str = field(default="spsa", init=False)
    gradient: Gradient = field(default="full", init=False)
    precision: Precision = field(default="fp32", init=False)
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.samples < 1 or not self.delta > 0 or not self.size > 0:
            raise UserError(f"attack 'spsa' needs steps, samples, delta and size above 0, not {self}")

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The images of the lowest margin."""
        import torch

        from jembench.attacks.pgd import climb, project
        from jembench.attacks.search import Best

        best = Best(victim, task)
        best.offer(task.x)
        for start in task.starts:
            best.offer(project(start.to(task.x), task.x, task.threat.norm, task.threat.eps))
        rows = torch.arange(len(task.x), device=task.x.device) if victim.stochastic else best.unbroken()
        if len(rows):
            search = _Ascent(self, best, rows)
            sizes = [self.size * task.threat.eps] * self.steps
            norm, eps = task.threat.norm, task.threat.eps
            end = climb(
                search.slope, task.x[rows], best.images[rows], norm=norm, eps=eps, sizes=sizes, watch=search.watch
            )
            search.finish(end)
        return Crafted(best.images, best.broken())


class _Ascent:
    """One ascent: the rows that are left, and the lowest iterate of each by one query."""

    def __init__(self, attack: SPSA, best: Best, rows: Tensor) -> None:
        self._attack, self._best, self._rows = attack, best, rows
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
        self._best.offer(end, self._rows)
        if self._best.victim.stochastic:
            self._best.offer(self._iterates, self._all)

    def _estimate(self, images: Tensor) -> Tensor:
        import torch

        task, delta, n = self._best.task, self._attack.delta, self._attack.samples
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
        import torch

        with torch.no_grad():
            return self._best.margin(self._best.victim(images), rows)
