r"""Reliability: would a hostile reviewer accept the number? Checks on the records of a battery, each with a name.

============================  ======================================================================================
``leaves the ball``           an adversarial was out of the ball, out of [0, 1], or not finite
``unused budget``             an attack that fails comes nowhere near eps: half the budget, in the wrong units
``zero gradients``            the cross-entropy has no gradient at clean images: gradient masking
``NaN gradients``             a gradient is not finite
``shattered gradients``       a small step along the gradient raises the loss no more often than a random one
``more steps are weaker``     the same attack with more steps leaves more examples
``more eps is weaker``        the same attack in a ball twice as wide leaves more examples
``unbounded eps``             an attack without bound leaves examples that it should all break
``black-box is stronger``     black-box attacks or transfer break what the gradient does not
``lucky claims``              an attack reports successes that do not hold on fresh draws
============================  ======================================================================================

Comparisons of two attacks are paired over the same examples: a failure is a difference above :data:`POINTS` that an
exact one-sided sign test gives less than :data:`LEVEL`. One failure makes the row ``unreliable``, with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jembench.attacks.contract import Attack
from jembench.attacks.threat import TITLES
from jembench.evaluators.battery import DECISION, BatteryPart
from jembench.metrics.certification import log_tail
from jembench.metrics.paired import sign_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

POINTS = 0.02
LEVEL = 0.01
BUDGET = 0.75  # of eps, that the farthest adversarial of an attack that fails must reach
LEFT = 0.1  # of the examples, that an unbounded attack on a stochastic model may leave
MASKED = 0.05  # of the examples, that may have no gradient
BLIND = 0.9  # of the gradients of an attack on an image: with so many that are 0 or NaN it saw nothing
FOLLOWED = 0.8  # of the examples, where a step along the gradient must beat a random one
HELD = 0.8  # of the claims of an attack, that must hold on fresh draws, by an exact binomial test

#: Black-box attacks that stop at the first query that says broken: of a stochastic model that is luck by construction,
#: known, and in the record; only the verdict on fresh draws counts.
FIRST_QUERY = DECISION | {"square", "autoattack", "autoattack-rand"}

Columns = Mapping[str, "NDArray[Any]"]
Records = Mapping[BatteryPart, Columns]


def problems(records: Records, norm: str, *, stochastic: bool) -> list[str]:
    """What is wrong with the figures of one threat model, in words; empty if nothing is.

    Args:
        records: columns of every part of the battery, also those of other threat models.
        norm: norm of the threat model that is judged.
        stochastic: whether the model is stochastic, so that an attack without bound may leave some images.
    """
    own = {part: columns for part, columns in records.items() if part.norm in (norm, "")}
    attacks = {
        part: columns
        for part, columns in own.items()
        if part.need.measurement.name == "attacked" and part.name != "null"
    }
    failures = (
        *_outside(attacks),
        *_budget(attacks),
        *_gradients(own, attacks),
        *_monotone(own, stochastic=stochastic),
        *_black_box(attacks),
        *_claims(attacks),
    )
    return list(dict.fromkeys(failures))


def _outside(attacks: Records) -> Iterator[str]:
    for part, columns in attacks.items():
        bad = columns["valid"] == 0
        if bad.any():
            excess = float(columns["excess"][bad].max())
            how = f"by up to {excess:.2g}" if np.isfinite(excess) else "or is not finite"
            yield f"leaves the ball: {_name(part)}, {how}, on {int(bad.sum())} images"


def _budget(attacks: Records) -> Iterator[str]:
    """A gradient attack that returns its failures must have tried the whole ball."""
    for part, columns in attacks.items():
        if not _attack(part).white:
            continue
        distance, survivors = columns["distance"], columns["vote"] == 1
        attempts = survivors & (distance > 0) & (columns["valid"] == 1)
        if part.name == "unbounded" or attempts.sum() < max(5, 0.05 * len(survivors)):
            continue
        used = float(distance.max()) / part_eps(part)
        if used < BUDGET:
            yield f"unused budget: {_name(part)} uses at most {used:.2f} of eps and leaves {survivors.sum()} images"


def _attack(part: BatteryPart) -> Attack:
    measurement: Any = part.need.measurement
    attack: Attack = measurement.attack
    return attack


def part_eps(part: BatteryPart) -> float:
    """The radius of a part's own ball, which for a check is not that of the row."""
    threat = getattr(part.need.measurement, "threat", None)
    return float(part.eps if threat is None else threat.eps)


