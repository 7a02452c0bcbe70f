"""Overhead of the sampler and of training: python tests/speed/sampler.py

Bars: a chain of SGLD <= 1.05 x its bare input gradients on WRN-16-2 with 3x32x32 images, <= 1.15 x on the network of
the digits; an iteration of JEM <= 1.1 x its K input gradients and a bare step, which is three passes forward and back
and Adam's update. All with batches of 64 and one thread, the two sides in turn in one run; the median of the rounds'
ratios is printed with its quartiles: absolute seconds of a shared machine mean little.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
from torch import Tensor, nn

from jembench import data
from jembench.ground import generators
from jembench.langevin import sgld
from jembench.langevin.sgld import SGLD
from jembench.models.jem import JEM
from jembench.models.recipes import Recipe
from jembench.models.small import SmallNet
from jembench.models.wrn import WideResNet
from jembench.training.run import Run
from jembench.training.team import Team

BATCH = 64
STEPS = 20
RECIPE = {
    "track": "digits",
    "about": "JEM as shipped",
    "model": {"kind": "jem", "network": "small", "width": 32},
    "objective": {"log_py_x": 1.0, "log_px": 1.0},
    "optimiser": {"learning_rate": 1e-3, "warmup": 100},
    "sampling": {"steps": STEPS, "buffer": 1024},
    "training": {"iterations": 1000, "batch": BATCH},
}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(name: str, bar: float, bare: Callable[[], object], ours: Callable[[], object], *, rounds: int) -> None:
    bare(), ours()
    times = []
    for number in range(rounds):  # first the one, then the other, so that a drift of the machine favours none
        pair = (bare, ours) if number % 2 == 0 else (ours, bare)
        found = {work: seconds(work) for work in pair}
        times.append((found[bare], found[ours]))
    low, middle, high = quantiles([ours_s / bare_s for bare_s, ours_s in times], n=4)
    fastest = [1000 * min(column) for column in zip(*times, strict=True)]
    print(
        f"{name}: ratio {middle:.3f} ({low:.3f} to {high:.3f}; bar {bar}); "
        f"fastest {fastest[1]:.1f} ms against {fastest[0]:.1f} ms"
    )


def gradients(model: Any, x: Tensor, steps: int) -> None:
    for _ in range(steps):
        x = x.detach().requires_grad_()
        torch.autograd.grad(model.log_density(x).sum(), x)


def chains(name: str, network: nn.Module, shape: tuple[int, int, int], steps: int, bar: float, rounds: int) -> None:
    model = JEM(network, sampler=None).to(memory_format=torch.channels_last)  # type: ignore[arg-type]  # not needed here
    model.eval().requires_grad_(False)
    x = torch.rand((BATCH, *shape), generator=generators.generator("x"))
    settings, generator = SGLD(steps=steps), generators.generator("noise")
    compare(
        f"{name}, {steps} steps",
        bar,
        lambda: gradients(model, x, steps),
        lambda: sgld.chain(model.log_density, x, settings=settings, generator=generator),
        rounds=rounds,
    )


def iterations(rounds: int) -> None:
    recipe = Recipe.model_validate(RECIPE)
    run = Run(recipe, data.track(recipe.track), torch.device("cpu"), Team(), Path("nowhere"))
    model = copy.deepcopy(run.model)
    adam = torch.optim.Adam(model.parameters(), lr=1e-5)
    generator = generators.generator("batches")
    x, y = run.streams.of_labels(generator)
    positive, _ = run.streams.of_density(generator, with_labels=False)
    negative = torch.rand(x.shape, generator=generator)

    def bare() -> None:
        model.requires_grad_(False)
        gradients(model, negative, STEPS)
        model.requires_grad_(True)
        adam.zero_grad()
        loss = nn.functional.cross_entropy(model.logits(x), y)
        loss = loss - model.log_density(positive).mean() + model.log_density(negative).mean()
        loss.backward()
        adam.step()

    compare(f"JEM iteration, {STEPS} steps", 1.1, bare, run.iterate, rounds=rounds)


def main() -> None:
    torch.set_num_threads(1)
    with generators.forked("weights"):
        small = SmallNet(shape=(1, 8, 8), classes=10, width=32)
        wide = WideResNet(shape=(3, 32, 32), classes=10, depth=16, width=2)
    chains("SGLD on the digits' network", small, (1, 8, 8), STEPS, 1.15, rounds=41)
    iterations(rounds=41)
    chains("SGLD on WRN-16-2", wide, (3, 32, 32), 4, 1.05, rounds=7)


if __name__ == "__main__":
    main()
