"""The chains behind the measurement ``annealed``; :mod:`jembench.measurements.partition` says what is measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Generator, Tensor

from jembench.langevin import ais
from jembench.measurements.contract import costs
from jembench.measurements.partition import KNOTS
from jembench.types import Batch, capabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.measurements.partition import ImportanceWeights


def columns(settings: ImportanceWeights, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
    """The columns of as many chains as the batch has rows; log weights are NaN, at no cost, where log Z is known."""
    cube = ais.Cube.of_levels(batch.levels)
    skip = model.normalized and not settings.check
    if settings.direction == "forward":
        return _forward(settings, model, batch.images, cube, generator, skip=skip)
    return _reverse(settings, model, batch, cube, generator, skip=skip)


def _forward(
    settings: ImportanceWeights, model: Any, like: Tensor, cube: ais.Cube, generator: Generator, *, skip: bool
) -> dict[str, NDArray[Any]]:
    """Chains from the base to the model."""
    n = len(like)
    if skip:
        widths = {"end": like[0].numel(), "betas": KNOTS, "sizes": KNOTS}
        return {
            **_nothing("forward", n),
            **{name: np.full((n, width), np.nan, np.float32) for name, width in widths.items()},
            "temperatures": np.zeros(n, np.int32),
        }
    pilot = ais.pilot(model.log_density, like, cube=cube, generator=generator)
    count = max(settings.least, min(settings.most, math.ceil(settings.rate * pilot.length**2)))
    knots = pilot.schedule.resampled(KNOTS)
    run = ais.anneal(
        model.log_density,
        cube.uniform(like, generator),
        schedule=knots.resampled(count + 1),
        cube=cube,
        generator=generator,
    )
    return {
        **_weighed("forward", run, pilot.transitions + 1 + count + 1),
        "end": run.x.flatten(1).float().cpu().numpy(),
        "betas": np.tile(knots.betas.float().numpy(), (n, 1)),
        "sizes": np.tile(knots.sizes.float().numpy(), (n, 1)),
        "temperatures": np.full(n, count, np.int32),
    }


def _reverse(
    settings: ImportanceWeights, model: Any, batch: Batch, cube: ais.Cube, generator: Generator, *, skip: bool
) -> dict[str, NDArray[Any]]:
    """Chains from the model to the base."""
    forward = batch.whole[0]
    assert forward is not None  # it needs what the forward direction needs
    n, weights = len(batch.index), forward["log_weight_forward"]
    if skip or not np.isfinite(weights.max()):
        return {**_nothing("reverse", n), "exact": np.zeros(n, np.int32)}
    betas, sizes = (torch.from_numpy(forward[name][0].astype(np.float64)) for name in ("betas", "sizes"))
    schedule, count = ais.Schedule(betas, sizes), int(forward["temperatures"][0])
    start, cost = _exact(model, n, generator), 0
    exact = start is not None
    if start is None:
        start = _equilibrium(settings, model, batch, forward, schedule, cube, generator)
        cost = settings.settle + 1
    run = ais.anneal(
        model.log_density,
        start.to(batch.images),
        schedule=schedule.resampled(count + 1).reversed(),
        cube=cube,
        generator=generator,
    )
    return {**_weighed("reverse", run, cost + count + 1), "exact": np.full(n, exact, np.int32)}


def _equilibrium(
    settings: ImportanceWeights,
    model: Any,
    batch: Batch,
    forward: Any,
    schedule: ais.Schedule,
    cube: ais.Cube,
    generator: Generator,
) -> Tensor:
    """Ends of the forward chains, resampled by weight, and moved on."""
    ends = torch.from_numpy(forward["end"]).reshape(-1, *batch.images.shape[1:])
    log_weights = torch.from_numpy(forward["log_weight_forward"])
    starts = ais.resample(ends, log_weights, count=len(batch.index), generator=generator)
    return ais.equilibrate(
        model.log_density,
        starts.to(batch.images),
        steps=settings.settle,
        size=float(schedule.sizes[-1]),
        cube=cube,
        generator=generator,
    )


def _exact(model: Any, n: int, generator: Generator) -> Tensor | None:
    """Samples of the density itself, if the model can draw them."""
    if not model.normalized or "sampler" not in capabilities(model):
        return None
    x: Tensor = model.sample(n, generator=generator)
    return x if bool(((x > 0) & (x < 1)).all()) else None


def _weighed(direction: str, run: ais.WeightedSamples, evaluations: int) -> dict[str, NDArray[Any]]:
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
