"""History: the record of a training run, kept as ``training.json`` beside its weights.

What it took, what the supervisor saw and did, the validation curve, and which checkpoint was chosen by which criterion.
Cards and tables are made from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from jembench.ground import files
from jembench.ground.entry import Entry, reason
from jembench.store.results import Environment
from jembench.types import UserError

HISTORY = "training.json"


class Rollback(Entry):
    """A divergence and what was done about it.

    Attributes:
        iteration: iteration of the diagnosis.
        reason: words for the signal that was out of its bound.
        signals: signals of the diagnosed iteration; null where a value was not finite or did not apply.
        back_to: iteration of the snapshot that the run went back to.
        change: name of the change of the recipe that was applied.
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
        seconds: duration of the training, validation included, in seconds.
        sampling_seconds: the part of the duration that went into SGLD, in seconds.
        gradients: number of input gradients of single examples by SGLD.
        processes: number of processes that trained together.
    """

    seconds: float
    sampling_seconds: float
    gradients: int
    processes: int


class History(Entry):
    """The content of ``training.json``.

    Attributes:
        recipe: hash of the recipe.
        seed: training seed.
        iterations: number of iterations done.
        parameters: number of weights of the network.
        chosen: the checkpoint that was kept.
        rollbacks: divergences, in the order in which they occurred.
        epochs: validations, in the order of their iterations; those that a rollback gave up are not among them.
        cost: time and gradients that the run took.
        environment: code, packages and hardware of the run.
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
    files.write(folder / HISTORY, history.file())


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
        raise UserError(f"{path}: not a valid training record ({reason(error)})") from error
