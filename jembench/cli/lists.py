"""Commands that say what there is: ``list`` and ``explain``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from jembench.types import UserError


def list_(
    what: Annotated[
        Literal["models", "recipes", "tracks", "suites", "protocols", "scores", "detectors", "attacks", "extractors"],
        typer.Argument(help="What to list."),
    ],
    track: Annotated[str | None, typer.Option("--track", "-t", help="Models or recipes of this track only.")] = None,
) -> None:
    """List what there is."""
    from jembench import attacks, data
    from jembench.choices import protocols, suites
    from jembench.measurements.detector import DETECTORS
    from jembench.metrics.scores import SCORES
    from jembench.models.recipes import read_recipe
    from jembench.zoo import baselines
    from jembench.zoo.extractors import EXTRACTORS

    if what == "models":
        names = [track] if track is not None else list(data.TRACKS)
        rows = [
            (f"{name} ({owner})", about)
            for owner in names
            for name, about in baselines.names(data.track(owner).name).items()
        ]
    elif what == "recipes":
        names = [data.track(track).name] if track is not None else list(data.TRACKS)
        rows = [(str(path), read_recipe(path).about) for owner in names for path in baselines.published(owner).values()]
        if not rows:
            raise UserError(f"track {track} has no recipes beside those of its models: `jembench list models`")
    elif what == "tracks":
        rows = [(name, data.TRACKS.about(name)) for name in data.TRACKS]
    elif what == "suites":
        rows = [(name, suites.SUITES.about(name)) for name in suites.SUITES]
    elif what == "protocols":
        rows = [(name, protocols.PROTOCOLS.about(name)) for name in protocols.PROTOCOLS]
    elif what == "detectors":
        rows = [(name, DETECTORS.about(name)) for name in DETECTORS]
    elif what == "extractors":
        rows = [(name, EXTRACTORS.about(name)) for name in EXTRACTORS]
    elif what == "attacks":
        rows = list(attacks.names().items())
    else:
        rows = [(name, SCORES.about(name)) for name in SCORES]
    width = max(len(name) for name, _ in rows)
    for name, about in rows:
        typer.echo(f"{name:{width}}  {about}")


def explain(
    protocol: Annotated[str, typer.Argument(help="See `jembench list protocols`.")] = "v1",
) -> None:
    """Print the choices of a protocol, and where and why they depart from our own."""
    from jembench.choices import protocols

    typer.echo(protocols.explain(protocol))
