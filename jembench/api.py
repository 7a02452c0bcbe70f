"""The Python interface: load a baseline, wrap a module, evaluate a model; the gate and the judge of adversarials."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, overload

from jembench import data
from jembench.attacks.defences import Defence
from jembench.choices.request import STORE, Options, Request, Sampling
from jembench.engine import adversarials
from jembench.engine import verify as verifying
from jembench.engine.estimate import Forecast
from jembench.engine.measure import Evaluation, forecast, specs
from jembench.engine.measure import measure as measured
from jembench.engine.sanity import checked
from jembench.ground.progress import Show, shown
from jembench.pages.gates.rule import PLAIN, Rule
from jembench.pages.gates.spread import of_golden, spreads, together
from jembench.pages.gates.verdict import GateVerdict, check_comparable, judge
from jembench.pages.pairs.claims import claims
from jembench.pages.pairs.side import Side
from jembench.pages.result import Comparison, Result, Results
from jembench.pages.result import compare as paired
from jembench.pages.seeds import SEEDS, Seeds, write_seeds
from jembench.pages.verification import Verification
from jembench.store import archives, shelf
from jembench.store.results import RESULT, ProtocolEntry, ResultDocument, copy_result, read_result
from jembench.types import UserError, unknown
from jembench.zoo import baselines, catalogue, goldens
from jembench.zoo.references import ModelRef, parse

if TYPE_CHECKING:
    from torch import nn

    from jembench.engine.adversarials import Verdict
    from jembench.engine.plan import Plan
    from jembench.models.softmax import Softmax

__all__ = [
    "Comparison",
    "Defence",
    "FreshResult",
    "GateVerdict",
    "Options",
    "Request",
    "Result",
    "Results",
    "Rule",
    "Sampling",
    "check",
    "compare",
    "estimate",
    "evaluate",
    "gate",
    "golden",
    "load",
    "load_result",
    "measure",
    "verify",
    "verify_adversarials",
    "wrap",
]

INHERITED = ("suites", "track", "seed", "limit", "protocol")  # fields of a request that a golden result has
ONE_BY_ONE = {"models", "suites", "defences"}  # fields of a request of which :func:`evaluate` takes one


@dataclass(frozen=True, repr=False)
class FreshResult(Result):
    """A result of this process.

    Attributes:
        evaluation: the plan, the store and what was computed for it.
    """

    evaluation: Evaluation

    def _sources(self, evaluator: str) -> set[str]:
        plan = self.evaluation.plan
        return {need.source for need in self.evaluation.evaluator(evaluator).needs(plan.track)}

    def _columns(self, evaluator: str) -> Sequence[str]:
        judge = self.evaluation.evaluator(evaluator)
        return judge.columns  # type: ignore[no-any-return]


def load(name: str, *, track: str = data.DEFAULT) -> Any:
    """A trained baseline of a track, in evaluation mode on the CPU.

    Args:
        name: name of the baseline, such as ``jem``.
        track: name of the track.

    Raises:
        UserError: for an unknown name.
    """
    data.track(track)
    return catalogue.load(catalogue.resolve(parse(name), track=track))


def wrap(
    module: nn.Module,
    *,
    mean: float | tuple[float, ...] = 0.0,
    std: float | tuple[float, ...] = 1.0,
    range: tuple[float, float] = (0.0, 1.0),
) -> Softmax:
    """Make a module that returns logits ``(B, K)`` a model of the contract.

    Args:
        module: called with ``(r - mean) / std``, where r are the pixels x in [0, 1] brought to ``range``; every
            classifier is also a density, log p(x) = logsumexp f(x).
        mean: mean of the pixels r, one number or one per channel.
        std: standard deviation of the pixels r, positive, one number or one per channel.
        range: ends of the range of r, such as 0 and 255.

    Raises:
        UserError: for a mean out of the range, a deviation that is not positive, or a range that is none.
    """
    from jembench.models.softmax import Softmax

    try:
        return Softmax(module, mean=mean, std=std, range=range)
    except ValueError as error:
        raise UserError(str(error)) from error


def measure(request: Request, *, progress: bool | Show = True) -> Results[FreshResult]:
    """Measure what is requested, every model by every suite; what was measured before is not measured again.

    Args:
        request: models, suites, and all options.
        progress: whether progress is shown: a bar on a terminal and in a notebook, elsewhere lines of the logger
            ``jembench``, which go to stderr where logging is not set up. Or a function that is called with (chunks
            done, chunks to do, name of the next).

    Raises:
        UserError: for bad input of any kind.
    """
    with shown(progress) as show:
        return Results(map(_fresh, measured(request, progress=show)))


def _fresh(evaluation: Evaluation) -> FreshResult:
    return FreshResult(evaluation.document, evaluation.outcome.folder, evaluation)


def estimate(request: Request) -> Forecast:
    """What measuring a request will do, and about how many ``seconds`` it takes; nothing is measured or written.

    ``print(jembench.estimate(request))`` says ``412 chunks, 96 there, about 3 min with 2 workers``. A pass of each
    model that was not measured before is timed.

    Args:
        request: models, suites, and all options.

    Raises:
        UserError: for bad input of any kind.
    """
    return forecast(request)


@overload
def evaluate(
    model: Any,
    suite: str = ...,
    *,
    name: str | None = ...,
    defence: Defence | None = ...,
    progress: bool | Show = ...,
    **settings: Any,
) -> FreshResult: ...


@overload
def evaluate(
    model: Any,
    suite: Sequence[str],
    *,
    name: str | None = ...,
    defence: Defence | None = ...,
    progress: bool | Show = ...,
    **settings: Any,
) -> Results[FreshResult]: ...


def evaluate(
    model: Any,
    suite: str | Sequence[str] = "all",
    *,
    name: str | None = None,
    defence: Defence | None = None,
    progress: bool | Show = True,
    **settings: Any,
) -> FreshResult | Results[FreshResult]:
    """Measure one model by one suite, or by several.

    Args:
        model: a baseline's name, ``"file.py:build"``, or a model object (a bare module is taken to map [0, 1] images to
            logits).
        suite: name of the suite, or names of several.
        name: what tables call a model object; its class by default.
        defence: what stands before the model, such as ``jembench.Defence(steps=10)``.
        progress: see :func:`measure`.
        settings: further fields of :class:`Request`, such as ``track``, ``limit``, ``seed``, ``output``, ``options``.

    Returns:
        The result; a list of results for several suites.

    Raises:
        UserError: for bad input of any kind.
    """
    free = {each.name for each in fields(Request)} - ONE_BY_ONE
    for setting in settings:
        if setting not in free:
            raise unknown("setting of an evaluation", setting, free)
    if isinstance(model, str):
        if name is not None:
            raise UserError("name is for model objects: a named model has its own")
        ref = parse(model)
    else:
        ref = ModelRef("object", name or type(model).__name__, module=model)
    chosen = {setting: value for setting, value in settings.items() if value is not None}
    suites = (suite,) if isinstance(suite, str) else tuple(suite)
    results = measure(Request(models=(ref,), suites=suites, defences=(defence,), **chosen), progress=progress)
    return results[0] if isinstance(suite, str) else results


def load_result(name: str | Path, *, output: Path = STORE) -> Result:
    """A result that was measured before.

    Args:
        name: its folder, its name (`jembench list results`), or the name of its model, whose latest one is meant.
        output: folder of the results.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    (folder,) = shelf.find([str(name)], Path(output))
    return Result(read_result(folder), folder)


