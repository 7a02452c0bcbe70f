"""The brackets of :mod:`jembench.attacks.distance`: what is known of the nearest adversarial of every example."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.losses import margin
from jembench.attacks.pgd import direction, project
from jembench.attacks.threat import column, distance
from jembench.types import Norm

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim

QUERIES = 8  # behind the verdict on one image of a stochastic victim
CLASSES = 9  # largest logits but the label's, whose boundaries are looked for from the clean image
BEYOND = 1.002  # how far behind a boundary, taken as linear, a point is tried
HALVINGS = 5  # of the line between an image and its adversarial
PROJECTIONS = 4  # onto the boundary, of one success
NEAREST = 1e-6  # where a distance is as good as 0
ROUNDING = 2e-6  # of the largest logit: a margin below 0 by less depends on the batch
OUTWARDS = (1.0, 1.02, 1.05, 1.1, 1.2, 1.4, 1.7, 2.0)  # of the distance, until an image holds on fresh queries


class RadiusBracket:
    """What is known of every example: nothing was found within ``low``; its image is adversarial, at ``high``.

    Args:
        victim: the model under attack.
        task: the examples; the starts of other attacks and the linear boundaries are tried at once.
        tolerance: relative difference of the ends at which an example is done.
    """

    def __init__(self, victim: Victim, task: Task, tolerance: float) -> None:
        x, norm = task.x, task.threat.norm
        self.rows = torch.arange(len(x), device=x.device)
        self.images = x.clone()
        self.low, self.high = x.new_zeros(len(x)), x.new_full((len(x),), math.inf)
        self.widest = min(task.threat.eps, 1.0 if norm == "linf" else math.sqrt(x[0].numel()))
        self._victim, self._task, self._tolerance = victim, task, tolerance
        self._first = x.new_full((len(x),), self.widest / 64)
        self._gap = x.new_full((len(x),), tolerance)  # share by which the next ball is smaller than high
        self._order = torch.zeros((0, len(x)), dtype=torch.int64)  # other classes, the nearest first
        self._searches, self._zero, self._broken = (x.new_zeros(len(x)) for _ in range(3))
        self.high[self._breaks(x, self.rows)] = 0.0
        for start in task.starts:
            self.offer(project(start.to(x), x, norm, self.widest), self.rows)
        self._linearise()

    def open(self) -> Tensor:
        """The rows whose ends are apart."""
        apart = self.high * (1 - self._tolerance) > 1.0001 * self.low
        return self.rows[apart & (self.high > NEAREST) & (self.low < self.widest)]

    def radii(self, rows: Tensor) -> Tensor:
        """The next ball of each."""
        low, high = self.low[rows], self.high[rows]
        wider = (2 * low).maximum(self._first[rows]).clamp_max(self.widest)
        smaller = (high * (1 - self._gap[rows])).maximum((low * high).sqrt())
        return smaller.where(high.isfinite(), wider)

    def part(self, rows: Tensor, restart: int) -> Task:
        """The task of some rows: from their images to any class, or from anywhere to a class near by."""
        task = self._task
        target = None if task.target is None else task.target[rows]
        if restart > 0 and len(self._order):
            target = self._order[(restart - 1) % len(self._order), rows]
        starts = (self.images[rows],) if restart == 0 else ()
        return replace(task, x=task.x[rows], y=task.y[rows], target=target, starts=starts)

    def judge(self, outcome: Crafted, rows: Tensor) -> Tensor:
        """Which of the rows were broken by a search."""
        assert outcome.claimed is not None
        assert outcome.zero is not None
        assert outcome.broken is not None
        self._searches[rows] += 1
        self._zero[rows] += outcome.zero
        self._broken[rows] += outcome.broken
        hits = self.offer(outcome.images, rows, outcome.claimed)
        self._gap[rows[hits]] = (2 * self._gap[rows[hits]]).clamp_max(0.5)
        return hits

    def tallies(self) -> tuple[Tensor, Tensor]:
        """Share of gradients that were 0, and not finite, ``(B,)`` each: means over the searches."""
        searches = self._searches.clamp_min(1)
        return self._zero / searches, self._broken / searches

    def offer(self, images: Tensor, rows: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Which images of the rows are adversarial and nearer than those before, which they then replace."""
        hits = distance(images - self._task.x[rows], self._task.threat.norm) < self.high[rows]
        if candidates is not None:
            hits = hits & candidates
        hits[hits.clone()] = self._breaks(images[hits], rows[hits])
        self._approach(images[hits], rows[hits])
        return hits

    def _linearise(self) -> None:
        """Try the boundaries as they look from the clean images; they say where to begin, and which class is near."""
        rows = self.rows[self.high > 0]
        if not len(rows):
            return
        x, norm = self._task.x[rows], self._task.threat.norm
        classes, margins, slopes = self._slopes(x, rows, CLASSES)
        origins, shape = x.repeat(len(margins), *[1] * (x.ndim - 1)), (len(margins), *x.shape)
        points = _nearest(origins, origins, torch.cat(margins), torch.cat(slopes), norm)
        radii = distance(points - origins, norm).reshape(shape[:2])
        radii = radii.where((radii > NEAREST) & (radii <= self.widest), math.inf)
        order = radii.argsort(0)
        for nearest in order:
            length = radii.gather(0, nearest[None]).squeeze(0)
            self.offer(points.reshape(shape)[nearest, torch.arange(len(rows))], rows, length.isfinite())
        least = radii.amin(0)
        self._first[rows] = least.where(least.isfinite(), self._first[rows])
        if classes is not None:
            self._order = classes.new_zeros((len(classes), len(self.rows)))
            self._order[:, rows] = classes.gather(0, order)

    def confirm(self) -> None:
        """On fresh queries the images hold, or they move outwards until they do, or they were none."""
        rows = self.rows[self.high.isfinite() & (self.high > 0)]
        delta = self.images - self._task.x
        for factor in OUTWARDS:
            x = self._task.x[rows]
            images = project(x + factor * delta[rows], x, self._task.threat.norm, self.widest)
            holds = self._breaks(images, rows)
            self.images[rows[holds]] = images[holds]
            rows = rows[~holds]
        self.images[rows], self.high[rows] = self._task.x[rows], math.inf

    def _approach(self, images: Tensor, rows: Tensor) -> None:
        """Keep adversarials, drawn towards x on the line and then along the boundary."""
        norm = self._task.threat.norm
        for attempt in range(PROJECTIONS + 1):
            if not len(rows):
                return
            images = self._bisection(images, rows)
            length = distance(images - self._task.x[rows], norm)
            nearer = length < self.high[rows]
            self.images[rows[nearer]], self.high[rows[nearer]] = images[nearer], length[nearer]
            rows = rows[nearer & (length > NEAREST)]
            if attempt == PROJECTIONS or not len(rows):
                return
            x, images = self._task.x[rows], self.images[rows]
            _, (m,), (g,) = self._slopes(images, rows, 1)
            images = _nearest(x, images, m, g, norm)
            helps = distance(images - x, norm) < (1 - self._tolerance / 2) * self.high[rows]
            images, rows = images[helps], rows[helps]
            broken = self._breaks(images, rows)
            images, rows = images[broken], rows[broken]

    def _bisection(self, images: Tensor, rows: Tensor) -> Tensor:
        """Adversarials at the nearest point of the line to x that bisection finds; none within ``low``."""
        x = self._task.x[rows]
        bad = (self.low[rows] / distance(images - x, self._task.threat.norm).clamp_min(NEAREST)).clamp_max(1)
        good = bad.new_ones(len(rows))
        best = images
        for _ in range(HALVINGS):
            share = (bad + good) / 2
            points = x.lerp(images, column(share, x)).clamp(0, 1)
            broken = self._breaks(points, rows)
            good, bad = share.where(broken, good), bad.where(broken, share)
            best = points.where(column(broken, x), best)
        return best

    def _breaks(self, images: Tensor, rows: Tensor) -> Tensor:
        """Whether images of the rows reach the goal, whatever the rounding or the luck."""
        if not len(rows):
            return torch.zeros_like(rows, dtype=torch.bool)
        with torch.no_grad():
            logits = [self._victim(images) for _ in range(QUERIES if self._victim.stochastic else 1)]
        margins = torch.stack([self._margin(f, rows) for f in logits])
        spare = margins.std(0) if len(logits) > 1 else ROUNDING * logits[0].abs().amax(1)
        return margins.mean(0) < -spare

    def _margin(self, logits: Tensor, rows: Tensor) -> Tensor:
        target = self._task.target
        return margin(logits, self._task.y[rows], None if target is None else target[rows])

    def _slopes(self, images: Tensor, rows: Tensor, count: int) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
        """The other classes with the largest logits ``(C, R)``, margins to them and their gradients, ``(R, …)`` each.

        Of a targeted goal there is one margin, and no class to choose.
        """
        classes: Tensor | None = None
        with torch.enable_grad():
            z = images.detach().requires_grad_()
            f = self._victim(z)
            if self._task.target is not None:
                margins = [self._margin(f, rows)]
            else:
                y = self._task.y[rows, None]
                rivals = f.scatter(1, y, -math.inf).topk(min(count, f.shape[1] - 1), dim=1)
                classes, margins = rivals.indices.T, list((f.gather(1, y) - rivals.values).T)
            slopes = [torch.autograd.grad(gap.sum(), z, retain_graph=True)[0] for gap in margins]
        return classes, [gap.detach() for gap in margins], [slope.nan_to_num(0.0, 0.0, 0.0) for slope in slopes]


