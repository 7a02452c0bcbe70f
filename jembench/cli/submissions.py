"""Results that travel: ``submit`` makes one file of a result, ``verify`` holds a claimed one against its model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench.choices.request import STORE, Request
from jembench.cli.options import QuietOption, requesting
from jembench.cli.results import ShelfOption
from jembench.ground.progress import patience, shown
from jembench.types import UserError

#: What is said beside a result in its archive.
NOTE = """A result of jembench: result.json, examples.parquet.

To look at it: jembench leaderboard --add THIS.zip
To check it:   jembench verify THIS.zip --model MODEL --weights WEIGHTS
"""


@patience("checking the result")
def submit(
    result: Annotated[str, typer.Argument(help="Name of a result or its model, or a folder.")],
    file: Annotated[
        Path | None,
        typer.Option("--to", help="The archive; by default MODEL-TRACK-SUITE-DIGEST.zip.", show_default=False),
    ] = None,
    output: ShelfOption = STORE,
) -> None:
    """Make one checked file of a result, for a pull request or a colleague."""
    import tempfile

    from jembench.store import archives, shelf
    from jembench.store.results import copy_result, read_result

    (folder,) = shelf.find([result], output)
    archives.examine(folder)
    with tempfile.TemporaryDirectory(prefix="jembench-") as place:
        copy = Path(place)
        copy_result(folder, copy)
        document = read_result(copy)
        if found := archives.places(document):
            raise UserError(
                f"{folder}: names a place of this machine, {found[0]!r}, which readers would see: "
                "measure it under a --name of its own, from files of the working directory"
            )
        track = document.track.rpartition("-v")[0]
        name = shelf.word(document.model.name, track, document.suite, shelf.own(document.protocol.name))
        path = file or Path(f"{name}-{document.digest[:8]}{archives.SUFFIX}")
        if path.exists():
            raise UserError(f"{path} is there already: choose another file by --to, or remove it")
        archives.pack(copy, path, NOTE)
    archives.examine(path)
    for words in document.warnings:
        typer.echo(f"jembench: it has a warning, which readers will see: {words}", err=True)
    typer.echo(str(path))


@requesting(
    "models", "track", "data_dir", "defences", "ood", "device", "workers", "options", "sampling", "detectors", "scores"
)
def verify(
    request: Request,
    result: Annotated[Path, typer.Argument(help="A result: its folder, its name, or an archive of it.")],
    chunks: Annotated[int, typer.Option("--chunks", help="Chunks that are computed again.", min=0)] = 5,
    choice: Annotated[
        int | None, typer.Option("--choice", help="Seed of which; a new one every time by default.", show_default=False)
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Hold a claimed result against its model: exit 0 if it holds, 1 if it does not, 2 if that cannot be told."""
    from jembench.store import shelf

    path = result if result.exists() else shelf.find([str(result)], STORE)[0]
    with shown(not quiet) as show:
        from jembench import api

        verification = api.verify(path, request, chunks=chunks, seed=choice, progress=show)
    typer.echo(verification.text)
    if verification.failures:
        raise typer.Exit(1)
