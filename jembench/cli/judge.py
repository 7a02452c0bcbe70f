"""Commands that compare with what was measured before: ``gate``, ``golden``, ``verify-adversarials``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jembench.choices.request import STORE, Request
from jembench.cli.options import QuietOption, requesting
from jembench.ground.progress import patience, shown
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.pages.gates.verdict import GateVerdict

MODEL = ("models", "track", "data_dir", "defences", "seed", "device")  # of a request for one model
RESULT = (*MODEL, "suites", "protocol", "limit", "output", "workers")  # of a request for one result
OPTIONS = {"suites": "suite"}  # fields of a request whose option has another name
GITHUB = "GITHUB_ACTIONS"
STEP = "GITHUB_STEP_SUMMARY"


@requesting(*RESULT, model=None)
def gate(
    request: Request,
    context: typer.Context,
    result: Annotated[
        str | None, typer.Option("--result", help="A result to be judged, by its name or folder, in place of a model.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            "-b",
            help="The golden result: a folder or ZIP file, the name of a result or of a shipped baseline; the model's "
            "own by default.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="An id, a pattern (*/mass/auroc), headlines or all: what is judged; repeat."),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option("--tolerance", help="METRIC=VALUE: how much worse it may be; an id or a pattern; repeat."),
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="Chance of a false alarm among all tests.")] = 0.05,
    retrained: Annotated[
        bool, typer.Option("--retrained", help="Another training: tolerances grow by the spread of training seeds.")
    ] = False,
    seeds: Annotated[
        list[Path] | None,
        typer.Option("--seeds", help="Trainings of the golden model: seeds.json, or results; repeat."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="A line for every metric.")] = False,
    junit: Annotated[Path | None, typer.Option("--junit", help="A JUnit file to write.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="A comment of a pull request to write.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="A file to write with all that was found.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Compare a model or a result with a golden one: exit 0, 1 (a metric is worse) or 2 (could not compare)."""
    try:
        if (result is None) == (not request.models):
            raise UserError("name what is judged: a model by --model, or a result by --result")
        with shown(not quiet) as show:
            from jembench import api
            from jembench.pages.gates.rule import tolerances

            rule = api.Rule(tuple(metric or ()), tolerances(tolerance or ()), alpha, retrained, tuple(seeds or ()))
            typed = {name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"}  # type: ignore[union-attr]
            inherited = [name for name in api.INHERITED if OPTIONS.get(name, name) not in typed]
            fresh = request if result is None else result
            verdict = api.gate(fresh, baseline, rule=rule, inherited=inherited, output=request.output, progress=show)
        _write(verdict, junit, markdown, json)
    except UserError as error:
        if os.environ.get(GITHUB):
            from jembench.pages.gates.formats import command

            typer.echo(command("error", "could not compare", str(error)))
        raise
    from jembench.pages.gates import text

    typer.echo(text.text(verdict, full=full))
    _github(verdict)
    if not verdict:
        raise typer.Exit(1)


def _write(verdict: GateVerdict, junit: Path | None, markdown: Path | None, json: Path | None) -> None:
    """The files that were asked for."""
    from jembench.ground import files
    from jembench.pages.gates import formats

    if junit is not None:
        files.write(junit, formats.junit(verdict))
    if markdown is not None:
        files.write(markdown, formats.markdown(verdict).encode())
    if json is not None:
        files.write(json, formats.document(verdict))


def _github(verdict: GateVerdict) -> None:
    """Annotations and the summary of a step, where GitHub Actions runs this."""
    from jembench.pages.gates import formats

    if not os.environ.get(GITHUB):
        return
    typer.echo(formats.github(verdict), nl=False)
    if summary := os.environ.get(STEP):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(f"{formats.markdown(verdict)}\n")
        except OSError as error:
            raise UserError(f"{summary}: cannot be written ({error.strerror or error})") from error


@requesting(*(name for name in RESULT if name != "output"))
def golden(
    request: Request,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Gets the golden result: a folder, or a file that ends in .zip.")
    ],
    seeds: Annotated[
        list[str] | None,
        typer.Option("--seeds", help="A result of another training of the model, for gate --retrained; repeat."),
    ] = None,
    store: Annotated[Path, typer.Option("--store", help="Folder of results and their records.")] = STORE,
    quiet: QuietOption = False,
) -> None:
    """Measure a model of your own once, and keep the result for the gate to compare with."""
    with shown(not quiet) as show:
        from jembench import api

        api.golden(replace(request, output=store), output, trainings=seeds or (), progress=show)
    typer.echo(str(output))


@requesting(*MODEL, seed=1)
def verify_adversarials(
    request: Request,
    file: Annotated[Path, typer.Argument(help="What `jembench run --save-adversarials` wrote.")],
    draws: Annotated[int, typer.Option("--draws", help="Fresh draws of a stochastic model.", min=1)] = 20,
) -> None:
    """Judge saved adversarials anew: in the ball, in range, finite, misclassified. Exit 1 if one is not valid."""
    from tabulate import tabulate

    with patience("judging adversarials"):
        from jembench import api

        name, verdicts = api.verify_adversarials(file, request, draws=draws)
    rows = []
    for verdict in verdicts:
        robust = f"{verdict.robust.value:.3f} ({verdict.robust.low:.3f}–{verdict.robust.high:.3f})"
        one_shot = "" if verdict.one_shot is None else f"{verdict.one_shot:.3f}"
        rows.append([verdict.ball.name, verdict.n, verdict.valid, robust, one_shot])
    header = ["ball", "images", "valid", f"robust accuracy of {name}", "one shot"]
    typer.echo(tabulate(rows, headers=header, disable_numparse=True))
    if any(verdict.valid < verdict.n for verdict in verdicts):
        typer.echo("jembench: not all adversarials are in their ball, in [0, 1] and finite", err=True)
        raise typer.Exit(1)
