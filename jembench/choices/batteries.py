"""Batteries: from a model and what a user asks for to the attacks that it meets.

A deterministic model meets everything at full length on all test images. One behind a refinement costs n + 1 passes for
every copy of every image at every step, so its battery is smaller, the same for all models of a track, and part of the
protocol: what it was is in every result, and numbers of different batteries never share a table. Photographs meet a
smaller one too: the first 200 test images, PGD, Square and transfer (behind a defence SPSA as well), and AutoAttack or
others where they are asked for. :func:`jembench.choices.protocols.explain` and the leaderboard say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, get_args

from jembench.attacks import attack as attack_of
from jembench.attacks.distance import MinimalDistance
from jembench.attacks.losses import Loss
from jembench.attacks.threat import TITLES, Goal, check_eps
from jembench.choices.protocols import LEVELS, V1
from jembench.choices.sampling import Sampling, chains, generation
from jembench.data.sets import Grid
from jembench.evaluators import EVALUATORS
from jembench.evaluators.battery import DECISION, Battery, Surrogate
from jembench.evaluators.detectors import Detectors
from jembench.evaluators.distance import Distance
from jembench.evaluators.robustness import Robustness
from jembench.evaluators.unlabelled import Unlabelled
from jembench.types import Precision, UserError, unknown
from jembench.zoo import baselines, catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jembench.choices.protocols import Protocol
    from jembench.data.sets import Track
    from jembench.evaluators.contract import Evaluator
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


@dataclass(frozen=True)
class Options:
    """What a user may set; None leaves it to the track.

    Attributes:
        norms: threat models.
        eps: radii in units of the [0, 1] pixel range, for one norm; every attack runs at the track's headline eps if it
            is among them, else at the first.
        attacks: further attacks at the headline eps, by name.
        goal: of the adversary.
        steps: of PGD.
        restarts: of PGD.
        losses: of its restarts, in turn.
        precision: while crafting.
    """

    norms: tuple[str, ...] | None = None
    eps: tuple[float, ...] | None = None
    attacks: tuple[str, ...] = ()
    goal: str = "untargeted"
    steps: int | None = None
    restarts: int | None = None
    losses: tuple[str, ...] | None = None
    precision: Precision = "fp32"

    def grids(self, track: Track) -> tuple[Grid, ...]:
        """The threat models, checked.

        Raises:
            UserError: for an unknown norm, or an eps out of its range.
        """
        if not track.threats:
            raise UserError(f"track {track.name} has no threat models")
        known = {grid.norm: grid for grid in track.threats}
        for norm in self.norms or ():
            if norm not in known:
                raise unknown("norm", norm, known)
        chosen = [known[norm] for norm in self.norms or known]  # type: ignore[index]
        if self.eps is None:
            return tuple(chosen)
        if len(chosen) > 1:
            raise UserError(f"eps means another thing in each norm: name one of them ({', '.join(known)})")
        (grid,) = chosen
        for eps in self.eps:
            check_eps(eps, grid.norm, track.shape)
        if len({f"{eps:g}" for eps in self.eps}) < len(set(self.eps)):
            raise UserError("two of the eps are equal to six digits: leave one out")
        headline = grid.headline if grid.headline in self.eps else self.eps[0]
        return (Grid(grid.norm, tuple(sorted(set(self.eps))), headline),)


def evaluators(
    suite: str,
    spec: ModelSpec,
    track: Track,
    options: Options | None = None,
    *,
    sampling: Sampling | None = None,
    detectors: Sequence[str] = (),
    protocol: Protocol = V1,
) -> tuple[Evaluator, ...]:
    """The evaluators of a suite, those with attacks in the battery that the model meets.

    Args:
        suite: its name.
        spec: the model.
        track: on what.
        options: of attacks.
        sampling: of generated images.
        detectors: post-hoc detectors, by name, in suites with OOD detection.
        protocol: the choices that are not the user's.

    Raises:
        UserError: for an unknown suite, norm, attack, goal, extractor or detector, an eps out of its range, or options
            of something that the suite does not do or the protocol has fixed.
    """
    made: list[Evaluator] = []
    names = protocol.evaluated(suite)
    if sampling not in (None, Sampling()) and "generation" not in names:
        raise UserError(
            f"suite {suite!r} generates no images: extractor, chain steps, temperature, keep-top are of others"
        )
    if options not in (None, Options()) and not {"robustness", "distance"} & set(names):
        raise UserError(f"suite {suite!r} has no attacks: norm, eps, attack, goal, steps and restarts are of others")
    if detectors and "ood" not in names:
        raise UserError(f"suite {suite!r} detects nothing: detectors are of suite 'ood'")
    if "ood" not in names and any(source.origin for source in track.sources):
        raise UserError(f"suite {suite!r} has no OOD sets: those of the user are of suite 'ood'")
    if detectors and protocol.evaluators:
        raise UserError(f"protocol {protocol.name!r} has no detectors: leave them out, or take protocol {V1.name!r}")
    for name in names:
        if name == "robustness":
            made.append(Robustness(battery(spec, track, options or Options(), protocol=protocol)))
        elif name == "distance":
            made.append(distances(spec, track, options or Options(), protocol=protocol))
        elif name == "generation":
            made.append(generation(spec, track, sampling or Sampling(), protocol=protocol))
        elif name == "unlabelled":
            made.append(unlabelled(spec, track))
        elif name == "chains":
            made.append(chains(track, sampling or Sampling()))
        else:
            made.append(EVALUATORS[name]())
    if detectors:
        made.append(Detectors(tuple(dict.fromkeys(detectors))))
    return tuple(made)


def unlabelled(spec: ModelSpec, track: Track) -> Unlabelled:
    """The evaluator of accuracy without labels, with a baseline's twin if one is shipped."""
    if spec.reference != spec.name or baselines.twin(spec.name, track=track.name) is None:
        return Unlabelled()
    return Unlabelled(f"{spec.name}@{catalogue.TWIN}")