def compare(*results: Result | str | Path, full: bool = False, output: Path = STORE) -> Comparison:
    """Paired differences between results on the same images: which model is better, and how sure that is.

    Args:
        results: results, or what :func:`load_result` takes; the first is the reference.
        full: whether every OOD set and score is compared, not the headlines alone.
        output: folder of the results.

    Raises:
        UserError: for fewer than two, or results that cannot be compared.
    """
    names = [str(each.folder if isinstance(each, Result) else each) for each in results]
    return paired(shelf.find(names, Path(output)), full=full)


def gate(
    fresh: Request | Result | str | Path,
    baseline: str | Path | None = None,
    *,
    rule: Rule = PLAIN,
    inherited: Collection[str] = (),
    output: Path = STORE,
    progress: bool | Show = True,
) -> GateVerdict:
    """Compare a fresh result of one model and one suite with a golden one.

    Args:
        fresh: what is measured, or a result that was, or what :func:`load_result` takes.
        baseline: what to compare with (:func:`jembench.zoo.goldens.find`); the baseline's own by default.
        rule: which metrics are judged, by which bars.
        inherited: fields of the request that are those of the golden result, among :data:`INHERITED`.
        output: folder of the results, if ``fresh`` is not a request.
        progress: see :func:`measure`.

    Returns:
        The verdict, which is true if nothing is worse.

    Raises:
        UserError: if there is nothing to compare with, or the two are not comparable.
    """
    if isinstance(fresh, Request):
        place = _golden_of_request(fresh, baseline)
        with archives.opened(place) as folder:
            reference = Result(read_result(folder), folder)
            request = replace(fresh, **_settings(reference.document, inherited, fresh))
            seeds = _trainings(reference, rule, place, request.output)

            def inspect(plan: Plan) -> None:
                check_comparable(ProtocolEntry.model_validate(plan.protocol), reference.document)

            with shown(progress) as show:
                (evaluation,) = measured(request, inspect=inspect, progress=show)
            return _judged(_fresh(evaluation), reference, rule, seeds)
    result = fresh if isinstance(fresh, Result) else load_result(fresh, output=output)
    place = _golden_of_result(result.document, baseline, output)
    with archives.opened(place) as folder:
        reference = Result(read_result(folder), folder)
        return _judged(result, reference, rule, _trainings(reference, rule, place, output))


