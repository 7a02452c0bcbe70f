"""Commands that compare with what was measured before: ``gate``, ``golden``, ``verify-adversarials``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench.choices.request import Request
from jembench.cli.options import QuietOption, requesting
from jembench.ground.progress import patience, shown

MODEL = ("models", "track", "data_dir", "defences", "seed", "device")  # of a request for one model
RESULT = (*MODEL, "suites", "protocol", "limit", "output", "workers")  # of a request for one result


@requesting(*RESULT)
def gate(
    request: Request,
    golden: Annotated[
        Path | None, typer.Option("--golden", help="A result folder to compare with, instead of the baseline's own.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Compare a fresh result with the golden one: exit 0, 1 (a metric is worse) or 2 (not comparable)."""
    with shown(not quiet) as show:
        from jembench import api

        verdict = api.gate(request, golden, progress=show)
    typer.echo(verdict.text)
    if verdict.worse:
        raise typer.Exit(1)


@requesting(*RESULT)
def golden(
    request: Request,
    folder: Annotated[Path, typer.Argument(help="Gets the result, for `jembench gate --golden FOLDER`.")],
    quiet: QuietOption = False,
) -> None:
    """Measure a model of your own once, and keep the result for the gate to compare with."""
    with shown(not quiet) as show:
        from jembench import api

        api.golden(request, folder, progress=show)
    typer.echo(str(folder))


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
