"""The journal: what people look at while a model is trained and afterwards, in the folder of the run.

========================  ==============================================================================================
``samples.png``           an 8 x 8 grid of persistent chains at the last validation
``samples/000500.png``    the same, kept: with ``samples_every = N`` the first validation after every N iterations
``curve.png``             the validation curve, at the end (:func:`draw_curve`)
========================  ==============================================================================================

No number depends on any of them. What a rollback gives up leaves the journal too, as it leaves the record.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jembench.ground import files
from jembench.pages.pictures.grids import grid
from jembench.pages.pictures.plots import curve
from jembench.pages.pictures.style import render
from jembench.store.history import read_history
from jembench.types import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from jembench.store.history import Epoch, Rollback

SAMPLES = "samples"
CURVE = "curve.png"


class Journal:
    """An observer of a training run that keeps what people look at.

    Args:
        folder: folder of the run.
        samples_every: iterations from one grid of samples that is kept to the next at least; None keeps the last alone.

    Raises:
        UserError: if ``samples_every`` is below 1.
    """

    def __init__(self, folder: Path, *, samples_every: int | None = None) -> None:
        if samples_every is not None and samples_every < 1:
            raise UserError(f"samples-every must be a whole number of at least 1, not {samples_every}")
        self.folder = folder
        self.samples_every = samples_every

    def iterated(self, progress: object) -> None:
        """Nothing: the journal is of validations."""

    def validated(self, epoch: Epoch, samples: Tensor | None) -> None:
        """Draw the samples."""
        if samples is not None:
            self._draw(epoch.iteration, samples)

    def rolled_back(self, event: Rollback) -> None:
        """Take back what is of later iterations than the run has gone back to."""
        for path in self._grids():
            if int(path.stem) > event.back_to:
                path.unlink()

    def _draw(self, iteration: int, samples: Tensor) -> None:
        head = f"{_name(self.folder)} · persistent chains after {iteration:,} iterations"
        picture = render(grid(samples.numpy(), head=head))
        files.write(self.folder / f"{SAMPLES}.png", picture)
        every = self.samples_every
        if every is None or iteration < every:
            return
        if iteration // every not in {int(path.stem) // every for path in self._grids()}:
            files.write(self.folder / SAMPLES / f"{iteration:06d}.png", picture)

    def _grids(self) -> list[Path]:
        """The grids that are kept, also those from before the run was killed."""
        return sorted(self.folder.glob(f"{SAMPLES}/[0-9]*.png"))


def draw_curve(folder: Path) -> None:
    """Write ``curve.png`` of a finished run."""
    files.write(folder / CURVE, render(curve(read_history(folder), _name(folder))))


def _name(folder: Path) -> str:
    """The name of the model in a folder."""
    return folder.resolve().name
