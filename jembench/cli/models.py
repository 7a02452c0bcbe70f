"""Commands that make models: ``train`` and ``convert``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from jembench import data
from jembench.choices.request import STORE, Request
from jembench.cli.options import QuietOption, requesting
from jembench.data import PAPERS
from jembench.ground.progress import patience
from jembench.zoo.references import RECIPE, ModelRef, parse


@requesting("track", "data_dir", "device", track=None)
def train(
    request: Request,
    recipe: Annotated[str, typer.Argument(help="A recipe.toml, or the name of a baseline to train anew.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the run; by default below jembench-runs/training/TRACK."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Instead of the recipe's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the snapshots in --output.")] = False,
    samples_every: Annotated[
        int | None,
        typer.Option("--samples-every", help="Keep a grid of samples every N iterations, not only the last."),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files for TensorBoard.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Train a recipe; a run that was killed goes on with --resume and ends in the same weights."""
    leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun has started only the first one speaks
    with patience("reading recipe and images", quiet or not leads):
        from jembench import rebuild
        from jembench.cli.view import TrainingView
        from jembench.pages.journal import draw_curve
        from jembench.zoo import baselines

    ref = parse(recipe)
    track = data.track(_track_of(ref, request), folder=request.data_dir)
    source = baselines.recipe_of(ref, track=track.ref)
    setup = rebuild.Setup(device=request.device, seed=seed, samples_every=samples_every, tensorboard=tensorboard)
    if output is None:
        name = source.resolve().parent.name if source.name == RECIPE else source.stem
        output = STORE / "training" / track.name / name
    with TrainingView(quiet or not leads) as view:
        weights = rebuild.fit(source, output, track=track, setup=setup, resume=resume, observer=view)
    if leads:
        draw_curve(output)
        if not quiet:
            typer.echo(rebuild.summary(output), err=True)
        typer.echo(str(weights))


def _track_of(ref: ModelRef, request: Request) -> str:
    """The track that was typed, or that of the recipe, or the default."""
    if request.track is not None:
        return request.track
    from jembench.models.recipes import read_recipe

    return read_recipe(Path(ref.place)).track if ref.form == "recipe" else data.DEFAULT


@requesting("track", "data_dir", track=PAPERS)
def convert(
    request: Request,
    checkpoint: Annotated[Path, typer.Argument(help="An official checkpoint of JEM, JEM++, SADA-JEM or VERA.")],
    output: Annotated[Path, typer.Argument(help="A new folder for recipe.toml and weights.safetensors.")],
    layout: Annotated[
        str | None, typer.Option("--layout", help="What it is, if its names leave a choice: jem, jempp, sadajem, vera.")
    ] = None,
    norm: Annotated[
        str | None, typer.Option("--norm", help="Its norm, if its names leave a choice: instance or layer.")
    ] = None,
) -> None:
    """Make an official checkpoint a model of jembench; it is read without running code in it."""
    with patience("reading the checkpoint"):
        from jembench.zoo import official

        track = data.track(request.track, folder=request.data_dir)
        read = official.read(checkpoint, layout=layout, norm=norm)
    gaussians = official.at_hand(track)
    if not gaussians and official.informed(read, track):
        words = "fresh chains will start from uniform noise, not from Gaussians of the training images"
        typer.echo(
            f"jembench: {words}: none of track {track.name} are here (`jembench data fetch`, --data-dir)", err=True
        )
    with patience("writing the model"):
        recipe = official.convert(read, output, track=track, gaussians=gaussians)
    chains = "no chains" if read.chains is None else f"{len(read.chains)} chains"
    typer.echo(f"{official.LAYOUTS[read.layout].title}: {read.network}, {chains}", err=True)
    typer.echo(str(recipe))
