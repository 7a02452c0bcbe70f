"""``jembench leaderboard``: the tables that are published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench import data
from jembench.cli.options import AnyTrackOption
from jembench.ground import files
from jembench.ground.progress import patience
from jembench.types import UserError


@patience("reading results, drawing pictures")
def leaderboard(
    track: AnyTrackOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Of every track that has a leaderboard.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the markdown files.")] = Path(
        "leaderboards"
    ),
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", help="Rows of your own: a store or folders of results, suites all and robustness."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if the file is not current.")] = False,
) -> None:
    """Write leaderboards/TRACK.md from the golden results of the track's baselines and the published rows."""
    from jembench.pages import leaderboard
    from jembench.pages.pictures import style
    from jembench.pages.tables import publications
    from jembench.zoo import baselines

    if everything and track is not None:
        raise UserError("name one track, or all of them by --all")
    stale = False
    for name in data.TRACKS if everything else [track or data.DEFAULT]:
        description = data.track(name)
        golden = baselines.all_golden(name) + leaderboard.measured(description, results or (), "all")
        attacked = baselines.all_golden(name, baselines.attacked("*"))
        attacked += leaderboard.measured(description, results or (), "robustness")
        robustness = leaderboard.robustness(description, attacked)
        literature = publications.tables(name)
        if everything and not (golden or robustness or literature):
            continue
        content = leaderboard.leaderboard(description, golden, robustness, literature, guests=bool(results))
        path = output / f"{description.name}.md"
        current = path.read_text(encoding="utf-8") if path.exists() else None
        if not check:
            pictures = leaderboard.pictures(description, golden, robustness)
            rendered = {name: style.render(figure) for name, figure in pictures.items()}
            for place, written in {path.name: content.encode(), **rendered}.items():
                files.write(output / place, written)
                typer.echo(str(output / place))
        elif current == content:
            typer.echo(f"{path} is current")
        else:
            stale = True
            state = "does not exist" if current is None else "is not current"
            typer.echo(f"{path} {state}: run `jembench leaderboard --track {name}`", err=True)
    if stale:
        raise typer.Exit(1)