def _golden_of_request(request: Request, baseline: str | Path | None) -> Path:
    """Where the golden result of a request lies."""
    ref, suite, defence = _single(request)
    if baseline is None:
        title = "" if defence is None else defence.title
        return goldens.of_baseline(ref, track=request.track, suite=suite, defence=title)
    return goldens.find(str(baseline), track=request.track, suite=suite, output=request.output)


def _golden_of_result(document: ResultDocument, baseline: str | Path | None, output: Path) -> Path:
    """Where the golden result of a result lies; of a model that is called like a baseline, the baseline's."""
    track = document.track.rpartition("-v")[0]
    known = track if track in data.TRACKS else data.DEFAULT
    if baseline is not None:
        return goldens.find(str(baseline), track=known, suite=document.suite, output=output)
    if track != known or document.model.name not in baselines.recipes(track):
        raise UserError(f"{document.model.name!r} is no baseline of {track}: {goldens.ADVICE}")
    return goldens.of_baseline(parse(document.model.name), track=track, suite=document.suite)


def _settings(golden: ResultDocument, names: Collection[str], request: Request) -> dict[str, Any]:
    """Fields of a request as the golden result has them; a user's track has no name to be found by."""
    track = golden.track.rpartition("-v")[0]
    values = {
        "suites": (golden.suite,),
        "track": track if track in data.TRACKS else request.track,
        "seed": golden.seed,
        "limit": golden.limit,
        "protocol": golden.protocol.name,
    }
    return {name: value for name, value in values.items() if name in names}


def _trainings(golden: Result, rule: Rule, place: Path, output: Path) -> Seeds | None:
    """The trainings behind the spread of a rule of retrained models; None for other rules."""
    if not rule.retrained:
        return None
    files = [path for path in rule.seeds if not (path / RESULT).is_file() and (path.name == SEEDS or path.is_dir())]
    others = [read_result(path) for path in shelf.find([str(each) for each in rule.seeds if each not in files], output)]
    return of_golden(golden.document, [golden.folder, place.parent], files, others)


def _judged(fresh: Result, golden: Result, rule: Rule, seeds: Seeds | None) -> GateVerdict:
    """The verdict on a result."""
    one, other = (Side(each.document.model.name, each.document, each.folder) for each in (fresh, golden))
    if seeds is None:
        return judge(one, other, rule)
    return judge(one, other, rule, spreads=spreads(seeds), trainings=len(seeds.runs))


def golden(
    request: Request, place: Path, *, trainings: Sequence[str | Path] = (), progress: bool | Show = True
) -> FreshResult:
    """Measure one model by one suite, and keep the result for a gate to compare with.

    Args:
        request: what is measured.
        place: gets the result: a folder, or a file that ends in ``.zip``.
        trainings: results of other trainings of the model's recipe, for ``retrained`` gates.
        progress: see :func:`measure`.

    Raises:
        UserError: for bad input of any kind; then nothing is written.
    """
    _single(request)
    if (place / RESULT).exists() or place.is_file():
        raise UserError(f"{place} holds a result: choose another place, or remove it to measure anew")
    others = [read_result(path) for path in shelf.find([str(each) for each in trainings], request.output)]

    def inspect(plan: Plan) -> None:
        _check_golden(plan.warnings)

    with shown(progress) as show:
        (evaluation,) = measured(request, inspect=inspect, progress=show)
    _check_golden(evaluation.document.warnings)
    result = _fresh(evaluation)
    seeds = together(result.document, others) if others else None
    if place.suffix != archives.SUFFIX:
        _keep(result.folder, place, seeds)
        return result
    with TemporaryDirectory(prefix="jembench-") as folder:
        _keep(result.folder, Path(folder), seeds)
        archives.pack(Path(folder), place)
    return result