def _gradients(own: Records, attacks: Records) -> Iterator[str]:
    for part, columns in own.items():
        if part.name != "gradients":
            continue
        n = len(columns["zero"])
        zero, broken = int(columns["zero"].sum()), int(columns["broken"].sum())
        if zero > MASKED * n:
            yield f"zero gradients: of the cross-entropy, on {zero} of {n} images"
        if broken:
            yield f"NaN gradients: of the cross-entropy, on {broken} of {n} images"
        follows = float(columns["follows"].mean())
        if follows < FOLLOWED and zero + broken <= MASKED * n:
            yield f"shattered gradients: a step along them beats a random one on only {follows:.0%} of {n} images"
    for part, columns in attacks.items():
        if part.name.startswith("pgd") and not part.check:
            survivors = columns["vote"] == 1  # an image that is broken all the same is broken
            for name, words in (("broken", "NaN gradients"), ("zero", "zero gradients")):
                blind = survivors & (np.nan_to_num(columns[name]) > BLIND)
                if blind.mean() > MASKED:
                    yield f"{words}: {_name(part)} has no others on {int(blind.sum())} of the images that it leaves"


def _monotone(own: Records, *, stochastic: bool) -> Iterator[str]:
    checks = {part.name: columns["vote"] for part, columns in own.items() if part.check and "vote" in columns}
    few = checks.get("few")
    if few is None:
        return
    for name, words in (("many", "more steps are weaker"), ("wide", "more eps is weaker")):
        if name in checks and weaker(checks[name], few):
            yield f"{words}: {int(checks[name].sum())} against {int(few.sum())} of {len(few)} images left"
    if "unbounded" in checks:
        survivors = int(checks["unbounded"].sum())
        if survivors > (LEFT * len(few) if stochastic else 0):
            yield f"unbounded eps: {survivors} of {len(few)} images left, all of which it should break"


def _black_box(attacks: Records) -> Iterator[str]:
    """White-box against everything that takes no gradients of the model: over the same examples."""
    by_eps: dict[float, list[tuple[str, NDArray[Any]]]] = {}
    for part, columns in attacks.items():
        if not _attack(part).white and not part.check:
            by_eps.setdefault(part.eps, []).append((part.name, columns["vote"]))
    for eps, black in by_eps.items():
        white = [
            columns["vote"]
            for part, columns in attacks.items()
            if part.name.startswith("pgd") and not part.check and part.eps == eps
        ]
        if not white:
            continue
        n = min(min(map(len, white)), min(len(votes) for _, votes in black)) if black else 0
        full = _union(white)
        for name, votes in black:
            m = min(len(votes), len(full))
            if weaker(full[:m], votes[:m]):
                yield (
                    f"black-box is stronger: {name} leaves {int(votes[:m].sum())} of {m} images at {eps:g}, "
                    f"the gradient {int(full[:m].sum())}"
                )
        joint = _union([votes[:n] for _, votes in black])
        if len(black) > 1 and weaker(full[:n], joint):
            yield (
                f"black-box is stronger: together they leave {int(joint.sum())} of {n} images at {eps:g}, "
                f"the gradient {int(full[:n].sum())}"
            )


def _claims(attacks: Records) -> Iterator[str]:
    for part, columns in attacks.items():
        claims = (columns["claimed"] == 1) & (columns["valid"] == 1)
        if part.name in FIRST_QUERY or part.check or part.name == "pgd-none":
            continue
        n, confirmations = int(claims.sum()), int((columns["vote"][claims] == 0).sum())
        if n and log_tail(n - confirmations, n, 1 - HELD) < math.log(LEVEL):
            yield f"lucky claims: {_name(part)} reports {n} successes, {confirmations} hold on fresh draws"


def weaker(survivors: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether an attack with these ``survivors (N,)``, 0 or 1 per example, is weaker than one with the other's."""
    worse, better = int(((survivors == 1) & (other == 0)).sum()), int(((survivors == 0) & (other == 1)).sum())
    return (worse - better) > POINTS * len(survivors) and sign_test(worse, better) < LEVEL


def _union(votes: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """The survivors of several attacks, of the examples that the longest has; where one did not run, others count."""
    rows = list(votes)
    n = max(map(len, rows))
    survivors = np.ones(n, dtype=np.int64)
    for row in rows:
        survivors[: len(row)] &= row == 1
    return survivors


def _name(part: BatteryPart) -> str:
    return f"{part.name} {TITLES.get(part.norm, part.norm)} {part_eps(part):.3g}"
