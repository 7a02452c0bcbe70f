"""The evaluators of a suite, as they judge one model: with its battery, its samples, its twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from jembench.choices.batteries import battery, distances
from jembench.choices.flags import departures
from jembench.choices.protocols import PROTOCOLS, V1
from jembench.choices.request import PLAIN
from jembench.choices.sampling import chains, generation
from jembench.evaluators import EVALUATORS
from jembench.evaluators.corruptions import Corruptions
from jembench.evaluators.detectors import Detectors
from jembench.evaluators.robustness import Robustness
from jembench.evaluators.scores import Scores
from jembench.evaluators.unlabelled import Unlabelled
from jembench.metrics.scores import SCORES
from jembench.types import UserError
from jembench.zoo import baselines

if TYPE_CHECKING:
    from jembench.choices.request import Request
    from jembench.data.sets import Track
    from jembench.evaluators.contract import Evaluator
    from jembench.zoo.catalogue import ModelSpec


def evaluators(suite: str, spec: ModelSpec, track: Track, request: Request = PLAIN) -> tuple[Evaluator, ...]:
    """The evaluators of a suite, those with attacks in the battery that the model meets.

    Args:
        suite: name of the suite.
        spec: the model.
        track: the track as the protocol shows it.
        request: the options and the protocol.

    Raises:
        UserError: for an unknown suite, norm, attack, goal, extractor or detector, an eps out of its range, or options
            of something that the suite does not do or the protocol has fixed.
    """
    chosen = PROTOCOLS[request.protocol]
    names = chosen.evaluated(suite)
    _check_options(suite, names, track, request)
    options, sampling = request.options, request.sampling
    own: dict[str, Callable[[], Evaluator]] = {
        "robustness": lambda: Robustness(battery(spec, track, options, protocol=chosen)),
        "distance": lambda: distances(spec, track, options, protocol=chosen),
        "generation": lambda: generation(spec, track, sampling, protocol=chosen),
        "unlabelled": lambda: unlabelled(spec, track),
        "chains": lambda: chains(track, sampling),
    }
    judges = [own[name]() if name in own else EVALUATORS[name]() for name in names]
    if shifted := tuple(dict.fromkeys(s.name.rpartition("-")[0] for s in track.sources if s.role == "shift")):
        judges.append(Corruptions(shifted))
    if request.scores:
        judges.append(Scores(tuple(dict.fromkeys(request.scores))))
    if request.detectors:
        judges.append(Detectors(tuple(dict.fromkeys(request.detectors))))
    return tuple(judges)


def _check_options(suite: str, names: tuple[str, ...], track: Track, request: Request) -> None:
    """Refuse options of something that the suite does not do, or that the protocol has not."""
    if (odd := departures(request.sampling)) and "generation" not in names:
        raise UserError(f"suite {suite!r} generates no images: leave out {', '.join(odd)}")
    if (odd := departures(request.options)) and not {"robustness", "distance"} & set(names):
        raise UserError(f"suite {suite!r} has no attacks: leave out {', '.join(odd)}")
    for name in request.scores:
        SCORES.check(name)
    if request.scores and "ood" not in names:
        raise UserError(f"suite {suite!r} detects nothing: scores are of suite 'ood'")
    if request.detectors and "ood" not in names:
        raise UserError(f"suite {suite!r} detects nothing: detectors are of suite 'ood'")
    if not {"ood", "stress"} & set(names) and any(source.origin and source.role == "ood" for source in track.sources):
        raise UserError(f"suite {suite!r} has no OOD sets: those of the user are of suites 'ood' and 'stress'")
    if request.detectors and PROTOCOLS[request.protocol].evaluators:
        raise UserError(f"protocol {request.protocol!r} has no detectors: leave them out, or take protocol {V1.name!r}")


def unlabelled(spec: ModelSpec, track: Track) -> Unlabelled:
    """The evaluator of accuracy without labels, with a baseline's twin if one is shipped."""
    if str(spec.ref) != spec.name or baselines.twin(spec.name, track=track.name) is None:
        return Unlabelled()
    return Unlabelled(str(replace(spec.ref, twin=True)))
