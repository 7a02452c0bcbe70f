"""``jembench data``: the images of tracks that do not carry their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench.cli.options import DataOption, QuietOption
from jembench.types import UserError


def list_(
    track: Annotated[str | None, typer.Option("--track", "-t", help="Also the image sets of this track.")] = None,
    data_dir: DataOption = None,
    quiet: QuietOption = False,
) -> None:
    """List the published sets, and what there is of a track's image sets on this machine."""
    from jembench.data import archives, inventory

    for name, known in archives.ARCHIVES.items():
        place = inventory.downloaded(name)
        typer.echo(f"{name:9}{known.about}; {known.terms}")
        typer.echo(f"{'':9}{known.megabytes} MB, {'not here' if place is None else f'in {place}'}")
    if track is not None:
        _sources(track, data_dir)
    elif data_dir is not None:
        raise UserError("--data-dir goes with --track: it is looked at for the image sets of a track")


def fetch(names: Annotated[list[str], typer.Argument(help="Published sets: see `jembench data list`.")]) -> None:
    """Download published sets into the cache and check them; what is there is not downloaded again."""
    from jembench.data import archives, cache

    for name, known in {name: archives.archive(name) for name in names}.items():
        typer.echo(f"{name}: {known.about}; {known.terms}; {known.megabytes} MB from {known.home}", err=True)
        archives.fetch(name)
        typer.echo(f"{name}: complete in {cache.downloads()}")


def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Published sets that were downloaded.")] = None,
    track: Annotated[str | None, typer.Option("--track", "-t", help="The image sets of this track.")] = None,
    data_dir: DataOption = None,
    quiet: QuietOption = False,
) -> None:
    """Check downloads, or the image sets of a track: exit 2 if something is damaged."""
    from jembench.data import archives

    if not names and track is None:
        raise UserError("name published sets (`jembench data list`), or a track by --track, with its --data-dir if any")
    if data_dir is not None and track is None:
        raise UserError("--data-dir goes with --track: a folder is checked for the image sets of a track")
    for name in names or ():
        archives.verify(name)
        typer.echo(f"{name}: complete, every checksum is right")
    if track is not None:
        damaged = _sources(track, data_dir)
        if damaged:
            raise UserError(damaged[0])


def _sources(track: str, data_dir: Path | None) -> list[str]:
    """Print the state of a track's image sets; what is wrong with the damaged ones."""
    from tabulate import tabulate

    from jembench import data
    from jembench.data import inventory

    description = data.track(track, folder=data_dir)
    if not description.external:
        raise UserError(f"track {track} carries its images: there is nothing to look for")
    found = inventory.sources(description)
    rows = [[entry.source.name, entry.source.role, entry.n, entry.source.n, entry.state] for entry in found]
    typer.echo(tabulate(rows, headers=[f"track {track}", "role", "here", "complete", ""]))
    return [entry.words for entry in found if entry.state == "damaged"]
