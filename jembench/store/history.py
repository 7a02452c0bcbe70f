"""History: the record of a training run, kept as ``training.json`` beside its weights.

What it took, what the supervisor saw and did, the validation curve, and which checkpoint was chosen by which criterion.
Cards and tables are made from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from jembench.ground import files
from jembench.ground.entry import Entry
from jembench.store.results import Environment
from jembench.types import UserError

HISTORY = "training.json"


class Rollback(Entry):
    """A divergence and what was done about it.

    Attributes:
        iteration: of the diagnosis.
        reason: what was out of bounds.
        signals: of that iteration; null where a value was not finite or did not apply.
        back_to: iteration of the snapshot that the run went back to.
        change: the line of the policy that was applied.
    """

    iteration: int
    reason: str
    signals: dict[str, float | None]
    back_to: int
    change: str


class Epoch(Entry):
    """A validation: metrics of :mod:`jembench.training.validation`, and means of the signals since the one before."""

    iteration: int
    values: dict[str, float | None]


class Chosen(Entry):
    """The checkpoint that was kept: by which criterion, of which iteration, and its value there."""

    criterion: str
    iteration: int
    value: float | None


class TrainingCost(Entry):
    """What the run took.

    Attributes:
        seconds: of training, validation included.
        sampling_seconds: of these, in SGLD.
        gradients: input gradients of single examples by SGLD.
        processes: that trained together.
    """

    seconds: float
    sampling_seconds: float
    gradients: int
    processes: int


class History(Entry):
    """The content of ``training.json``.

    Attributes:
        recipe: hash of the recipe.
        parameters: number of weights.
        initial: hash of the weights file that the run started from; null for random weights.
        images: hash of the training images where they are not part of jembench.
    """

    schema_version: Literal[1] = 1
    recipe: str
    seed: int
    iterations: int
    parameters: int
    chosen: Chosen
    rollbacks: list[Rollback]
    epochs: list[Epoch]
    cost: TrainingCost
    environment: Environment
    initial: str | None = None
    images: str | None = None


def write_history(folder: Path, history: History) -> None:
    """Write ``training.json``."""
    text = json.dumps(history.model_dump(mode="json"), indent=1, allow_nan=False)
    files.write(folder / HISTORY, text.encode() + b"\n")


def read_history(folder: Path) -> History:
    """The validated ``training.json`` of a folder.

    Raises:
        UserError: if it is missing or not valid.
    """
    path = folder / HISTORY
    try:
        return History.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: not a valid training record ({where}: {first['msg']})") from error