def _nearest(x: Tensor, z: Tensor, m: Tensor, g: Tensor, norm: Norm) -> Tensor:
    r"""The point of [0, 1]^D nearest to x that is just behind the plane m + g'(u - z) = 0.

    It is :math:`u(\lambda) = \Pi_{[0,1]^D}(x - \lambda s)`, s the direction of steepest ascent, for the least
    :math:`\lambda` that goes far enough. Inside the range that is :math:`c / \lVert g \rVert_*`; it is doubled where
    pixels at the ends of the range make it too short, then bisected.
    """
    s = direction(g, norm)
    c = BEYOND * (m + (g * (x - z)).flatten(1).sum(1))

    def u(share: Tensor) -> Tensor:
        return (x - column(share, x) * s).clamp(0, 1)

    def behind(share: Tensor) -> Tensor:
        return (g * (x - u(share))).flatten(1).sum(1) >= c

    high = (c / (g * s).flatten(1).sum(1)).nan_to_num(0.0, 0.0, 0.0).clamp_min(0) * (1 + 1e-5)
    low = 0 * high
    for _ in range(8):
        enough = behind(high)
        low, high = low.where(enough, high), high.where(enough, 2 * high)
    for _ in range(12):
        middle = (low + high) / 2
        enough = behind(middle)
        low, high = low.where(enough, middle), middle.where(enough, high)
    return u(high)
