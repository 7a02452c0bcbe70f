"""``jembench run`` and ``jembench check``: measure models, and look at how they are wired."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jembench.choices import flags, runfile
from jembench.choices.request import Request
from jembench.cli.options import QuietOption, member, overridden, requesting
from jembench.cli.results import FullOption
from jembench.ground import files
from jembench.ground.progress import patience, shown, stopwatch
from jembench.pages import EXPORTERS
from jembench.pages.pictures.style import KINDS
from jembench.types import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jembench.api import FreshResult


@requesting(model=None)
def run(
    request: Request,
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="A run file (TOML), or a result to be measured again; options go before it.")
    ] = None,
    save_config: Annotated[
        Path | None, typer.Option("--save-config", help="A run file to write: all that was asked for.")
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="Of the result on stdout.",
            metavar=f"<{'|'.join(EXPORTERS)}>",
            callback=member(EXPORTERS),
        ),
    ] = "table",
    save_adversarials: Annotated[
        Path | None, typer.Option("--save-adversarials", help="Folder for the worst adversarials, a file per model.")
    ] = None,
    full: FullOption = False,
    figures: Annotated[
        str,
        typer.Option("--figures", help=f"Kinds of the pictures beside png, comma-separated: {', '.join(KINDS[1:])}."),
    ] = KINDS[0],
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Draw none.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do and about how long it takes; write nothing.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Measure models and print what came out; what was measured before is not measured again."""
    start = time.perf_counter()
    kinds = tuple(dict.fromkeys((KINDS[0], *flags.words(figures))))
    if strange := [kind for kind in kinds if kind not in KINDS]:
        raise UserError(f"--figures takes {', '.join(KINDS)}, comma-separated, not {strange[0]!r}")
    if no_pictures and len(kinds) > 1:
        raise UserError("choose --figures or --no-pictures")
    if file is not None:
        typed = {name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"}  # type: ignore[union-attr]
        request = overridden(runfile.read(file), request, typed)
    if dry_run:
        if save_config is not None:
            raise UserError("--save-config writes a file, --dry-run none: leave one of them out")
        with patience("reading models and images", quiet):
            from jembench import api

            forecast = api.estimate(request)
        typer.echo("\n".join(map(str, (forecast, *forecast.shares))))
        return
    if save_config is not None:
        if save_config.exists():
            raise UserError(f"{save_config} is there already: choose another file")
        files.write(save_config, runfile.written(request))
    if save_adversarials is not None and "robustness" not in request.suites:
        raise UserError("--save-adversarials goes with --suite robustness")
    with shown(not quiet) as show:
        from jembench import api, gallery
        from jembench.cli.results import page

        results = api.measure(request, progress=show)
        evaluations = [result.evaluation for result in results]
        pictures = [] if no_pictures else gallery.pictures(evaluations, kinds)
        if save_adversarials is not None:
            pictures += gallery.save(evaluations, save_adversarials)
    documents, folders = [result.document for result in results], [result.folder for result in results]
    cost = _cost(results, time.perf_counter() - start)
    if format == "table" and not full:
        typer.echo(page(documents, folders, request.output, aside=cost, pictures=pictures, table=quiet), nl=False)
        return
    typer.echo(EXPORTERS[format](documents))
    if not quiet:
        typer.echo(f"{', '.join(map(str, folders))}: {cost}", err=True)


@requesting("models", "track", "data_dir", "device", arguments=("model",))
def check(request: Request, quiet: QuietOption = False) -> None:
    """Look for slips in how models were wired, before minutes are spent: exit 0, or 1 if there is something."""
    with patience("looking at models", quiet):
        from jembench import api
        from jembench.sanity import CHECKS, IMAGES

        inspected = api.inspect_models(request)
    slips = 0
    for name, findings in inspected:
        for check, words in findings.items():
            typer.echo(f"{name}: {check}: {words}")
        if not findings and not quiet:
            typer.echo(f"{name}: nothing found by {len(CHECKS)} checks of {IMAGES} images")
        slips += len(findings)
    if slips:
        raise typer.Exit(1)


def _cost(results: Sequence[FreshResult], seconds: float) -> str:
    """What was computed, and how long it took."""
    chunks = len({key for result in results for key in result.evaluation.outcome.chunks})
    fresh = len({key for result in results for key in result.evaluation.outcome.computed})
    if fresh == chunks:
        return f"{stopwatch(seconds)}, nothing reused"
    return f"{stopwatch(seconds)}, {'all' if fresh == 0 else f'{chunks - fresh} of'} {chunks} chunks reused"