def distances(spec: ModelSpec, track: Track, options: Options, *, protocol: Protocol = V1) -> Distance:
    """The evaluator of suite ``distance``."""
    published = protocol.attack == "distance"
    if published:
        _check_fixed(protocol, options)
        _check_defence(protocol, spec)
    if options.attacks or options.losses or options.goal != "untargeted" or options.precision != "fp32":
        raise UserError(
            "suite 'distance' has one attack, untargeted, by margin, in fp32: leave out attack, loss, goal, precision"
        )
    grids = options.grids(track)
    widest = tuple(1.0 if grid.norm == "linf" else math.sqrt(math.prod(track.shape)) for grid in grids)
    if published:
        return Distance(grids, widest, published_distance(protocol), STOCHASTIC["draws"], images=protocol.attack_images)
    noisy = {"copies": STOCHASTIC["copies"], "steps": 10, "restarts": 2} if spec.stochastic else {}
    chosen = {what: value for what in ("steps", "restarts") if (value := getattr(options, what)) is not None}
    attack = MinimalDistance(**{**noisy, **chosen})
    if not spec.stochastic:
        return Distance(grids, widest, attack, images=PHOTOGRAPHS["images"] if track.external else None)
    return Distance(grids, widest, attack, STOCHASTIC["draws"], images=STOCHASTIC["expensive"])


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


def _check_fixed(protocol: Protocol, options: Options) -> None:
    """Refuse an option of attacks that a published protocol has fixed."""
    own = ("norms", "eps") if not protocol.attack_eps else ()
    plain = Options()
    for each in fields(Options):
        if each.name not in own and getattr(options, each.name) != getattr(plain, each.name):
            raise UserError(
                f"protocol {protocol.name!r} fixes the {each.name} of its attack: leave that out, or take protocol "
                f"{V1.name!r}"
            )


