"""``jembench gallery``: the pictures of a result, on one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench.ground import files


def sheet(
    folder: Annotated[Path, typer.Argument(help="Folder of a result, with pictures.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The PNG to write; sheet.png in the folder by default.")
    ] = None,
) -> None:
    """Put all pictures of a result on one sheet, to be looked at together."""
    from jembench import gallery
    from jembench.pages.pictures.style import render

    path = output or folder / gallery.SHEET
    files.write(path, render(gallery.sheet(folder)))
    typer.echo(str(path))
