"""Commands that compare with what was measured before: ``compare``, ``gate``, ``golden``, ``verify-adversarials``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from jembench.cli.options import (
    OUTPUT,
    DataOption,
    DeviceOption,
    LimitOption,
    OutputOption,
    ProtocolOption,
    QuietOption,
    SeedOption,
    SmoothOption,
    TrackOption,
    VotesOption,
    WeightsOption,
    WorkersOption,
)
from jembench.cli.terminal import draw
from jembench.cli.words import defended, whole, words
from jembench.ground.progress import progress
from jembench.types import UserError

Golden = Literal["all", "robustness"]


def compare(
    results: Annotated[list[Path], typer.Argument(help="Result folders of one track; the first is the reference.")],
    format: Annotated[Literal["table", "markdown"], typer.Option("--format", "-f", help="Of the tables.")] = "table",
) -> None:
    """Paired differences between results on the same images: which model is better, and how sure that is."""
    from jembench.pages import compare as comparison
    from jembench.pages.tables import report

    tables = comparison.compare(results)
    if format == "markdown":
        typer.echo(report.markdown_of(tables))
    else:
        draw(tables)


def gate(
    model: Annotated[
        str, typer.Option("--model", "-m", help="A baseline, path/to/file.py:build or package.module:build.")
    ],
    suite: Annotated[str, typer.Option("--suite", "-s", help="The suite to compare.")] = "all",
    track: TrackOption = "digits",
    data_dir: DataOption = None,
    weights: WeightsOption = None,
    golden: Annotated[
        Path | None, typer.Option("--golden", help="A result folder to compare with, instead of the baseline's own.")
    ] = None,
    refine: Annotated[int | None, typer.Option("--refine", help="SGLD steps of a refinement before the model.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    limit: LimitOption = None,
    output: OutputOption = OUTPUT,
    workers: WorkersOption = 1,
    protocol: ProtocolOption = "v1",
    quiet: QuietOption = False,
) -> None:
    """Compare a fresh result with the golden one: exit 0, 1 (a metric is worse) or 2 (not comparable)."""
    from jembench import data
    from jembench.attacks.defences import Defence
    from jembench.engine import bench
    from jembench.engine.plan import plan
    from jembench.pages import gate as gates
    from jembench.store.records import Store
    from jembench.store.results import ProtocolEntry, read_result
    from jembench.zoo import baselines, catalogue

    description = data.track(track, folder=data_dir)
    spec = catalogue.resolve(model, track=track, weights=weights, folder=description.folder)
    defence = None if refine is None else Defence(refine)
    spec = spec if defence is None else catalogue.defended(spec, defence)
    made = plan(spec, suite, track=description, protocol=protocol, seed=seed, limit=limit, device=device)
    title = "" if defence is None else defence.title
    place = baselines.attacked(title) if suite == baselines.ROBUSTNESS else baselines.GOLDEN
    reference = read_result(golden if golden is not None else baselines.golden(model, track=track, place=place))
    gates.check_comparable(ProtocolEntry.model_validate(made.protocol), reference)
    with progress(quiet) as show:
        (outcome,) = bench.run([made], Store.open(output), workers=workers, progress=show)
    verdict = gates.compare(outcome.document, reference)
    typer.echo(verdict.text)
    if verdict.worse:
        raise typer.Exit(1)


def golden(
    output: Annotated[Path, typer.Option("--output", "-o", help="Laid out as baselines/TRACK.")],
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Of these baselines only; repeat.")] = None,
    suite: Annotated[Golden, typer.Option("--suite", "-s", help="Which of the two.")] = "robustness",
    refine: Annotated[
        str | None, typer.Option("--refine", help="SGLD steps of the refined rows: 1,10 by default.")
    ] = None,
    track: TrackOption = "digits",
    data_dir: DataOption = None,
    records: Annotated[Path, typer.Option("--records", help="The store of the runs.")] = OUTPUT,
    workers: WorkersOption = 1,
    quiet: QuietOption = False,
) -> None:
    """Measure golden results of the track's baselines: of suite all, or of suite robustness, bare and refined."""
    from jembench import data, rebuild
    from jembench.zoo import baselines

    description = data.track(track, folder=data_dir)
    if refine is not None and suite != baselines.ROBUSTNESS:
        raise UserError("--refine goes with --suite robustness: the rows of suite all are bare")
    steps = [whole(word, "--refine") for word in words("1,10" if refine is None else refine) or ()]
    with progress(quiet) as show:
        places = rebuild.measure(
            description,
            output,
            records=records,
            suite=suite,
            refine=steps,
            names=model or (),
            workers=workers,
            progress=show,
        )
    for place in places:
        typer.echo(str(place))


def verify_adversarials(
    file: Annotated[Path, typer.Argument(help="What `jembench run --save-adversarials` wrote.")],
    model: Annotated[str, typer.Option("--model", "-m", help="As of `jembench run`; it need not be the attacked one.")],
    track: TrackOption = "digits",
    data_dir: DataOption = None,
    weights: WeightsOption = None,
    refine: Annotated[int | None, typer.Option("--refine", help="SGLD steps of a refinement before the model.")] = None,
    smooth: SmoothOption = None,
    votes: VotesOption = None,
    draws: Annotated[int, typer.Option("--draws", help="Fresh draws of a stochastic model.", min=1)] = 20,
    seed: SeedOption = 1,
    device: DeviceOption = "cpu",
) -> None:
    """Judge saved adversarials anew: in the ball, in range, finite, misclassified. Exit 1 if one is not valid."""
    from tabulate import tabulate

    from jembench import data
    from jembench.engine import adversarials
    from jembench.zoo import catalogue

    description = data.track(track, folder=data_dir)
    bare = catalogue.resolve(model, track=track, weights=weights, folder=description.folder)
    if refine is not None and smooth is not None:
        raise UserError("adversarials are judged by one model: choose --refine or --smooth")
    (spec,) = defended(bare, None if refine is None else str(refine), smooth, votes)
    verdicts = adversarials.verify(file, spec, track=description, draws=draws, seed=seed, device=device)
    rows = []
    for verdict in verdicts:
        robust = f"{verdict.robust.value:.3f} ({verdict.robust.low:.3f}–{verdict.robust.high:.3f})"
        one_shot = "" if verdict.one_shot is None else f"{verdict.one_shot:.3f}"
        rows.append([verdict.ball.name, verdict.n, verdict.valid, robust, one_shot])
    header = ["ball", "images", "valid", f"robust accuracy of {spec.name}", "one shot"]
    typer.echo(tabulate(rows, headers=header, disable_numparse=True))
    if any(verdict.valid < verdict.n for verdict in verdicts):
        typer.echo("jembench: not all adversarials are in their ball, in [0, 1] and finite", err=True)
        raise typer.Exit(1)