def _check_defence(protocol: Protocol, spec: ModelSpec) -> None:
    """Refuse a model that is not behind the defence of a published protocol."""
    wanted = protocol.attack_defence
    if wanted is None:
        return
    if spec.defence is None:
        raise UserError(
            f"protocol {protocol.name!r} attacks a model behind its refinement, JEM-n: say --refine 0, 1 or 10"
        )
    if any(getattr(spec.defence, what) != value for what, value in wanted._asdict().items()):
        raise UserError(
            f"protocol {protocol.name!r} has a defence of {wanted.votes} votes, noise {wanted.sigma:g} and steps of "
            f"{wanted.size:g} with {wanted.noise:g}: leave out --votes and --smooth"
        )


def battery(spec: ModelSpec, track: Track, options: Options, *, protocol: Protocol = V1) -> Battery:
    """The battery of suite ``robustness``."""
    if protocol.attack == "pgd":
        _check_fixed(protocol, options)
        return published_pgd(spec, protocol)
    if options.goal not in get_args(Goal):
        raise unknown("goal", options.goal, get_args(Goal))
    for what in ("steps", "restarts"):
        if (value := getattr(options, what)) is not None and value < 1:
            raise UserError(f"{what} of an attack must be at least 1, not {value}")
    for loss in options.losses or ():
        if loss not in get_args(Loss):
            raise unknown("loss", loss, get_args(Loss))
    grids = options.grids(track)
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
    _check_attacks(further, spec, grids, options.goal)
    if not spec.stochastic:
        full = ("autoattack", "square", *(sorted(DECISION) if find_spec("foolbox") else ()))
        chosen = tuple(dict.fromkeys((*(("square",) if track.external else full), *further)))
        size = PHOTOGRAPHS if track.external else {}
        return Battery(grids, **{**size, **common, "attacks": chosen, "density": "density" in spec.capabilities})
    defence = spec.defence
    refinement = -1 if defence is None else defence.steps
    single = tuple(Grid(grid.norm, (grid.headline,), grid.headline) for grid in grids)
    return Battery(
        single if options.eps is None else grids,
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


def _check_attacks(names: tuple[str, ...], spec: ModelSpec, grids: tuple[Grid, ...], goal: str) -> None:
    """Refuse an attack that would be left out, or fail, or stand under the name of another."""
    known: dict[str, str] = {}
    for name in names:
        made = attack_of(name)
        if name in BUILT_IN:
            raise UserError(f"attack {name!r} is part of every battery: leave it out")
        if known.setdefault(made.name, name) != name:
            raise UserError(f"attacks {known[made.name]!r} and {name!r} would both be called {made.name!r}: rename one")
        norms = [grid.norm for grid in grids]
        if not set(norms) & set(made.norms):
            served, asked = (", ".join(TITLES[norm] for norm in each) for each in (made.norms, norms))
            raise UserError(f"attack {name!r} serves {served}, not {asked}")
        if goal != "untargeted" and not made.targeted:
            raise UserError(f"attack {name!r} cannot aim at a class: leave it out, or the goal {goal!r}")
        if name in DECISION and find_spec("foolbox") is None:
            raise UserError(f"attack {name!r} needs foolbox: pip install 'jembench[foolbox]'")
        right = "autoattack-rand" if spec.stochastic else "autoattack"
        if name in AUTOATTACKS and name != right:
            kind = "stochastic" if spec.stochastic else "deterministic"
            raise UserError(f"attack {name!r} is not for a {kind} model: use {right!r}")


def surrogates(track: Track) -> tuple[Surrogate, ...]:
    """Every trained classifier of the track."""
    found = []
    for name in baselines.recipes(track.name):
        other = catalogue.resolve(name, track=track.name)
        if "classifier" in other.capabilities:
            found.append(Surrogate(name, other.fingerprint))
    return tuple(found)
