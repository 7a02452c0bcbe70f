"""The Python interface: load a baseline, wrap a module, evaluate a model; the gate and the judge of adversarials."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench import data
from jembench.attacks.defences import Defence
from jembench.choices.request import Options, Request, Sampling
from jembench.engine import adversarials
from jembench.engine.estimate import Estimate
from jembench.engine.measure import Evaluation, forecast, specs
from jembench.engine.measure import measure as measured
from jembench.engine.sanity import checked
from jembench.ground.progress import Show, shown
from jembench.metrics.metric import Metric
from jembench.pages import gate as gates
from jembench.pages.tables import report
from jembench.store.results import EXAMPLES, RESULT, ProtocolEntry, copy_result, read_result
from jembench.types import UserError, unknown
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import ModelRef, parse

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from jembench.engine.adversarials import Verdict
    from jembench.engine.plan import Plan
    from jembench.models.softmax import Softmax

__all__ = [
    "Defence",
    "Options",
    "Request",
    "Result",
    "Sampling",
    "check",
    "estimate",
    "evaluate",
    "gate",
    "golden",
    "load",
    "measure",
    "verify_adversarials",
    "wrap",
]

ONE_BY_ONE = {"models", "suites", "defences"}  # fields of a request of which :func:`evaluate` takes one


class Result(Evaluation):
    """A measured result: its numbers, its tables, its examples."""

    @property
    def metrics(self) -> dict[str, Metric]:
        """All numbers by id ``source/variant/name``, such as ``textures/mass/auroc``."""
        return {metric.id: metric for metric in self.outcome.document.metrics}

    @property
    def folder(self) -> Path:
        """Where ``result.json`` and ``examples.parquet`` are."""
        return self.outcome.folder

    def to_markdown(self) -> str:
        """The tables of the result, one per evaluator, as GitHub markdown."""
        return report.markdown([self.outcome.document])

    def records(self, evaluator: str) -> pd.DataFrame:
        """One row per example: source, index and the scalars that the evaluator's metrics use.

        Raises:
            UserError: if the result's suite has no such evaluator.
        """
        import pandas as pd

        judges = {judge.name: judge for judge in self.plan.evaluators}
        if evaluator not in judges:
            raise unknown("evaluator of this result", evaluator, judges)
        sources = {need.source for need in judges[evaluator].needs(self.plan.track)}
        frame = pd.read_parquet(self.folder / EXAMPLES)
        columns = [name for name in ("source", "index", *judges[evaluator].columns) if name in frame]
        return frame.loc[frame["source"].isin(sources), columns].reset_index(drop=True)


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


def measure(request: Request, *, progress: bool | Show = True) -> list[Result]:
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
        return [Result(each.plan, each.outcome, each.store) for each in measured(request, progress=show)]


def estimate(request: Request) -> Estimate:
    """What measuring a request will do, and about how many ``seconds`` it takes; nothing is measured or written.

    ``print(jembench.estimate(request))`` says ``412 chunks, 96 there, about 3 min with 2 workers``. A pass of each
    model that was not measured before is timed.

    Args:
        request: models, suites, and all options.

    Raises:
        UserError: for bad input of any kind.
    """
    return forecast(request)


def evaluate(
    model: Any,
    suite: str = "all",
    *,
    name: str | None = None,
    defence: Defence | None = None,
    progress: bool | Show = True,
    **settings: Any,
) -> Result:
    """Measure one model by one suite.

    Args:
        model: a baseline's name, ``"file.py:build"``, or a model object (a bare module is taken to map [0, 1] images to
            logits).
        suite: name of the suite.
        name: what tables call a model object; its class by default.
        defence: what stands before the model, such as ``jembench.Defence(steps=10)``.
        progress: see :func:`measure`.
        settings: further fields of :class:`Request`, such as ``track``, ``limit``, ``seed``, ``output``, ``options``.

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
    request = Request(models=(ref,), suites=(suite,), defences=(defence,), **chosen)
    (result,) = measure(request, progress=progress)
    return result


def gate(request: Request, golden: Path | None = None, *, progress: bool | Show = True) -> gates.GateReport:
    """Compare a fresh result of one model and one suite with the golden one.

    Args:
        request: what is measured.
        golden: folder of the result to compare with; the baseline's own by default.
        progress: see :func:`measure`.

    Raises:
        UserError: if there is nothing to compare with, or the two are not comparable.
    """
    ref, suite, defence = _single(request)
    place = baselines.GOLDEN
    if suite == baselines.ROBUSTNESS:
        place = baselines.attacked("" if defence is None else defence.title)
    reference = read_result(golden or baselines.golden(ref, track=request.track, place=place))

    def inspect(plan: Plan) -> None:
        gates.check_comparable(ProtocolEntry.model_validate(plan.protocol), reference)

    with shown(progress) as show:
        (evaluation,) = measured(request, inspect=inspect, progress=show)
    return gates.compare(evaluation.outcome.document, reference)


def golden(request: Request, folder: Path, *, progress: bool | Show = True) -> Result:
    """Measure one model by one suite, and keep the result for a gate to compare with.

    Args:
        request: what is measured.
        folder: gets the result.
        progress: see :func:`measure`.

    Raises:
        UserError: for bad input of any kind.
    """
    _single(request)
    if (folder / RESULT).exists():
        raise UserError(f"{folder} holds a result: choose another folder, or remove it to measure anew")

    def inspect(plan: Plan) -> None:
        _check_golden(plan.warnings)

    with shown(progress) as show:
        (evaluation,) = measured(request, inspect=inspect, progress=show)
    _check_golden(evaluation.document.warnings)
    result = Result(evaluation.plan, evaluation.outcome, evaluation.store)
    copy_result(result.folder, folder)
    return result


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
