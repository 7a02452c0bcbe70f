r"""Evasion: an attack on a classifier that may abstain where log p(x) is low.

The model answers only where :math:`\log p(x) \ge \tau`. The attacker wants an image in the ball that is misclassified
**and** accepted. With the margin m of :mod:`jembench.attacks.losses` (below 0 where misclassified) it climbs

.. math::
    L(x) = -\bigl[\, m(x) + \kappa_m \bigr]_+ / s_m - c\,\bigl[\, \tau - \log p(x) + \kappa_p \bigr]_+ / s_p,

whose gradient is that of what is still violated (selective, cf. Bryniarski et al., ICLR 2022, arXiv 2106.15023), each
in units of its own scale at the start of the restart, with another weight c in every restart. The iterate with the
smallest largest violation is kept; an example leaves once both hold. It starts from the worst adversarials of the
plain attacks, and from random points of the ball.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.losses import margin
from jembench.attacks.pgd import climb, project, random_offset

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim

WEIGHTS = (1.0, 10.0, 0.1)  # c of the restarts, in turn
SLACK = 1e-3  # kappa, in units of each scale: beyond the constraint, not on it


def evade(victim: Victim, task: Task, tau: float, *, steps: int, restarts: int) -> Crafted:
    """Images that are misclassified and accepted, where some were found; else the least violating ones.

    Args:
        victim: with logits and a log density.
        task: untargeted; its starts are tried first.
        tau: the log density below which the model abstains; minus infinity if it never does.
        steps: of a restart.
        restarts: starting points for each example.
    """
    search = _Search(victim, task, tau)
    search.offer(task.x)
    threat = task.threat
    for start in task.starts:
        search.offer(project(start.to(task.x), task.x, threat.norm, threat.eps))
    for restart in range(restarts):
        rows = search.left()
        if not len(rows):
            break
        x = task.x[rows]
        if restart == 0 and task.starts:
            start = search.images[rows]
        else:
            normal = torch.randn(task.x.shape, generator=task.generator).to(task.x)[rows]
            start = project(x + random_offset(normal, threat.norm, threat.eps), x, threat.norm, threat.eps)
        search.begin(rows, WEIGHTS[restart % len(WEIGHTS)])
        sizes = [threat.eps * (1 + math.cos(math.pi * t / steps)) / 2 for t in range(steps)]
        end = climb(search.loss, x, start, norm=threat.norm, eps=threat.eps, sizes=sizes, watch=search.watch)
        search.offer(end, search.rows)
    return Crafted(search.images, search.worst <= 0)


class _Search:
    """The least violating image of every example, and the loss of a restart."""

    def __init__(self, victim: Victim, task: Task, tau: float) -> None:
        self._victim, self._task, self._tau = victim, task, tau
        self.images = task.x.clone()
        self.worst = torch.full(task.y.shape, math.inf, device=task.x.device)
        self.rows = torch.arange(len(task.y), device=task.x.device)
        with torch.no_grad():
            m, p = self._measured(task.x, self.rows)
        self._scales = m.abs().median().clamp_min(1e-6), (p - p.mean()).abs().median().clamp_min(1e-6)
        self._violation = self.worst
        self._weight = 1.0

    def left(self) -> Tensor:
        """Rows without a success."""
        return (~(self.worst <= 0)).nonzero().squeeze(1)

    def offer(self, images: Tensor, rows: Tensor | None = None) -> None:
        """Keep images that violate less."""
        rows = torch.arange(len(self.images), device=self.images.device) if rows is None else rows
        if len(rows):
            with torch.no_grad():
                self._keep(images, self._violations(*self._measured(images, rows)).amax(0), rows)

    def begin(self, rows: Tensor, weight: float) -> None:
        """Another restart."""
        self.rows, self._weight = rows, weight

    def loss(self, images: Tensor) -> Tensor:
        violations = self._violations(*self._measured(images, self.rows))
        self._violation = violations.detach().amax(0)
        m, p = (violations + SLACK).relu()
        return -(m + self._weight * p)

    def watch(self, images: Tensor, gradient: Tensor) -> Tensor | None:
        gradient.nan_to_num_(0.0, 0.0, 0.0)
        self._keep(images, self._violation, self.rows)
        done = self._violation <= 0
        if not bool(done.any()):
            return None
        kept = (~done).nonzero().squeeze(1)
        self.rows = self.rows[kept]
        return kept

    def _keep(self, images: Tensor, violation: Tensor, rows: Tensor) -> None:
        better = violation < self.worst[rows]
        if bool(better.any()):
            chosen = rows[better]
            self.images[chosen], self.worst[chosen] = images[better], violation[better]

    def _violations(self, m: Tensor, p: Tensor) -> Tensor:
        """How far each constraint is from holding, in units of its scale, ``(2, B)``; at most 0 where it holds."""
        if self._tau == -math.inf:
            return torch.stack([m / self._scales[0], torch.full_like(m, -math.inf).detach()])
        return torch.stack([m / self._scales[0], (self._tau - p) / self._scales[1]])

    def _measured(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return margin(self._victim(images), self._task.y[rows]), self._victim.log_density(images)
