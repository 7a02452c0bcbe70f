"""``jembench maintain``: what is shipped with jembench, made anew: trainings, golden results and cards of baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench import data
from jembench.choices.flags import whole, words
from jembench.choices.request import STORE, Request
from jembench.cli.options import AnyTrackOption, QuietOption, requesting
from jembench.data import DEFAULT
from jembench.ground import files
from jembench.ground.progress import patience, shown
from jembench.types import UserError


@requesting("track", "data_dir", "device")
def train(
    request: Request,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Gets a folder for each; by default below jembench-runs/training/TRACK."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what is done, and go on from the snapshots in --output.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Train, measure and describe every baseline of a track."""
    with patience("reading recipes and images", quiet):
        from jembench import rebuild
        from jembench.cli.view import TrainingView

    track = data.track(request.track, folder=request.data_dir)
    place = output or STORE / "training" / track.name
    rebuild.rebuild(
        track,
        place,
        setup=rebuild.Setup(device=request.device),
        resume=resume,
        watch=lambda name: TrainingView(quiet, name),
        say=lambda line: None if quiet else typer.echo(line, err=True),
    )
    typer.echo(str(place))


@requesting("models", "suites", "track", "data_dir", "output", "workers", model=[], suite="robustness")
def golden(
    request: Request,
    folder: Annotated[Path, typer.Argument(help="Gets a folder for each model, laid out as baselines/TRACK.")],
    refine: Annotated[
        str | None, typer.Option("--refine", help="SGLD steps of the refined rows: 1,10 by default.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Measure golden results of all baselines of a track: of suite all, or of suite robustness, bare and refined."""
    if refine is not None and request.suites != ("robustness",):
        raise UserError("--refine goes with --suite robustness: the rows of other suites are bare")
    steps = [whole(word, "--refine") for word in words("1,10" if refine is None else refine)]
    with shown(not quiet) as show:
        from jembench import rebuild

        places = rebuild.golden(request, folder, refinements=steps, progress=show)
    for place in places:
        typer.echo(str(place))


def _recipe(name: str, track: str) -> Path:
    """The recipe of a baseline, or the one in a folder."""
    from jembench.zoo import baselines
    from jembench.zoo.references import RECIPE

    folder = Path(name)
    return folder / RECIPE if "/" in name and folder.is_dir() else baselines.recipe_path(name, track=track)


def cards(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Baselines, or folders of models of your own; all baselines by default.", show_default=False
        ),
    ] = None,
    track: AnyTrackOption = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a card is not current.")] = False,
) -> None:
    """Write README.md and curve.png of baselines from recipe, training record, golden result and NOTES.md."""
    from jembench.pages import card, journal
    from jembench.store.history import HISTORY
    from jembench.zoo import baselines

    owners = [data.track(track).name] if track is not None else [DEFAULT] if names else list(data.TRACKS)
    sources = {
        source: owner
        for owner in owners
        for source in ([_recipe(name, owner) for name in names] if names else baselines.recipes(owner).values())
    }
    stale = False
    for source, owner in sources.items():
        path = source.with_name(card.CARD)
        if not check and source.with_name(HISTORY).exists():
            journal.draw_curve(source.parent)
        content = card.card(source.parent)
        current = path.read_text(encoding="utf-8") if path.exists() else None
        if not check:
            if current is not None and card.AUTHOR not in current:
                raise UserError(f"{path} was not written by jembench: move it away, or keep its words in {card.NOTES}")
            files.write(path, content.encode())
            typer.echo(str(path))
        elif current == content:
            typer.echo(f"{path} is current")
        else:
            stale = True
            typer.echo(
                f"{path} is not current: run `jembench maintain cards {source.parent.name} --track {owner}`", err=True
            )
    if stale:
        raise typer.Exit(1)


def reference(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the pages.")] = Path("docs"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a page is not current.")] = False,
) -> None:
    """Write the pages of docs/ that are made of declarations: metrics.md and result.schema.json."""
    from jembench.pages.reference import PAGES

    stale = []
    for name, page in PAGES.items():
        path, content = output / name, page().encode()
        if not check:
            files.write(path, content)
            typer.echo(str(path))
        elif not path.exists() or path.read_bytes() != content:
            stale.append(str(path))
    if stale:
        typer.echo(f"{', '.join(stale)}: not current: run `jembench maintain reference`", err=True)
        raise typer.Exit(1)
