"""The journal: what people look at while a model is trained and afterwards, in the folder of the run.

========================  ==============================================================================================
``samples.png``           an 8 x 8 grid of persistent chains at the last validation
``samples/000500.png``    the same, kept: with ``samples_every = N`` the first validation after every N iterations
``tensorboard/``          event files with every value of every validation, and the rollbacks as text, where wanted
``curve.png``             the validation curve, at the end (:func:`draw_curve`)
========================  ==============================================================================================

No number depends on any of them. What a rollback gives up leaves the journal too, as it leaves the record.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jembench.ground import files
from jembench.pages.pictures.plots import curve, grid
from jembench.store.history import read_history
from jembench.types import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from jembench.store.history import Epoch, Rollback

SAMPLES = "samples"
TENSORBOARD = "tensorboard"
CURVE = "curve.png"


class Journal:
    """An observer of a training run that keeps what people look at; a context manager.

    Args:
        folder: of the run.
        samples_every: keep a grid of samples at most every so many iterations; only the last one by default.
        tensorboard: whether to write event files.

    Raises:
        UserError: if tensorboard is wanted and not installed, or ``samples_every`` is below 1.
    """

    def __init__(self, folder: Path, *, samples_every: int | None = None, tensorboard: bool = False) -> None:
        if samples_every is not None and samples_every < 1:
            raise UserError(f"samples-every must be a whole number of at least 1, not {samples_every}")
        self.folder = folder
        self.samples_every = samples_every
        self._new_writer = _writers() if tensorboard else None
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def iterated(self, progress: object) -> None:
        """Nothing: the journal is of validations."""

    def validated(self, epoch: Epoch, samples: Tensor | None) -> None:
        """Draw the samples and write the values."""
        if samples is not None:
            self._draw(epoch.iteration, samples)
        if self._new_writer is not None:
            for name, value in epoch.values.items():
                if value is not None:
                    self._events().add_scalar(_tag(name), value, epoch.iteration)
            self._events().flush()

    def rolled_back(self, event: Rollback) -> None:
        """Take back what is of later iterations than the run has gone back to, and say why."""
        for path in self._kept():
            if int(path.stem) > event.back_to:
                path.unlink()
        if self._new_writer is not None:
            if self._writer is not None:
                self._writer.close()
            self._writer = self._new_writer(str(self.folder / TENSORBOARD), purge_step=event.back_to + 1)
            words = f"at {event.iteration}: {event.reason}; back to {event.back_to}, {event.change}"
            self._writer.add_text("rollback", words, event.back_to)
            self._writer.flush()

    def _draw(self, iteration: int, samples: Tensor) -> None:
        picture = grid(samples.numpy())
        files.write(self.folder / f"{SAMPLES}.png", picture)
        every = self.samples_every
        if every is None or iteration < every:
            return
        if iteration // every not in {int(path.stem) // every for path in self._kept()}:
            files.write(self.folder / SAMPLES / f"{iteration:06d}.png", picture)

    def _kept(self) -> list[Path]:
        """The grids that are kept, also those from before the run was killed."""
        return sorted(self.folder.glob(f"{SAMPLES}/[0-9]*.png"))

    def _events(self) -> Any:
        """The writer of event files; made late, since it makes a folder."""
        if self._writer is None:
            assert self._new_writer is not None
            self._writer = self._new_writer(str(self.folder / TENSORBOARD))
        return self._writer


def draw_curve(folder: Path) -> None:
    """Write ``curve.png`` of a finished run."""
    files.write(folder / CURVE, curve(read_history(folder)))


def _tag(name: str) -> str:
    """``train_loss`` is ``train/loss``, all else of validation."""
    return f"train/{name.removeprefix('train_')}" if name.startswith("train_") else f"validation/{name}"


def _writers() -> Any:
    """torch's ``SummaryWriter``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("tensorboard is not installed: pip install 'jembench[tensorboard]'") from error
    return SummaryWriter
