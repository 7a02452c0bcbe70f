r"""The battery: which attacks a robustness result is made of, as measurements that build on each other.

A **deterministic** model meets, in every threat model of the track, PGD at every eps (each starting from what the one
before it found), and at the headline eps AutoAttack, Square, adversarials of every other baseline, decision attacks on
the first images, and an attacker of a model that may abstain. A **refined** one meets, at the headline eps, the null
attack, the gradient ladder (:mod:`jembench.attacks.ladder`), Square, SPSA and transfer; a stochastic one without a
refinement the same with a single rung. The **worst** case over all of them is the figure. Beside these, small copies
of an attack with more steps, a wider ball and no bound check the attacks themselves
(:mod:`jembench.evaluators.reliability`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jembench.attacks import attack as attack_of
from jembench.attacks.contract import Attack
from jembench.attacks.ladder import Rung
from jembench.attacks.losses import Loss
from jembench.attacks.threat import Goal, Threat
from jembench.measurements.attacked import AttackOutcome
from jembench.measurements.certificate import Certificate
from jembench.measurements.contract import LATER, UNDESCRIBED, Need
from jembench.measurements.distal import Distal
from jembench.measurements.gradient_check import GradientCheck
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.rejected import Rejected
from jembench.measurements.worst import Worst
from jembench.types import Norm

if TYPE_CHECKING:
    from jembench.data.sets import Grid, Track
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision

SOURCE = "test"
WORST = "worst"
NULL = "null"
CHECK = "pgd-check"  # name of the attacks that only check others


@dataclass(frozen=True)
class Surrogate:
    """Another baseline of the track, whose adversarials are tried.

    Attributes:
        name: of the baseline.
        fingerprint: of its weights: with others the figures are others.
    """

    name: str
    fingerprint: str


@dataclass(frozen=True)
class BatteryPart:
    """One measurement of the battery.

    Attributes:
        norm: of its threat model; empty for what has none.
        eps: radius.
        name: of the attack, ``worst``, or what it is.
        need: the records.
        check: whether it only serves to check the others.
    """

    norm: Norm | str
    eps: float
    name: str
    need: Need
    check: bool = False

    @property
    def ball(self) -> str:
        """``linf-0.1``: part of the name of its metrics."""
        return f"{self.norm}-{self.eps:g}"


@dataclass(frozen=True)
class Battery:
    """The settings of a robustness result.

    Attributes:
        grids: threat models, with their radii.
        goal: of the adversary.
        steps: of PGD.
        restarts: of PGD.
        losses: of the restarts, in turn.
        precision: while crafting; verification is in fp32.
        draws: fresh draws of a stochastic model behind every verdict.
        copies: noisy copies behind a gradient of a stochastic model (EOT); 0 for a deterministic model.
        refinement: SGLD steps of the defence.
        images: of the first so many test images only; None for all.
        expensive: the rung ``full`` through more than one step: first so many images.
        few: decision attacks, and black-box attacks on a stochastic model: first so many.
        subset: the checks: first so many.
        queries: of the black-box attacks.
        attacks: names of further attacks at the headline eps: AutoAttack, Square, decision attacks, or others.
        surrogates: the baselines whose adversarials are tried.
        own: name of the one that is attacked, or stands behind the defence; no other model's adversarials are its own.
        density: whether the model has a log density, to abstain by.
        sigma: noise of the smoothed classifier that is certified in L2; 0 for none.
        step: constant length of the steps of PGD, in pixels, from random starts in every ball; 0 for our own, which
            shrink and go on from what a smaller ball gave.
    """

    grids: tuple[Grid, ...]
    goal: Goal = "untargeted"
    steps: int = 40
    restarts: int = 5
    losses: tuple[Loss, ...] = ("ce", "margin")
    precision: Precision = "fp32"
    draws: int = 1
    copies: int = 0
    refinement: int = 0
    images: int | None = None
    expensive: int | None = None
    few: int = 50
    subset: int = 60
    queries: int = 1000
    attacks: tuple[str, ...] = ("autoattack", "square", "hopskipjump", "boundary", "pointwise")
    surrogates: tuple[Surrogate, ...] = ()
    density: bool = False
    sigma: float = 0.25
    own: str = field(default="", metadata=UNDESCRIBED)
    step: float = field(default=0.0, metadata=LATER)

    def parts(self, track: Track) -> tuple[BatteryPart, ...]:
        """All measurements, in the order of their tables."""
        first = self.grids[0]
        null = self._attacked(attack_of("null"), Threat(first.norm, first.headline, self.goal), self.images)
        found = [BatteryPart("", 0.0, NULL, null)]
        for grid in self.grids:
            found += self._norm(grid, track)
        gradients = Need(GradientCheck(first.norm, first.headline), SOURCE, self.subset)
        found.append(BatteryPart("", 0.0, "gradients", gradients, check=True))
        if self.density or not self.copies:
            found.append(BatteryPart("", 0.0, "distal", Need(Distal(), SOURCE, self._limit(100))))
        return tuple(found)

    def _norm(self, grid: Grid, track: Track) -> Iterator[BatteryPart]:
        """The measurements of one threat model."""
        curve: list[BatteryPart] = []
        worst: Need | None = None
        for eps in grid.eps:
            threat = Threat(grid.norm, eps, self.goal)
            before = curve[-1].need if curve and not self.step else None
            main = list(self._ladder(threat, before))
            others = list(self._others(threat, main)) if eps == grid.headline else []
            curve.append(main[-1])
            yield from (*main, *others)
            given = (*(part.need for part in (*main, *others)), *(() if worst is None else (worst,)))
            worst = Need(Worst(threat, self.draws), SOURCE, self.images, given)
            yield BatteryPart(grid.norm, eps, WORST, worst)
            if eps == grid.headline and self.density and not self.copies and self.goal == "untargeted":
                density = Need(InputGradient(), SOURCE)
                reject = Need(Rejected(threat), SOURCE, self._limit(100), given=(worst,), whole=(density,))
                yield BatteryPart(grid.norm, eps, "reject", reject)
        if grid.norm == "l2" and self.sigma > 0:
            certificate = Need(Certificate(self.sigma), SOURCE, self._limit(100))
            yield BatteryPart(grid.norm, 0.0, "certificate", certificate)
        yield from self._checks(grid, track)

    def _ladder(self, threat: Threat, before: Need | None) -> Iterator[BatteryPart]:
        """Our own PGD; against a defence every rung, from what the rungs before it found."""
        if not self.copies:
            made = self._pgd("full")
            if self.step:
                made = replace(made, size=self.step / threat.eps, decay=False)
            need = self._attacked(made, threat, self.images, before, carried=before is not None)
            yield BatteryPart(threat.norm, threat.eps, "pgd", need)
            return
        rungs: list[Need] = []
        for gradient in self.rungs:
            limit = self.images if gradient != "full" or self.refinement <= 1 else self._limit(self.expensive)
            given = (*rungs, *(() if before is None else (before,)))
            rungs.append(self._attacked(self._pgd(gradient), threat, limit, *given))
            yield BatteryPart(threat.norm, threat.eps, f"pgd-{gradient}", rungs[-1])

    @property
    def rungs(self) -> tuple[Gradient, ...]:
        """The rungs of the ladder that differ."""
        if self.refinement > 0:
            return ("none", "straight-through", "full")
        return ("full",) if self.refinement < 0 else ("none", "full")

    def _others(self, threat: Threat, main: list[BatteryPart]) -> Iterator[BatteryPart]:
        """Everything but PGD, at the headline eps."""
        for name in self.attacks:
            made = attack_of(name, **self._budget(name))
            if threat.norm not in made.norms or (threat.goal != "untargeted" and not made.targeted):
                continue
            small = name in DECISION or (self.copies and not made.white)
            limit = self._limit(self.few) if small else self.images
            yield BatteryPart(threat.norm, threat.eps, made.name, self._attacked(made, threat, limit))
        others = [item for item in self.surrogates if item.name != self.own]
        if others and threat.goal == "untargeted":
            names = tuple(f"{item.name}@{item.fingerprint[:12]}" for item in self.surrogates)
            sources = Rung(steps=20, restarts=1, confident=True)
            given = tuple(Need(AttackOutcome(sources, threat), SOURCE, self.images, model=item.name) for item in others)
            made = attack_of("transfer", sources=names, copies=1 if self.copies else None)
            yield BatteryPart(threat.norm, threat.eps, "transfer", self._attacked(made, threat, self.images, *given))

    def _budget(self, name: str) -> dict[str, int]:
        """The queries of a black-box attack, in its own settings."""
        if name == "spsa":
            samples = 5
            return {"steps": max(1, self.queries // (2 * samples)), "samples": samples}
        return {"queries": self.queries} if name in DECISION or name == "square" else {}

    def _checks(self, grid: Grid, track: Track) -> Iterator[BatteryPart]:
        """One small attack, with more steps, a wider ball, and no bound."""
        widest = 1.0 if grid.norm == "linf" else math.sqrt(math.prod(track.shape))
        gradient: Gradient = "full" if self.refinement <= 0 else "straight-through"
        few = replace(self._pgd(gradient), name=CHECK, steps=10, restarts=1)
        many = replace(few, steps=40 if self.copies else 100)
        balls = {
            "few": (few, grid.headline),
            "many": (many, grid.headline),
            "wide": (few, min(2 * grid.headline, widest)),
            "unbounded": (replace(many, steps=40, restarts=3), widest),
        }
        for name, (made, eps) in balls.items():
            need = self._attacked(made, Threat(grid.norm, eps, self.goal), self.subset)
            yield BatteryPart(grid.norm, grid.headline, name, need, check=True)

    def _pgd(self, gradient: Gradient) -> Rung:
        return Rung(
            steps=self.steps,
            restarts=self.restarts,
            losses=self.losses,
            gradient=gradient,
            copies=self.copies or None,
            confident=gradient == "none",
            precision=self.precision,
        )

    def _attacked(
        self, made: Attack, threat: Threat, limit: int | None, *given: Need | None, carried: bool = False
    ) -> Need:
        known = tuple(need for need in given if need is not None)
        return Need(AttackOutcome(made, threat, self.draws, carried), SOURCE, limit, known)

    def _limit(self, count: int | None) -> int | None:
        """The smaller of two limits."""
        chosen = [item for item in (count, self.images) if item is not None]
        return min(chosen, default=None)


DECISION = frozenset({"boundary", "hopskipjump", "pointwise"})