def _keep(result: Path, folder: Path, seeds: Seeds | None) -> None:
    """Copy a result to a folder, with its trainings."""
    if seeds is not None:
        write_seeds(folder, seeds)
    copy_result(result, folder)


def _check_golden(warnings: tuple[str, ...]) -> None:
    """Refuse a result with warnings: what is compared with it would be compared with a slip."""
    if warnings:
        raise UserError(f"a golden result has no warnings, this one has: {'; '.join(warnings)}")


def check(
    model: Any, *, track: str = data.DEFAULT, data_dir: Path | None = None, device: str = "cpu"
) -> dict[str, str]:
    """Look for what is wrong with how a model was wired, on its first test images.

    Args:
        model: a reference, such as ``"file.py:build"``, or a model object.
        track: name of the track.
        data_dir: folder with the images of a track that does not carry its own.
        device: a torch device.

    Returns:
        What was found: name of the check (:data:`jembench.sanity.CHECKS`) -> one sentence; empty if nothing was.

    Raises:
        UserError: if the model or the images cannot be loaded, or the model fails.
    """
    ref = parse(model) if isinstance(model, str) else ModelRef("object", type(model).__name__, module=model)
    request = Request(models=(ref,), track=track, data_dir=data_dir, device=device)
    return inspect_models(request)[0][1]


def inspect_models(request: Request) -> list[tuple[str, dict[str, str]]]:
    """Look for what is wrong with the models of a request: name -> findings, see :func:`check`.

    Raises:
        UserError: if a model or the images cannot be loaded, or a model fails or gives neither logits nor samples.
    """
    track = data.track(request.track, folder=request.data_dir)
    rows = specs(request, track)
    for spec in rows:
        if not spec.capabilities & {"classifier", "sampler"}:
            raise UserError(f"model {spec.name!r} gives neither logits nor samples: there is nothing to check it by")
    return [(spec.name, checked(spec, track, device=request.device)) for spec in rows]


def verify(
    path: Path, request: Request, *, chunks: int = 5, seed: int | None = None, progress: bool | Show = True
) -> Verification:
    """Compute random chunks of a result again and hold them, and all metrics that follow from its examples, against it.

    Args:
        path: a result's folder, or an archive of it (`jembench submit`).
        request: the model, its defence, the images and the options that the result was measured with; suite, seed,
            limit and protocol are the result's, and its track unless another one is named.
        chunks: number of chunks.
        seed: of the choice; a new one every time by default.
        progress: see :func:`measure`.

    Raises:
        UserError: if the result is not valid, or the request does not measure what it claims to be.
    """
    with archives.opened(path) as folder, shown(progress) as show:
        document = archives.examine(folder)
        side = Side(document.model.name, document, folder)
        track = document.track.rpartition("-v")[0] if request.track == data.DEFAULT else request.track
        asked = replace(
            request,
            suites=(document.suite,),
            track=track,
            seed=document.seed,
            limit=document.limit,
            protocol=document.protocol.name,
        )
        if len(asked.models) != 1 or len(asked.defences) != 1:
            raise UserError("a result is of one model behind one defence: name them by --model and --refine")
        choice = secrets.randbits(32) if seed is None else seed
        found = verifying.recomputed(document, side.sources, asked, chunks=chunks, seed=choice, progress=show)
        return Verification(document, *found, list(claims(side)))


def _single(request: Request) -> tuple[ModelRef, str, Defence | None]:
    """The model, the suite and the defence of a request for one result."""
    if any(len(part) != 1 for part in (request.models, request.suites, request.defences)):
        raise UserError("a gate and a golden result are of one model and one suite, behind one defence at most")
    return request.models[0], request.suites[0], request.defences[0]


def verify_adversarials(file: Path, request: Request, *, draws: int = 20) -> tuple[str, list[Verdict]]:
    """Judge saved adversarials anew on one model, their own or another, on fresh draws.

    Args:
        file: what ``jembench run --save-adversarials`` wrote.
        request: the model with its defence, track, seed and device.
        draws: number of fresh draws of a stochastic model.

    Returns:
        The model's name, and a verdict for each ball.

    Raises:
        UserError: if the file or the model is not fit for it.
    """
    track = data.track(request.track, folder=request.data_dir)
    rows = specs(request, track)
    if len(rows) > 1:
        raise UserError("adversarials are judged by one model behind one defence: choose --refine or --smooth")
    (spec,) = rows
    verdicts = adversarials.verify(file, spec, track=track, draws=draws, seed=request.seed, device=request.device)
    return spec.name, verdicts
