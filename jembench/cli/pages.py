"""Commands that write pages from golden results: ``leaderboard`` and ``card``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench.cli.options import AnyTrackOption
from jembench.types import UserError


def leaderboard(
    track: AnyTrackOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Of every track that has a leaderboard.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the markdown files.")] = Path(
        "leaderboards"
    ),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if the file is not current.")] = False,
) -> None:
    """Write leaderboards/TRACK.md from the golden results of the track's baselines and the published rows."""
    from jembench import data
    from jembench.ground import files
    from jembench.pages import leaderboard
    from jembench.pages.tables import publications
    from jembench.zoo import baselines

    if everything and track is not None:
        raise UserError("name one track, or all of them by --all")
    stale = False
    for name in data.TRACKS if everything else [track or "digits"]:
        description = data.track(name)
        golden = baselines.all_golden(name)
        attacked = leaderboard.robustness(description, baselines.all_attacked(name))
        printed = publications.tables(name)
        if everything and not (golden or attacked or printed):
            continue
        content = leaderboard.leaderboard(description, golden, attacked, printed)
        path = output / f"{name}.md"
        current = path.read_text(encoding="utf-8") if path.exists() else None
        if not check:
            pictures = leaderboard.pictures(description, golden, attacked)
            for place, written in {path.name: content.encode(), **pictures}.items():
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


def card(
    name: Annotated[str | None, typer.Argument(help="A baseline.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every baseline of the track, or of every track.")] = False,
    track: AnyTrackOption = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a card is not current.")] = False,
) -> None:
    """Write the README.md of a baseline from its recipe, training record, golden result and NOTES.md."""
    from jembench import data
    from jembench.ground import files
    from jembench.pages import card as cards
    from jembench.zoo import baselines

    if (name is None) != everything:
        raise UserError("name one baseline, or all of a track by --all")
    sources: dict[Path, str] = {}
    for owner in data.TRACKS if everything and track is None else [track or "digits"]:
        data.track(owner)
        found = baselines.recipes(owner).values() if name is None else [baselines.recipe_path(name, track=owner)]
        sources |= dict.fromkeys(found, owner)
    stale = False
    for source, owner in sources.items():
        path = source.with_name(cards.CARD)
        content = cards.card(source.parent)
        current = path.read_text(encoding="utf-8") if path.exists() else None
        if not check:
            if current is not None and cards.AUTHOR not in current:
                raise UserError(f"{path} was not written by jembench: move it away, or keep its words in {cards.NOTES}")
            files.write(path, content.encode())
            typer.echo(str(path))
        elif current == content:
            typer.echo(f"{path} is current")
        else:
            stale = True
            typer.echo(f"{path} is not current: run `jembench card {source.parent.name} --track {owner}`", err=True)
    if stale:
        raise typer.Exit(1)
