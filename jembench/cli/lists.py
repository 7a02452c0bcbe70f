"""Commands that say what there is: ``list`` and ``explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jembench import data
from jembench.choices.request import STORE
from jembench.cli.options import member
from jembench.cli.results import ShelfOption, rows
from jembench.data import lookup
from jembench.ground.families import Family
from jembench.types import UserError

#: Families, and functions of a track or None for what is not one: name -> one line about it.
LISTS: Family[Any] = Family(
    "list",
    {
        "models": ("jembench.cli.lists:models", "models that come with jembench, by track"),
        "recipes": ("jembench.cli.lists:recipes", "recipes by the values of papers, to be trained"),
        "tracks": ("jembench.cli.lists:tracks", "data sets with their splits and OOD sets"),
        "suites": ("jembench.choices.suites:SUITES", "what is measured together"),
        "protocols": ("jembench.choices.protocols:PROTOCOLS", "the choices behind the numbers"),
        "evaluators": ("jembench.evaluators:EVALUATORS", "what turns records into numbers"),
        "measurements": ("jembench.measurements:MEASUREMENTS", "what asks a model and writes records"),
        "scores": ("jembench.metrics.scores:SCORES", "scores of OOD detection, larger = more in-distribution"),
        "detectors": ("jembench.measurements.detector:DETECTORS", "post-hoc detectors of suite ood"),
        "attacks": ("jembench.cli.lists:attacks", "attacks of suite robustness"),
        "extractors": ("jembench.zoo.extractors:EXTRACTORS", "feature extractors of suite generation"),
        "kinds": ("jembench.models:KINDS", "kinds of models that a recipe can name"),
        "networks": ("jembench.models:NETWORKS", "networks that a recipe can name"),
        "results": ("jembench.cli.lists:results", "what was measured before, the latest last"),
        "metrics": ("jembench.cli.lists:metrics", "every number by its id, direction and unit; * is read first"),
        "targets": ("jembench.exports:TARGETS", "where `jembench push` writes results"),
        "formats": ("jembench.pages:EXPORTERS", "formats of results"),
        "lists": ("jembench.cli.lists:LISTS", "what can be listed"),
    },
)


def list_(
    what: Annotated[str, typer.Argument(help=f"What to list: {', '.join(LISTS)}.", callback=member(LISTS))] = "lists",
    track: Annotated[str | None, typer.Option("--track", "-t", help="Models or recipes of this track only.")] = None,
    output: ShelfOption = STORE,
) -> None:
    """List what there is."""
    entry = LISTS[what]
    found = entry.lines() if isinstance(entry, Family) else entry(track, output)
    if not found:
        typer.echo(f"no {what} in {output} yet", err=True)
        return
    width = max(map(len, found))
    for name, about in found.items():
        typer.echo(f"{name:{width}}  {about}")


def tracks(track: str | None, output: Path) -> dict[str, str]:
    """The tracks of jembench, and those that are found by name."""
    ours = data.TRACKS.lines()
    return ours | {name: f"a track of yours, {path}" for name, path in lookup.shelf().items() if name not in ours}


def results(track: str | None, output: Path) -> dict[str, str]:
    """What was measured before: by name, and what is read first of it."""
    return rows(track, output)


def metrics(track: str | None, output: Path) -> dict[str, str]:
    """Every number by the pattern of its id, with the evaluator that publishes it."""
    from jembench.evaluators import EVALUATORS
    from jembench.evaluators.quantities import QUANTITIES

    found = {}
    for evaluator, quantities in QUANTITIES.items():
        headlines = getattr(EVALUATORS[evaluator], "headlines", ())
        for each in quantities:
            star = " *" if any(map(each.holds, headlines)) else ""
            better = {"higher": "↑ ", "lower": "↓ ", "neither": ""}[each.better]
            unit = f" [{each.unit}]" if each.unit else ""
            found[f"{evaluator}: {each.id}{star}"] = f"{better}{each.about}{unit}"
    return found


def models(track: str | None, output: Path) -> dict[str, str]:
    """The models that come with jembench, with the track of each."""
    from jembench.zoo import baselines

    return {f"{name} ({owner})": about for owner in _tracks(track) for name, about in baselines.names(owner).items()}


def recipes(track: str | None, output: Path) -> dict[str, str]:
    """The paths of the recipes by the values of papers."""
    from jembench.models.recipes import read_recipe
    from jembench.zoo import baselines

    paths = [path for owner in _tracks(track) for path in baselines.published(owner).values()]
    if not paths:
        raise UserError(f"track {track} has no recipes beside those of its models: `jembench list models`")
    return {str(path): read_recipe(path).about for path in paths}


def attacks(track: str | None, output: Path) -> dict[str, str]:
    """Our attacks and the classes of torchattacks, the same for every track."""
    from jembench import attacks

    return attacks.names()


def _tracks(track: str | None) -> list[str]:
    return list(data.TRACKS) if track is None else [data.track(track).name]


def explain(protocol: Annotated[str, typer.Argument(help="See `jembench list protocols`.")] = "v1") -> None:
    """Print the choices of a protocol, and where and why they depart from our own."""
    from jembench.choices import protocols

    typer.echo(protocols.explain(protocol))
