"""The chains behind the measurement ``annealed``; :mod:`jembench.measurements.partition` says what is measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Generator, Tensor

from jembench.langevin import ais
from jembench.measurements.contract import costs
from jembench.types import Batch, capabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

KNOTS = 65  # of a schedule as it is kept


def forward(
    model: Any, batch: Batch, generator: Generator, *, rate: float, least: int, most: int, skip: bool
) -> dict[str, NDArray[Any]]:
    """Chains from the base to the model; with ``skip``, log weights are NaN and cost nothing."""
    like, cube = batch.images, ais.Cube.of_levels(batch.levels)
    n = len(like)
    if skip:
        widths = {"end": like[0].numel(), "betas": KNOTS, "sizes": KNOTS}
        return {
            **_nothing("forward", n),
            **{name: np.full((n, width), np.nan, np.float32) for name, width in widths.items()},
            "temperatures": np.zeros(n, np.int32),
        }
    pilot = ais.pilot(model.log_density, like, cube=cube, generator=generator)
    count = max(least, min(most, math.ceil(rate * pilot.length**2)))
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


def reverse(model: Any, batch: Batch, generator: Generator, *, settle: int, skip: bool) -> dict[str, NDArray[Any]]:
    """Chains from the model to the base; with ``skip``, log weights are NaN and cost nothing."""
    forward = batch.whole[0]
    assert forward is not None  # it needs what the forward direction needs
    n, weights = len(batch.index), forward["log_weight_forward"]
    if skip or not np.isfinite(weights.max()):
        return {**_nothing("reverse", n), "exact": np.zeros(n, np.int32)}
    betas, sizes = (torch.from_numpy(forward[name][0].astype(np.float64)) for name in ("betas", "sizes"))
    cube, schedule, count = (
        ais.Cube.of_levels(batch.levels),
        ais.Schedule(betas, sizes),
        int(forward["temperatures"][0]),
    )
    start, cost = _exact(model, n, generator), 0
    exact = start is not None
    if start is None:
        start = _ends(batch, forward, generator)
        start = ais.equilibrate(
            model.log_density, start, steps=settle, size=float(schedule.sizes[-1]), cube=cube, generator=generator
        )
        cost = settle + 1
    run = ais.anneal(
        model.log_density,
        start.to(batch.images),
        schedule=schedule.resampled(count + 1).reversed(),
        cube=cube,
        generator=generator,
    )
    return {**_weighed("reverse", run, cost + count + 1), "exact": np.full(n, exact, np.int32)}


def _ends(batch: Batch, forward: Any, generator: Generator) -> Tensor:
    """Ends of the forward chains, resampled by weight."""
    ends = torch.from_numpy(forward["end"]).reshape(-1, *batch.images.shape[1:])
    log_weights = torch.from_numpy(forward["log_weight_forward"])
    return ais.resample(ends, log_weights, count=len(batch.index), generator=generator).to(batch.images)


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
