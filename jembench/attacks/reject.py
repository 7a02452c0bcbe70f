r"""Evasion: an attack on a classifier that may abstain where log p(x) is low.

The model answers only where :math:`\log p(x) \ge \tau`. The attacker wants an image in the ball that is misclassified,
margin m(x) < 0 (:mod:`jembench.attacks.losses`), **and** accepted. Both violations are in nats. The restarts take
three losses in turn, all selective: a constraint that holds pulls nowhere.

- **joint**: what is still violated, summed, with the cross-entropy in the place of the margin, then with the margin:

.. math::
    L_1(x) = -[m \ge 0] \log p(y|x) - [\tau - \log p(x)]_+, \qquad L_3(x) = -[m(x)]_+ - [\tau - \log p(x)]_+;

- **orthogonal**, between the two: what is violated is climbed along its gradient less the part that would change the
  other,

.. math::
    u = [m \ge 0]\; \frac{g_m - P_p\, g_m}{\lVert g_m - P_p\, g_m \rVert}
      + [\log p < \tau]\; \frac{g_p - P_m\, g_p}{\lVert g_p - P_m\, g_p \rVert}, \qquad
    P_v\, g = \frac{v^\top g}{v^\top v}\, v,

with :math:`g_m = -\nabla m` and :math:`g_p = \nabla \log p`: where one holds, the other is followed along its level set
(both ideas: Bryniarski et al., ICLR 2022, arXiv 2106.15023). None of the losses is always the strongest.

The image with the smallest largest violation is kept; an example leaves once both constraints hold. The first two of
three restarts begin at the image that is kept, at first the best of the adversarials of plain attacks, the third at a
random point of the ball. The steps are those of a rung (:mod:`jembench.attacks.ladder`). For a deterministic victim: a
stochastic one is taken at its single draws, and the verdict is for verification.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.losses import loss, margin
from jembench.attacks.pgd import climb, decayed, direction, project, random_offset
from jembench.attacks.threat import column

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim

SLACK = 1e-6  # of tau: what log p(x) differs by in float32 from one batch to another


def evade(victim: Victim, task: Task, tau: float, *, steps: int, restarts: int) -> Crafted:
    """Images that are misclassified and accepted, where some were found; else those that violate least.

    Args:
        victim: model under attack, with logits and a log density.
        task: examples of an untargeted threat, whose starts are tried first.
        tau: log density in nats below which the model abstains; minus infinity if it never does.
        steps: number T of steps of a restart, the first of them of length eps; they shrink.
        restarts: number of starting points of every example.
    """
    search = _Search(victim, task, tau)
    threat = task.threat
    for start in (task.x, *task.starts):
        search.offer(project(start.to(task.x), task.x, threat.norm, threat.eps), search.rows)
    sizes = [threat.eps * share for share in decayed(steps)]
    for restart in range(restarts):
        if not len(rows := search.unsolved()):
            break
        x, start = task.x[rows], search.images[rows]
        search.rows, place = rows, restart % 3
        if place == 2 or (restart == 0 and not task.starts) or (place == 1 and not math.isfinite(tau)):
            normal = torch.randn(task.x.shape, generator=task.generator).to(task.x)[rows]
            start = project(x + random_offset(normal, threat.norm, threat.eps), x, threat.norm, threat.eps)
        objective = search.losses[place]
        end = climb(objective, x, start, norm=threat.norm, eps=threat.eps, sizes=sizes, watch=search.watch)
        search.offer(end, search.rows)
    return Crafted(search.images, search.worst < 0)


class _Search:
    """The least violating image of every example, and the losses of a restart over the rows that are left."""

    def __init__(self, victim: Victim, task: Task, tau: float) -> None:
        self._victim, self._task = victim, task
        self._tau = tau + SLACK * abs(tau) if math.isfinite(tau) else tau
        self.images = task.x.clone()
        self.worst = torch.full(task.y.shape, math.inf, device=task.x.device)
        self.rows = torch.arange(len(task.y), device=task.x.device)
        self._violation = self.worst
        # Without a finite threshold there is no level set of log p to follow.
        self.losses = (self.first, self.orthogonal if math.isfinite(tau) else self.joint, self.joint)

    def unsolved(self) -> Tensor:
        """Rows without a success."""
        return (~(self.worst < 0)).nonzero().squeeze(1)

    def offer(self, images: Tensor, rows: Tensor) -> None:
        """Keep the images of these rows that violate less."""
        if len(rows):
            with torch.no_grad():
                m, p, _ = self._gaps(images, rows)
                self._keep(images, _largest(m, p), rows)

    def first(self, images: Tensor) -> Tensor:
        """L_1."""
        m, p, f = self._violations(images)
        return (m >= 0) * loss("ce", f, self._task.y[self.rows]) - p.relu()

    def joint(self, images: Tensor) -> Tensor:
        """L_3: minus the sum of the violations."""
        m, p, _ = self._violations(images)
        return -(m.relu() + p.relu())

    def orthogonal(self, images: Tensor) -> Tensor:
        """A loss whose gradient is u."""
        m, p, _ = self._violations(images)
        g_m, g_p = (-torch.autograd.grad(part.sum(), images)[0] for part in (m, p))
        u = column(m >= 0, images) * _across(g_m, g_p) + column(p > 0, images) * _across(g_p, g_m)
        return (u * images).flatten(1).sum(1)

    def watch(self, images: Tensor, gradient: Tensor) -> Tensor | None:
        """Keep what is better; rows that succeed leave."""
        self._keep(images, self._violation, self.rows)
        successes = self._violation < 0
        if not bool(successes.any()):
            return None
        rows = (~successes).nonzero().squeeze(1)
        self.rows = self.rows[rows]
        return rows

    def _keep(self, images: Tensor, violation: Tensor, rows: Tensor) -> None:
        better = violation < self.worst[rows]
        index = rows[better]
        self.images[index], self.worst[index] = images[better], violation[better]

    def _violations(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m, p, f = self._gaps(images, self.rows)
        self._violation = _largest(m.detach(), p.detach())
        return m, p, f

    def _gaps(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """By how much each constraint is missed, in nats ``(B,)``, and the logits; it holds below 0, and at most 0."""
        f = self._victim(images)
        return margin(f, self._task.y[rows]), self._tau - self._victim.log_density(images), f


def _largest(m: Tensor, p: Tensor) -> Tensor:
    """The larger violation; -1 where both constraints hold."""
    return torch.where((m < 0) & (p <= 0), torch.full_like(m, -1.0), torch.maximum(m, p).clamp_min(0.0))


def _across(g: Tensor, v: Tensor) -> Tensor:
    """The unit vector along g less its part along v."""
    v = direction(v, "l2")
    return direction(g - column((g * v).flatten(1).sum(1), g) * v, "l2")
