"""Events: every value of every validation for TensorBoard, and the rollbacks as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.store.history import Epoch, Rollback

FOLDER = "tensorboard"


class Events:
    """An observer of a training run that writes event files; a context manager.

    Args:
        folder: folder of the run, which gets a folder ``tensorboard``.

    Raises:
        UserError: if tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("tensorboard is not installed: pip install 'jembench[tensorboard]'") from error
        self._folder = folder / FOLDER
        self._make: Any = SummaryWriter
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def iterated(self, progress: object) -> None:
        """Nothing: events are of validations."""

    def validated(self, epoch: Epoch, samples: object) -> None:
        """Write the values."""
        if self._writer is None:  # late, since a writer makes a folder
            self._writer = self._make(str(self._folder))
        for name, value in epoch.values.items():
            if value is not None:
                self._writer.add_scalar(_tag(name), value, epoch.iteration)
        self._writer.flush()

    def rolled_back(self, event: Rollback) -> None:
        """Take back what is of later iterations than the run has gone back to, and say why."""
        if self._writer is not None:
            self._writer.close()
        self._writer = self._make(str(self._folder), purge_step=event.back_to + 1)
        words = f"at {event.iteration}: {event.reason}; back to {event.back_to}, {event.change}"
        self._writer.add_text("rollback", words, event.back_to)
        self._writer.flush()


def _tag(name: str) -> str:
    """``train_loss`` is ``train/loss``, all else of validation."""
    return f"train/{name.removeprefix('train_')}" if name.startswith("train_") else f"validation/{name}"
