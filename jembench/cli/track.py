"""``jembench track``: tracks of one's own, from a ``track.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench import data
from jembench.cli.options import QuietOption
from jembench.ground import files
from jembench.ground.progress import patience
from jembench.pages.pictures.style import KINDS, render
from jembench.types import UserError

TrackArgument = Annotated[str, typer.Argument(help="A track.toml, or the name of one that is found.")]


def check(
    track: TrackArgument,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help=f"A picture to write ({', '.join(KINDS)}), with images of every set."),
    ] = None,
) -> None:
    """Read a track and say what it is: sizes, classes, ranges, duplicates. Exit 2 if it cannot be one."""
    from tabulate import tabulate

    from jembench import gallery
    from jembench.data import overlap

    if picture is not None and (kind := picture.suffix.removeprefix(".")) not in KINDS:
        raise UserError(f"--picture {picture}: choose a name that ends in .{', .'.join(KINDS)}")
    description = data.track(track)
    channels, height, width = description.shape
    typer.echo(
        f"{description.id}: {height}x{width}, {channels} channel{'s' * (channels > 1)}, {description.levels} levels, "
        f"{description.classes} classes; extractor {description.extractor}"
    )
    rows = []
    with patience("reading images"):
        for source in description.sources:
            if source.role != "chains":
                images = data.images(description, source.name)
                rows.append([source.name, source.role, len(images), *overlap.facts(images)])
    typer.echo(tabulate(rows, headers=["set", "role", "images", "a class", "pixels", "mean"]))
    with patience("comparing images"):
        overlaps = overlap.of_track(description)
    if overlaps is not None:
        typer.echo(overlap.words(overlaps, description.name) or "no test image is a training image, or nearly one")
    if picture is not None:
        files.write(picture, render(gallery.draw_track(description), kind))
        typer.echo(str(picture))


def extractor(
    track: TrackArgument,
    iterations: Annotated[int, typer.Option("--iterations", help="Updates of its weights.", min=1)] = 3000,
    device: Annotated[str, typer.Option("--device", help="A torch device.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the snapshots of a killed run.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Train the feature extractor of a track of one's own: a classifier that is evaluated nowhere."""
    with patience("reading images", quiet):
        from jembench import rebuild
        from jembench.cli.view import TrainingView

    description = data.track(track)
    if not description.file:
        raise UserError(f"track {description.name} has its extractor, {description.extractor}")
    with TrainingView(quiet) as view:
        folder = rebuild.extractor(
            description, iterations=iterations, setup=rebuild.Setup(device=device), resume=resume, observer=view
        )
    if not quiet:
        typer.echo(rebuild.summary(folder), err=True)
    typer.echo(str(folder))
