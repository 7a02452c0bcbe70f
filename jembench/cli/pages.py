"""``jembench leaderboard``: the tables that are published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jembench import data
from jembench.cli.guests import AddOption, ResultsOption, guests
from jembench.cli.options import AnyTrackOption
from jembench.ground import files
from jembench.ground.progress import patience
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.pages.boards.board import Board, Evidence

Format = Literal["markdown", "csv", "json", "latex"]


def leaderboard(
    track: AnyTrackOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Of every track that has a leaderboard.")] = False,
    add: AddOption = None,
    results: ResultsOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the files.")] = Path("leaderboards"),
    format: Annotated[Format, typer.Option("--format", "-f", help="Of the files.")] = "markdown",
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 if a file is not current, 2 if a result is not valid."),
    ] = False,
) -> None:
    """Write the leaderboard of a track from the results of its baselines, yours, and published rows."""
    from jembench.pages.boards.formats import FORMATS
    from jembench.pages.boards.gather import of_track
    from jembench.pages.boards.words import glance

    if everything and (track is not None or add):
        raise UserError("--all is of every track: name no track, and add results by --results")
    if check:
        _check(results or ())
    shown = [data.track(name).id for name in (data.TRACKS if everything else [track or data.DEFAULT])]
    with patience("reading results, testing pairs of models"), guests(add or (), results or (), shown) as found:
        stale = False
        for name in data.TRACKS if everything else [track or data.DEFAULT]:
            description = data.track(name)
            board = _board(description, of_track(found, description))
            path = output / f"{description.name}.{FORMATS[format][0] if format != 'markdown' else 'md'}"
            content = _content(board, format)
            if content is None and everything:
                continue
            if content is None:
                raise UserError(f"track {description.name} has no results and no published rows, so no leaderboard")
            if not check:
                typer.echo("" if everything else glance(board), nl=False)
                _write(board, path, content, pictures=format == "markdown")
            elif not path.exists() or path.read_text(encoding="utf-8") != content:
                stale = True
                state = "is not current" if path.exists() else "does not exist"
                typer.echo(f"{path} {state}: run `jembench leaderboard --track {name}`", err=True)
            else:
                typer.echo(f"{path} is current")
    if stale:
        raise typer.Exit(1)


def _check(places: Sequence[Path]) -> None:
    """Say what is wrong with the results of strangers, a line each; exit 2 if anything is."""
    from jembench.store import archives

    lines = [line for place in places for line in archives.faults(place)]
    for line in lines:
        typer.echo(f"jembench: {line}", err=True)
    if lines:
        raise typer.Exit(2)


def _board(track: Track, guests: Sequence[Evidence]) -> Board:
    """The board of a track with the results of a user."""
    from jembench.pages.boards.gather import board
    from jembench.zoo import baselines

    places = (baselines.GOLDEN, baselines.attacked("*"))
    shipped = [] if track.file else [path for place in places for path in baselines.all_golden(track.name, place)]
    return board(track, data.about(track.ref), shipped, guests)


def _content(board: Board, format: Format) -> str | None:
    """The text of a leaderboard; None where there is nothing to show."""
    from jembench.pages.boards import formats, markdown
    from jembench.pages.tables import publications

    if format != "markdown":
        return formats.FORMATS[format][1](board) if board.groups else None
    literature = publications.tables(board.track.rpartition("-v")[0])
    return markdown.page(board, literature) if board.groups or literature else None


def _write(board: Board, path: Path, content: str, *, pictures: bool) -> None:
    """Write a leaderboard and its pictures."""
    from jembench.pages.boards import markdown
    from jembench.pages.pictures import style

    figures = markdown.pictures(board) if pictures else {}
    rendered = {name: style.render(figure) for name, figure in figures.items()}
    for name, written in {path.name: content.encode(), **rendered}.items():
        files.write(path.parent / name, written)
        typer.echo(str(path.parent / name))
