r"""Measurement ``annealed``: log weights of annealed chains, one a row, from which log Z follows.

A row is a chain, not an image: of the batch only its size, its grey levels and the shape of its images are used. The
domain is the cube of dequantised images, half a cell beyond [0, 1] (:meth:`jembench.langevin.ais.Cube.of_levels`), and
p is what :math:`e^{f(x)}`, f the model's log density, is after normalisation **there**. The base is the uniform
distribution: the shipped energy models are at temperature 1 nearer to it than to any product fitted to images (the path
of jem is .35 long, that of igebm .12), and over the 21 to the oracle of ``gauss`` 4,000 temperatures still leave less
than .4 nat.

- ``forward``: chains from the base to the model: a lower bound of log Z.
- ``reverse``: chains from the model to the base: an upper bound if they start from the model. Those of a model that is
  normalised and draws exact samples do (``exact`` = 1). A sampler that clamps its samples to [0, 1] where the cube goes
  on is not exact, so a draw with a pixel at 0 or 1 does not count as one. An energy model has no exact samples: its
  reverse chains start from the ends of the forward chains, resampled by weight and moved on by ``settle`` steps at
  beta = 1 (``exact`` = 0). The upper bound is then as good as that equilibration: a mode that no forward chain has
  found is missing in both, and starts that share an ancestor are not independent. Training images instead are worse:
  from them a softmax classifier, read as an energy model, gave an "upper" bound 2 nats below the lower one after 200
  steps.

Temperatures and step sizes come from a pilot with chains of its own, before the measured run and from other noise; so
does the number of temperatures, ``rate`` times the squared thermodynamic length. They are kept with the forward records
and used by both directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from jembench.measurements.contract import costs
from jembench.types import Batch, Capability, capabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from jembench.langevin.ais import Cube, Schedule

KNOTS = 65  # of a schedule as it is kept


@dataclass(frozen=True)
class ImportanceWeights:
    """Columns ``log_weight_forward (B,)`` or ``log_weight_reverse (B,)`` in nats, and what they rest on.

    Both directions have ``acceptance (B,)``, the share of accepted steps. Forward has the ends ``end (B, D)``, the
    schedule ``betas (B, KNOTS)`` and ``sizes (B, KNOTS)``, and the number of ``temperatures (B,)``, the same in all
    rows of a batch; reverse has ``exact (B,)``, 0 or 1. Reverse reads the forward records as ``batch.whole[0]``.

    Attributes:
        direction: ``forward``, from the base to the model, or ``reverse``, from the model to the base.
        rate: number of temperatures per squared thermodynamic length of the path.
        least: smallest number of temperatures.
        most: largest number of temperatures.
        settle: number of steps at beta = 1 from a resampled start to the start of a reverse chain.
        check: whether a normalised density is measured too, whose log Z is known to be 0; if not, its log weights are
            NaN and cost nothing.
    """

    direction: Literal["forward", "reverse"]
    rate: float = 16
    least: int = 64
    most: int = 4000
    settle: int = 50
    check: bool = False

    name: ClassVar[str] = "annealed"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"density"})
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def title(self) -> str:
        """What people read while the chains are annealed."""
        return f"log Z, {self.direction}"

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Anneal as many chains as the batch has rows."""
        from jembench.langevin.ais import Cube

        cube = Cube.of_levels(batch.levels)
        skip = model.normalized and not self.check
        if self.direction == "forward":
            return self._forward(model, batch.images, cube, generator, skip=skip)
        return self._reverse(model, batch, cube, generator, skip=skip)

    def _forward(
        self, model: Any, like: Tensor, cube: Cube, generator: Generator, *, skip: bool
    ) -> dict[str, NDArray[Any]]:
        """Log weights of chains from the base to the model; NaN, at no cost, where log Z is known."""
        from jembench.langevin import ais

        n = len(like)
        if skip:
            widths = {"end": like[0].numel(), "betas": KNOTS, "sizes": KNOTS}
            return {
                **_nothing(self.direction, n),
                **{name: np.full((n, width), np.nan, np.float32) for name, width in widths.items()},
                "temperatures": np.zeros(n, np.int32),
            }
        pilot = ais.pilot(model.log_density, like, cube=cube, generator=generator)
        count = self._count(pilot.length)
        knots = pilot.schedule.resampled(KNOTS)
        run = ais.anneal(
            model.log_density,
            cube.uniform(like, generator),
            schedule=knots.resampled(count + 1),
            cube=cube,
            generator=generator,
        )
        return {
            **_weighed(self.direction, run, pilot.transitions + 1 + count + 1),
            "end": run.x.flatten(1).float().cpu().numpy(),
            "betas": np.tile(knots.betas.float().numpy(), (n, 1)),
            "sizes": np.tile(knots.sizes.float().numpy(), (n, 1)),
            "temperatures": np.full(n, count, np.int32),
        }

    def _count(self, length: float) -> int:
        return max(self.least, min(self.most, math.ceil(self.rate * length**2)))

    def _reverse(
        self, model: Any, batch: Batch, cube: Cube, generator: Generator, *, skip: bool
    ) -> dict[str, NDArray[Any]]:
        """Log weights of chains from the model to the base; NaN, at no cost, where log Z is known."""
        from jembench.langevin import ais

        forward = batch.whole[0]
        assert forward is not None  # it needs what the forward direction needs
        n, weights = len(batch.index), forward["log_weight_forward"]
        if skip or not np.isfinite(weights.max()):
            return {**_nothing(self.direction, n), "exact": np.zeros(n, np.int32)}
        schedule, count = _schedule(forward), int(forward["temperatures"][0])
        start, cost = _exact(model, n, generator), 0
        exact = start is not None
        if start is None:
            start = self._equilibrium(model, batch, forward, schedule, cube, generator)
            cost = self.settle + 1
        run = ais.anneal(
            model.log_density,
            start.to(batch.images),
            schedule=schedule.resampled(count + 1).reversed(),
            cube=cube,
            generator=generator,
        )
        return {**_weighed(self.direction, run, cost + count + 1), "exact": np.full(n, exact, np.int32)}

    def _equilibrium(
        self, model: Any, batch: Batch, forward: Any, schedule: Schedule, cube: Cube, generator: Generator
    ) -> Tensor:
        """Ends of the forward chains, resampled by weight, and moved on."""
        import torch

        from jembench.langevin import ais

        ends = torch.from_numpy(forward["end"]).reshape(-1, *batch.images.shape[1:])
        log_weights = torch.from_numpy(forward["log_weight_forward"])
        starts = ais.resample(ends, log_weights, count=len(batch.index), generator=generator)
        return ais.equilibrate(
            model.log_density,
            starts.to(batch.images),
            steps=self.settle,
            size=float(schedule.sizes[-1]),
            cube=cube,
            generator=generator,
        )


