"""Weights & Biases: an offline run below ``DIR/wandb``, which ``wandb sync`` uploads if its owner wants it to."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jembench.exports.content import TABLES, Content, Delivery, environment, package
from jembench.ground.guard import guarded

PROJECT = "jembench"
FOLDER = "wandb"  # below the folder of the user
QUIET = {"WANDB_ERROR_REPORTING": "false", "DO_NOT_TRACK": "true"}
COLUMNS = ("metric", "value", "low", "high", "method", "n", "better", "reason")
SETTINGS = {
    "console": "off",
    "silent": True,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
}


def push(contents: Sequence[Content], place: str, options: Delivery) -> list[str]:
    """Write an offline run for each result; its id is the result's, so that one that is synced twice is one run.

    Runs of wandb that this process has open are ended by it.

    Args:
        contents: the results.
        place: the folder; it need not exist.
        options: none of them.

    Returns:
        A line for each run, and how to upload them.

    Raises:
        UserError: if wandb is not installed, or the folder cannot be written.
    """
    folder = Path(place)
    home = str(folder.resolve() / FOLDER)
    with environment(**QUIET, WANDB_DATA_DIR=home, WANDB_CACHE_DIR=home):
        wandb = package("wandb", "wandb")
        with guarded(f"{folder}: Weights & Biases cannot write there"):
            folder.mkdir(parents=True, exist_ok=True)
            runs = [_run(wandb, each, folder) for each in contents]
            wandb.teardown()  # its process writes the ends of the files when it ends
    lines = [f"{run}: {each.name}, {len(each.numbers):,} numbers" for run, each in zip(runs, contents, strict=True)]
    return [*lines, f"wandb sync {' '.join(map(str, runs))}"]


def _run(wandb: Any, content: Content, folder: Path) -> Path:
    """Write a run; its folder."""
    document = content.document
    pictures = {f"pictures/{path.stem}": wandb.Image(str(path)) for path in content.pictures}
    run = wandb.init(
        mode="offline",
        dir=str(folder),
        project=PROJECT,
        group=document.track,
        job_type=document.suite,
        id=document.key[:16],
        name=content.name,
        config=content.settings,
        settings=wandb.Settings(**SETTINGS),
    )
    rows = [
        [each.id, each.value, each.low, each.high, each.method, sum(each.n.values()), each.better, each.reason or ""]
        for each in document.metrics
    ]
    run.log({**content.numbers, "metrics": wandb.Table(columns=list(COLUMNS), data=rows), **pictures})
    files = Path(run.dir)
    for path in content.files:
        shutil.copy(path, files)
    (files / TABLES).write_text(content.tables, encoding="utf-8")
    run.finish()
    return folder / FOLDER / files.parent.name
