"""Batteries: from a model and what a user asks for to the attacks that it meets.

A deterministic model meets everything at full length on all test images. One behind a refinement costs n + 1 passes for
every copy of every image at every step, so its battery is smaller, the same for all models of a track, and part of the
protocol: what it was is in every result, and numbers of different batteries never share a table. Photographs meet a
smaller one too: the first 200 test images, PGD, Square and transfer (behind a defence SPSA as well), and AutoAttack or
others where they are asked for. :func:`jembench.choices.protocols.explain` and the leaderboard say so.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, get_args

from jembench.attacks import attack as attack_of
from jembench.attacks.distance import MinimalDistance
from jembench.attacks.losses import Loss
from jembench.attacks.threat import TITLES, Goal, check_eps
from jembench.choices.protocols import LEVELS, V1, check_fixed
from jembench.choices.request import Options
from jembench.data.sets import Grid
from jembench.evaluators.battery import DECISION, Battery, Surrogate
from jembench.evaluators.distance import Distance
from jembench.types import Precision, UserError, unknown
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import ModelRef

if TYPE_CHECKING:
    from jembench.choices.protocols import Protocol
    from jembench.data.sets import Track
    from jembench.zoo.catalogue import ModelSpec

#: Of a model that draws noise of its own, or behind a defence.
STOCHASTIC = {
    "steps": 20,
    "restarts": 2,  # one climbs the cross-entropy, which many SGLD steps saturate, one the margin
    "draws": 5,
    "copies": 4,
    "images": 200,
    "expensive": 100,
    "few": 30,
    "subset": 30,
}
QUERIES = 60  # of the black-box attacks on it

#: Of photographs: what two CPU cores do in minutes for each model. Any attack can be added, steps and restarts raised.
PHOTOGRAPHS = {"steps": 20, "restarts": 2, "images": 200, "few": 30, "subset": 30, "queries": 500}
NOISY_PHOTOGRAPHS = {"steps": 10, "copies": 2, "subset": 20}  # behind a defence, in place of some of the above
BUILT_IN = frozenset({"pgd", "null", "transfer"})
AUTOATTACKS = frozenset({"autoattack", "autoattack-rand"})
LONG = 5  # SGLD steps from which a refined row has fewer images


def grids(options: Options, track: Track) -> tuple[Grid, ...]:
    """The threat models of a track that are asked for.

    Raises:
        UserError: for an unknown norm, or an eps out of its range.
    """
    if not track.threats:
        raise UserError(f"track {track.name} has no threat models")
    threats = {grid.norm: grid for grid in track.threats}
    for norm in options.norms or ():
        if norm not in threats:
            raise unknown("norm", norm, threats)
    chosen = [threats[norm] for norm in options.norms or threats]  # type: ignore[index]
    if options.eps is None:
        return tuple(chosen)
    if len(chosen) > 1:
        raise UserError(f"eps means another thing in each norm: name one of them ({', '.join(threats)})")
    (grid,) = chosen
    for eps in options.eps:
        check_eps(eps, grid.norm, track.shape)
    if len({f"{eps:g}" for eps in options.eps}) < len(set(options.eps)):
        raise UserError("two of the eps are equal to six digits: leave one out")
    headline = grid.headline if grid.headline in options.eps else options.eps[0]
    return (Grid(grid.norm, tuple(sorted(set(options.eps))), headline),)


def distances(spec: ModelSpec, track: Track, options: Options, *, protocol: Protocol = V1) -> Distance:
    """The evaluator of suite ``distance``."""
    paper = protocol.attack == "distance"
    if paper:
        check_fixed(protocol, options, free=() if protocol.attack_eps else ("norms", "eps"))
        _check_defence(protocol, spec)
    if options.attacks or options.losses or options.goal != "untargeted" or options.precision != "fp32":
        raise UserError(
            "suite 'distance' has one attack, untargeted, by margin, in fp32: leave out attack, loss, goal, precision"
        )
    balls = grids(options, track)
    widest = tuple(1.0 if grid.norm == "linf" else math.sqrt(math.prod(track.shape)) for grid in balls)
    if paper:
        return Distance(balls, widest, published_distance(protocol), STOCHASTIC["draws"], images=protocol.attack_images)
    noisy = {"copies": STOCHASTIC["copies"], "steps": 10, "restarts": 2} if spec.stochastic else {}
    chosen = {what: value for what in ("steps", "restarts") if (value := getattr(options, what)) is not None}
    attack = MinimalDistance(**{**noisy, **chosen})
    if not spec.stochastic:
        return Distance(balls, widest, attack, images=PHOTOGRAPHS["images"] if track.external else None)
    return Distance(balls, widest, attack, STOCHASTIC["draws"], images=STOCHASTIC["expensive"])


def published_distance(protocol: Protocol) -> MinimalDistance:
    """The search of a protocol whose attack is ``distance``."""
    assert protocol.attack_steps is not None
    assert protocol.attack_restarts is not None
    return MinimalDistance(
        steps=protocol.attack_steps,
        restarts=protocol.attack_restarts,
        gradient=protocol.attack_gradient or "full",
        copies=protocol.attack_copies,
    )


def published_pgd(spec: ModelSpec, protocol: Protocol) -> Battery:
    """The battery of a protocol whose attack is ``pgd``: nothing but that, and the checks of it.

    Raises:
        UserError: for a model that draws noise.
    """
    if spec.stochastic:
        raise UserError(
            f"protocol {protocol.name!r} attacks a model without noise, by one PGD: leave out --refine and --smooth, "
            f"or take protocol {V1.name!r}"
        )
    assert protocol.attack_steps is not None
    assert protocol.attack_restarts is not None
    eps = tuple(each / LEVELS for each in protocol.attack_eps)
    headline = 8 / LEVELS
    return Battery(
        (Grid("linf", eps, headline),),
        steps=protocol.attack_steps,
        restarts=protocol.attack_restarts,
        losses=("ce",),
        images=protocol.attack_images,
        attacks=(),
        step=protocol.attack_step / LEVELS,
    )


def _check_defence(protocol: Protocol, spec: ModelSpec) -> None:
    """Refuse a model that is not behind the defence of a published protocol."""
    refinement = protocol.attack_defence
    if refinement is None:
        return
    if spec.defence is None:
        raise UserError(
            f"protocol {protocol.name!r} attacks a model behind its refinement, JEM-n: say --refine 0, 1 or 10"
        )
    if any(getattr(spec.defence, what) != value for what, value in refinement._asdict().items()):
        raise UserError(
            f"protocol {protocol.name!r} has a defence of {refinement.votes} votes, noise {refinement.sigma:g} and "
            f"steps of {refinement.size:g} with {refinement.noise:g}: leave out --votes and --smooth"
        )


def battery(spec: ModelSpec, track: Track, options: Options, *, protocol: Protocol = V1) -> Battery:
    """The battery of suite ``robustness``."""
    if protocol.attack == "pgd":
        check_fixed(protocol, options, free=() if protocol.attack_eps else ("norms", "eps"))
        return published_pgd(spec, protocol)
    if options.goal not in get_args(Goal):
        raise unknown("goal", options.goal, get_args(Goal))
    for what in ("steps", "restarts"):
        if (value := getattr(options, what)) is not None and value < 1:
            raise UserError(f"{what} of an attack must be at least 1, not {value}")
    for loss in options.losses or ():
        if loss not in get_args(Loss):
            raise unknown("loss", loss, get_args(Loss))
    balls = grids(options, track)
    common = {
        "goal": options.goal,
        "precision": options.precision,
        "surrogates": surrogates(track),
        "own": spec.base or spec.name,
        **{what: value for what in ("steps", "restarts", "losses") if (value := getattr(options, what)) is not None},
    }
    if options.precision not in get_args(Precision):
        raise unknown("precision", options.precision, get_args(Precision))
    if options.goal == "least-likely" and spec.stochastic and spec.defence is None:
        raise UserError(f"model {spec.name!r} draws noise of its own: its least likely class is another at each query")
    further = tuple(dict.fromkeys(options.attacks))
    _check_attacks(further, spec, balls, options.goal)
    if not spec.stochastic:
        full = ("autoattack", "square", *(sorted(DECISION) if find_spec("foolbox") else ()))
        chosen = tuple(dict.fromkeys((*(("square",) if track.external else full), *further)))
        size = PHOTOGRAPHS if track.external else {}
        return Battery(balls, **{**size, **common, "attacks": chosen, "density": "density" in spec.capabilities})
    defence = spec.defence
    refinement = -1 if defence is None else defence.steps
    single = tuple(Grid(grid.norm, (grid.headline,), grid.headline) for grid in balls)
    return Battery(
        single if options.eps is None else balls,
        **{
            **STOCHASTIC,
            **(NOISY_PHOTOGRAPHS if track.external else {}),
            **({"images": STOCHASTIC["expensive"]} if refinement >= LONG else {}),
            **common,
            "attacks": tuple(dict.fromkeys(("square", "spsa", *further))),
            "queries": QUERIES,
            "refinement": refinement,
            "sigma": defence.sigma if defence is not None and defence.steps == 0 and defence.votes == 1 else 0.0,
        },
    )


def _check_attacks(names: tuple[str, ...], spec: ModelSpec, balls: tuple[Grid, ...], goal: str) -> None:
    """Refuse an attack that would be left out, or fail, or stand under the name of another."""
    sources: dict[str, str] = {}
    for name in names:
        attack = attack_of(name)
        if name in BUILT_IN:
            raise UserError(f"attack {name!r} is part of every battery: leave it out")
        if sources.setdefault(attack.name, name) != name:
            raise UserError(
                f"attacks {sources[attack.name]!r} and {name!r} would both be called {attack.name!r}: rename one"
            )
        norms = [grid.norm for grid in balls]
        if not set(norms) & set(attack.norms):
            own, theirs = (", ".join(TITLES[norm] for norm in each) for each in (attack.norms, norms))
            raise UserError(f"attack {name!r} serves {own}, not {theirs}")
        if goal != "untargeted" and not attack.targeted:
            raise UserError(f"attack {name!r} cannot aim at a class: leave it out, or the goal {goal!r}")
        if name in DECISION and find_spec("foolbox") is None:
            raise UserError(f"attack {name!r} needs foolbox: pip install 'jembench[foolbox]'")
        right = "autoattack-rand" if spec.stochastic else "autoattack"
        if name in AUTOATTACKS and name != right:
            kind = "stochastic" if spec.stochastic else "deterministic"
            raise UserError(f"attack {name!r} is not for a {kind} model: use {right!r}")


def surrogates(track: Track) -> tuple[Surrogate, ...]:
    """Every trained classifier of the track.

    Raises:
        UserError: if they are not on this machine: figures without them are of another protocol.
    """
    if words := baselines.absent(track.name):
        raise UserError(f"adversarials of other models are attacks of suite robustness: {words}")
    models = []
    for name in baselines.recipes(track.name):
        other = catalogue.resolve(ModelRef("baseline", name), track=track.name)
        if "classifier" in other.capabilities:
            models.append(Surrogate(name, other.fingerprint))
    return tuple(models)
