"""Measure: the one way from a request to results.

:func:`measure` resolves the models of a request, plans a result for each of them and each suite, has
:mod:`jembench.engine.bench` compute what is missing, and returns every result with the plan and the store behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from jembench import data
from jembench.choices.request import Sampling
from jembench.choices.runfile import PLACE, described
from jembench.choices.suites import SUITES
from jembench.data import contamination, corruptions, user
from jembench.engine import bench, estimate, sanity
from jembench.engine.bench import Outcome
from jembench.engine.estimate import Forecast
from jembench.engine.plan import Plan, plan
from jembench.ground.plain import plain
from jembench.ground.progress import Show, silent
from jembench.measurements.contract import by_need
from jembench.store import shelf
from jembench.store.records import Store, decode
from jembench.store.results import EXAMPLES, printable
from jembench.types import UserError
from jembench.zoo import catalogue

if TYPE_CHECKING:
    from jembench.choices.request import Request
    from jembench.data.sets import Track
    from jembench.measurements.contract import Need
    from jembench.store.results import ResultDocument
    from jembench.zoo.catalogue import ModelSpec


CORRUPTED = ("accuracy", "calibration")  # suites that look at corrupted test images, where there are some


@dataclass(frozen=True)
class Evaluation:
    """A result, and what is behind it.

    Attributes:
        plan: the chunks and evaluators that it is made of.
        outcome: the result document, the folder that it is kept in, and what was computed for it.
        store: the store that its records are in.
    """

    plan: Plan
    outcome: Outcome
    store: Store

    @property
    def document(self) -> ResultDocument:
        """The content of its ``result.json``."""
        return self.outcome.document

    def evaluator(self, name: str) -> Any:
        """Its evaluator of that name; None if it has none."""
        return next((evaluator for evaluator in self.plan.evaluators if evaluator.name == name), None)

    def examples(self) -> dict[str, NDArray[Any]]:
        """The columns of its ``examples.parquet``."""
        return decode((self.outcome.folder / EXAMPLES).read_bytes())

    def columns(self, *needs: Need) -> dict[Need, dict[str, NDArray[Any]]]:
        """The columns of the records behind these needs, of those that the model gives."""
        return by_need(bench.batches(self.plan, self.store, needs))


def measure(
    request: Request, *, progress: Show = silent, inspect: Callable[[Plan], None] = lambda plan: None
) -> list[Evaluation]:
    """Measure what is requested; what was measured before is not measured again.

    Args:
        request: models, suites, and all options.
        progress: called with (chunks done, chunks to do, name of the next) before the first chunk and after every one.
        inspect: called with every plan before anything is computed; may refuse it.

    Returns:
        Suite by suite, the evaluations of all models in the order of the request.

    Raises:
        UserError: for bad input of any kind; chunks that were finished stay.
    """
    shelf.settle(request.output)
    store = Store.open(request.output)
    trained_on = _trained_on(request)
    plans = [_warned(_asked(each, request), store, request.device, trained_on) for each in planned(request)]
    for each in plans:
        inspect(each)
    outcomes = estimate.followed(plans, store, workers=request.workers, progress=progress)
    return [Evaluation(each, outcome, store) for each, outcome in zip(plans, outcomes, strict=True)]


def forecast(request: Request) -> Forecast:
    """What measuring a request will do, and about how long it takes; nothing is written.

    Raises:
        UserError: for bad input of any kind.
    """
    store = Store.open(request.output)
    return estimate.estimate(planned(request), store, workers=request.workers, exact=True)


def _asked(plan: Plan, request: Request) -> Plan:
    """A plan with the request of its result alone, unless the model is an object."""
    if plan.model.ref.form == "object":
        return plan
    names = {source.name for source in plan.track.sources}
    alone = replace(
        request,
        models=(plan.model.ref,),
        suites=(plan.suite,),
        track=plan.track.ref,
        data_dir=request.data_dir and request.data_dir.expanduser().resolve(),
        ood={name: place for name, place in dict(request.ood).items() if name in names} or (),
        defences=(plan.model.defence,),
    )
    return replace(plan, request=described(alone, free=PLACE))


def _warned(plan: Plan, store: Store, device: str, trained_on: tuple[str, ...]) -> Plan:
    """A plan with what must be known beside its numbers; a result that is there says most of it."""
    words = list(trained_on)
    if bench.missing(plan, store):
        words += [bench.seen(plan), sanity.shared(plan.track, store)]
        words += sanity.inspected(plan.model, plan.track, store, device=device)
    return replace(plan, warnings=tuple(filter(None, words)))


def _trained_on(request: Request) -> tuple[str, ...]:
    """What is known of the training images that a request names."""
    if request.trained_on is None:
        return ()
    track = data.track(request.track, folder=request.data_dir)
    return tuple(contamination.words(request.trained_on, user.extended(track, dict(request.ood))))


def planned(request: Request) -> list[Plan]:
    """The plans of a request, suite by suite; a model object is copied for them."""
    track = data.track(request.track, folder=request.data_dir)
    rows = specs(request, track)
    outliers = user.extended(track, dict(request.ood)).sources[len(track.sources) :]
    if request.corruptions is not None and not set(request.suites) & set(CORRUPTED):
        raise UserError(f"--corruptions goes with suite {' or '.join(CORRUPTED)}")
    copies = () if request.corruptions is None else corruptions.sources(request.corruptions, track)
    detecting, outlying = _serving(request, "ood"), _serving(request, "ood", "stress")
    generating = _serving(request, "generation")
    return [
        plan(
            spec,
            suite,
            track=replace(
                track,
                sources=(
                    *track.sources,
                    *(outliers if suite in outlying else ()),
                    *(copies if suite in CORRUPTED else ()),
                ),
            ),
            request=replace(
                request,
                sampling=request.sampling if suite in generating else Sampling(),
                detectors=request.detectors if suite in detecting else (),
                scores=request.scores if suite in detecting else (),
            ),
        )
        for suite in request.suites
        for spec in rows
    ]


def specs(request: Request, track: Track) -> list[ModelSpec]:
    """The models of a request behind its defences, no two of the same name.

    Raises:
        UserError: if there is none, or one cannot be built, loaded or defended.
    """
    if not request.models:
        raise UserError("name a model to measure, by --model")
    rows = [
        spec if defence is None else catalogue.defended(spec, defence)
        for spec in (catalogue.resolve(ref, track=track.ref, folder=track.folder) for ref in request.models)
        for defence in request.defences
    ]
    rows = list({(spec.name, spec.fingerprint): spec for spec in rows}.values())  # named in two ways
    names = [spec.name for spec in rows]
    for name in (*names, *dict(request.ood)):
        try:
            plain(name)
        except ValueError as error:
            raise UserError(f"the name {printable(name[:60])!r} cannot be kept: {error}; choose another one") from error
    return [
        replace(spec, name=f"{spec.name}-{spec.fingerprint[:6]}") if names.count(spec.name) > 1 else spec
        for spec in rows
    ]


def _serving(request: Request, *evaluators: str) -> tuple[str, ...]:
    """The suites with one of these evaluators, which its options go to; all of them if none has, to be told so."""
    known = {name: set(SUITES[name]) for name in request.suites if name in SUITES}
    return tuple(name for name, members in known.items() if members & set(evaluators)) or request.suites
