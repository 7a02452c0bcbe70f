"""``jembench data``: the images of tracks that do not carry their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jembench import data
from jembench.cli.options import DataOption, QuietOption
from jembench.ground.progress import patience
from jembench.types import UserError, require

if TYPE_CHECKING:
    from jembench.data.inventory import SourceState
    from jembench.data.sets import Track


def list_(
    track: Annotated[str | None, typer.Option("--track", "-t", help="Also the image sets of this track.")] = None,
    data_dir: DataOption = None,
    quiet: QuietOption = False,
) -> None:
    """List the published sets, and what there is of a track's image sets on this machine."""
    from jembench.data import archives, inventory

    if data_dir is not None and track is None:
        raise UserError("--data-dir goes with --track: it is looked at for the image sets of a track")
    description = None if track is None else _described(track, data_dir)
    for name, archive in archives.ARCHIVES.items():
        place = inventory.downloaded(name)
        typer.echo(f"{name:9}{archive.about}; {archive.terms}")
        typer.echo(f"{'':9}{archive.megabytes} MB, {'not here' if place is None else f'in {place}'}")
    if description is not None:
        with patience("reading images", quiet):
            _show(description)


def fetch(names: Annotated[list[str], typer.Argument(help="Published sets: see `jembench data list`.")]) -> None:
    """Download published sets into the cache and check them; what is there is not downloaded again."""
    from jembench.data import archives, cache

    for name, archive in {name: archives.archive(name) for name in names}.items():
        typer.echo(f"{name}: {archive.about}; {archive.terms}; {archive.megabytes} MB from {archive.home}", err=True)
        with patience("checking files"):
            archives.fetch(name)
        typer.echo(f"{name}: complete in {cache.downloads()}")


def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Published sets that were downloaded.")] = None,
    track: Annotated[str | None, typer.Option("--track", "-t", help="The image sets of this track.")] = None,
    data_dir: DataOption = None,
    quiet: QuietOption = False,
) -> None:
    """Check downloads, or the image sets of a track: exit 2 if something is damaged, or nothing is there."""
    from jembench.data import archives
    from jembench.data import overlap as overlaps

    if not names and track is None:
        raise UserError("name published sets (`jembench data list`), or a track by --track, with its --data-dir if any")
    if data_dir is not None and track is None:
        raise UserError("--data-dir goes with --track: a folder is checked for the image sets of a track")
    description = None if track is None else _described(track, data_dir)
    for name in names or ():
        with patience(f"{name}: checking files", quiet):
            archives.verify(name)
        typer.echo(f"{name}: complete, every checksum is right")
    if description is None:
        return
    with patience("reading images", quiet):
        entries = _show(description)
        shared = overlaps.of_track(description)
    if shared is not None and (words := overlaps.words(shared, description.name)):
        typer.echo(f"warning: {words}", err=True)
    faults = [entry.words for entry in entries if entry.state == "damaged"]
    if faults:
        raise UserError(faults[0])
    if all(entry.state == "missing" for entry in entries):
        place = description.folder or "the cache"
        raise UserError(f"{place}: no image set of track {track} is there (see `jembench data fetch`, --data-dir)")


def export(
    output: Annotated[Path, typer.Argument(help="A new .npz file, or a new folder of PNGs with a folder a class.")],
    track: Annotated[str, typer.Option("--track", "-t", help="The track.")] = data.DEFAULT,
    split: Annotated[str, typer.Option("--split", help="The image set: train, test, an OOD set.")] = "train",
    data_dir: DataOption = None,
) -> None:
    """Write an image set of a track to files, so that models are trained on its official split."""
    from jembench.data import export as exports

    description = data.track(track, folder=data_dir)
    require(split, [source.name for source in description.sources if source.role != "chains"], f"set of track {track}")
    with patience("writing images"):
        images = data.images(description, split)
        exports.export(images, output)
    typer.echo(f"{output}: {len(images)} images of {description.id}, {split}", err=True)


def overlap(
    origin: Annotated[str, typer.Argument(help="Images that a model was trained on: .npz, a folder of pictures, …")],
    track: Annotated[str, typer.Option("--track", "-t", help="The track.")] = data.DEFAULT,
    data_dir: DataOption = None,
) -> None:
    """Look for a model's training images among the test and OOD images of a track: exit 1 if some are there."""
    from tabulate import tabulate

    from jembench.data import contamination

    with patience("comparing images"):
        description = data.track(track, folder=data_dir)
        overlaps = contamination.of(origin, description)
    rows = [[name, each.n, each.exact, each.near] for name, each in overlaps.items()]
    rows += [[name, "not here", "", ""] for name in contamination.absent(description, overlaps)]
    typer.echo(tabulate(rows, headers=["set", "images", "the same", "nearly the same"]))
    if any(each.exact or each.near for each in overlaps.values()):
        raise typer.Exit(1)


def _described(track: str, data_dir: Path | None) -> Track:
    """A track whose images are the user's."""
    description = data.track(track, folder=data_dir)
    if not description.external:
        raise UserError(f"track {track} carries its images: there is nothing to look for")
    return description


def _show(track: Track) -> list[SourceState]:
    """Print the state of a track's image sets, and return it."""
    from tabulate import tabulate

    from jembench.data import inventory

    entries = inventory.sources(track)
    rows = [[entry.source.name, entry.source.role, entry.n, entry.source.n, entry.state] for entry in entries]
    typer.echo(tabulate(rows, headers=[f"track {track.name}", "role", "here", "complete", ""]))
    return entries
