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
        name: name of the baseline.
        fingerprint: hash of the baseline's weights, on which the adversarials depend.
    """

    name: str
    fingerprint: str


@dataclass(frozen=True)
class BatteryPart:
    """One measurement of the battery.

    Attributes:
        norm: norm of the part's threat model; empty for a part without a ball.
        eps: radius of the ball, in units of the [0, 1] pixel range; for a check the radius of the row it belongs to.
        name: name of the attack, ``worst``, or the kind of a part that is no attack.
        need: the records that the part reads.
        check: whether the part only serves to check the attacks, and is no figure of its own.
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
        grids: threat models, with their radii in units of the [0, 1] pixel range.
        goal: which wrong class the adversary aims at: any (``untargeted``), or one that the goal names.
        steps: number of steps of a PGD restart.
        restarts: number of restarts of PGD.
        losses: losses that PGD climbs, one a restart, in turn.
        precision: floating-point precision of the model while adversarials are crafted; verification is in fp32.
        draws: fresh draws of a stochastic model behind every verdict.
        copies: noisy copies behind a gradient of a stochastic model (EOT); 0 for a deterministic model.
        refinement: number of SGLD steps of the defence, 0 for noise alone; -1 for a stochastic model without a defence.
        images: number of test images attacked, the first of the split; None for all.
        expensive: number of images under the rung ``full`` through more than one SGLD step; None for ``images``.
        few: number of images under decision attacks, and under black-box attacks on a stochastic model.
        subset: number of images under the checks of the gradient and of the attacks.
        queries: number of queries per image that a black-box attack may ask.
        attacks: names of further attacks at the headline eps: AutoAttack, Square, decision attacks, or others.
        surrogates: the baselines whose adversarials are tried on the model (transfer).
        own: name of the baseline that is attacked, or stands behind the defence: as a surrogate it is left out.
        density: whether the model has a log density, by which it may abstain.
        sigma: standard deviation, in units of the [0, 1] pixel range, of the noise of the smoothed classifier that is
            certified in L2; 0 for no certificate.
        step: constant length of a PGD step, in units of the [0, 1] pixel range, from random starts in every ball; 0 for
            our own PGD, whose steps shrink and which goes on from the adversarials of the next smaller ball.
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
        parts = [BatteryPart("", 0.0, NULL, null)]
        for grid in self.grids:
            parts += self._norm(grid, track)
        gradients = Need(GradientCheck(first.norm, first.headline), SOURCE, self.subset)
        parts.append(BatteryPart("", 0.0, "gradients", gradients, check=True))
        if self.density or not self.copies:
            parts.append(BatteryPart("", 0.0, "distal", Need(Distal(), SOURCE, self._limit(100))))
        return tuple(parts)

    def _norm(self, grid: Grid, track: Track) -> Iterator[BatteryPart]:
        """The measurements of one threat model."""
        curve: list[BatteryPart] = []
        worst: Need | None = None
        for eps in grid.eps:
            threat = Threat(grid.norm, eps, self.goal)
            before = curve[-1].need if curve and not self.step else None
            ladder = list(self._ladder(threat, before))
            ensemble = list(self._ensemble(threat)) if eps == grid.headline else []
            curve.append(ladder[-1])
            yield from (*ladder, *ensemble)
            candidates = (*(part.need for part in (*ladder, *ensemble)), *(() if worst is None else (worst,)))
            worst = Need(Worst(threat, self.draws), SOURCE, self.images, candidates)
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
            attack = self._pgd("full")
            if self.step:
                attack = replace(attack, size=self.step / threat.eps, decay=False)
            need = self._attacked(attack, threat, self.images, before, carried=before is not None)
            yield BatteryPart(threat.norm, threat.eps, "pgd", need)
            return
        rungs: list[Need] = []
        for gradient in self.rungs:
            limit = self.images if gradient != "full" or self.refinement <= 1 else self._limit(self.expensive)
            rungs.append(self._attacked(self._pgd(gradient), threat, limit, *rungs, before))
            yield BatteryPart(threat.norm, threat.eps, f"pgd-{gradient}", rungs[-1])

    @property
    def rungs(self) -> tuple[Gradient, ...]:
        """The rungs of the ladder that differ."""
        if self.refinement > 0:
            return ("none", "straight-through", "full")
        return ("full",) if self.refinement < 0 else ("none", "full")

    def _ensemble(self, threat: Threat) -> Iterator[BatteryPart]:
        """The attacks other than PGD, which run at the headline eps."""
        for name in self.attacks:
            attack = attack_of(name, **self._budget(name))
            if threat.norm not in attack.norms or (threat.goal != "untargeted" and not attack.targeted):
                continue
            small = name in DECISION or (self.copies and not attack.white)
            limit = self._limit(self.few) if small else self.images
            yield BatteryPart(threat.norm, threat.eps, attack.name, self._attacked(attack, threat, limit))
        surrogates = [surrogate for surrogate in self.surrogates if surrogate.name != self.own]
        if surrogates and threat.goal == "untargeted":
            names = tuple(f"{surrogate.name}@{surrogate.fingerprint[:12]}" for surrogate in self.surrogates)
            crafting = AttackOutcome(Rung(steps=20, restarts=1, confident=True), threat)
            candidates = (Need(crafting, SOURCE, self.images, model=surrogate.name) for surrogate in surrogates)
            attack = attack_of("transfer", sources=names, copies=1 if self.copies else None)
            yield BatteryPart(
                threat.norm, threat.eps, "transfer", self._attacked(attack, threat, self.images, *candidates)
            )

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
        for name, (attack, eps) in balls.items():
            need = self._attacked(attack, Threat(grid.norm, eps, self.goal), self.subset)
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
        self, attack: Attack, threat: Threat, limit: int | None, *records: Need | None, carried: bool = False
    ) -> Need:
        """An attack that builds on other records, those that exist."""
        return Need(AttackOutcome(attack, threat, self.draws, carried), SOURCE, limit, tuple(filter(None, records)))

    def _limit(self, count: int | None) -> int | None:
        """The smaller of a number of images and of ``images``; None where both are."""
        return min((limit for limit in (count, self.images) if limit is not None), default=None)


DECISION = frozenset({"boundary", "hopskipjump", "pointwise"})
