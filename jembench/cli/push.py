"""``jembench push``: results where people keep their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench.choices.request import STORE
from jembench.ground.progress import patience
from jembench.types import UserError


def push(
    target: Annotated[str, typer.Argument(help="mlflow:DIR, wandb:DIR or hf:ORG/NAME: see `jembench list targets`.")],
    results: Annotated[list[str], typer.Argument(help="Names of results or their models, or folders.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Of hf: folder of the model card; the working folder by default."),
    ] = None,
    upload: Annotated[bool, typer.Option("--upload", help="Of hf: upload the card too.")] = False,
    shelf: Annotated[Path, typer.Option("--results", help="Folder of results.", metavar="DIR")] = STORE,
) -> None:
    """Write results as runs of MLflow or Weights & Biases, offline, or into a model card of Hugging Face."""
    from jembench.exports import TARGETS
    from jembench.exports.content import Delivery, content
    from jembench.store.shelf import find

    kind, _, place = target.partition(":")
    function = TARGETS[kind]
    if not place:
        raise UserError(f"{target}: say where: {TARGETS.about(kind)}")
    if kind != "hf" and (output is not None or upload):
        raise UserError(f"--output and --upload go with hf:ORG/NAME; {kind} writes into the folder behind the colon")
    with patience(f"writing for {kind}"):
        for line in function([content(folder) for folder in find(results, shelf)], place, Delivery(output, upload)):
            typer.echo(line)