def _schedule(forward: Any) -> Schedule:
    """The schedule of forward records."""
    import torch

    from jembench.langevin.ais import Schedule

    betas, sizes = (torch.from_numpy(forward[name][0].astype(np.float64)) for name in ("betas", "sizes"))
    return Schedule(betas, sizes)


def _exact(model: Any, n: int, generator: Generator) -> Tensor | None:
    """Samples of the density itself, if the model can draw them."""
    if not model.normalized or "sampler" not in capabilities(model):
        return None
    x: Tensor = model.sample(n, generator=generator)
    return x if bool(((x > 0) & (x < 1)).all()) else None


def _weighed(direction: str, run: Any, evaluations: int) -> dict[str, NDArray[Any]]:
    """Log weights, acceptance and cost of a run."""
    return {
        f"log_weight_{direction}": run.log_weights.cpu().numpy(),
        "acceptance": run.acceptance.float().cpu().numpy(),
        **costs(len(run.log_weights), evaluations, evaluations),
    }


def _nothing(direction: str, n: int) -> dict[str, NDArray[Any]]:
    """Log weights and acceptance, NaN, and no cost, of a run that did not take place."""
    nan = np.full(n, np.nan, np.float32)
    return {f"log_weight_{direction}": nan.astype(np.float64), "acceptance": nan, **costs(n, 0)}
