"""Chains, PGD and training in TFLOP/s, as a share of what the device can: python tests/speed/devices.py --device cuda

Four works on one wide residual network and batches of 64 images of 3x32x32: an SGLD chain, PGD, the step of a JEM
iteration (three passes forward and back, Adam), and the whole iteration as `jembench train` runs it. Each is compared
with a plain eager fp32 port of the published loop, written here without jembench: contiguous images, no autocast, no
TF32. Sizes are those of the paper on a GPU (WRN-28-10, 20 steps), small ones on a CPU; options change them.

FLOPs are counted by torch's FlopCounterMode on the body of each loop (two for a multiplication and an addition, of
convolutions and matrices alone). The peak of a precision is the best of several large matrix products, each the median
of its rounds. All variants of a work run in turn, after a warm-up, between events of the stream on a GPU; printed are
the median with its quartiles, images through the work per second, TFLOP/s, their share of the peak of that precision,
and the median of the rounds' ratios to the port. What is compared gives the same images: how far the ends of the chains
and attacks are apart is printed too.

Bars, for WRN-28-10 on an H200: the chain reaches 35 % of the bf16 peak and 4 x the port.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from jembench import data
from jembench.attacks.pgd import pgd
from jembench.attacks.victim import Victim
from jembench.ground import generators
from jembench.langevin import sgld
from jembench.langevin.sgld import SGLD
from jembench.models.chains import Energy
from jembench.models.jem import JEM
from jembench.models.recipes import Recipe
from jembench.models.wrn import WideResNet
from jembench.store.provenance import environment
from jembench.training.draws import GraphedEnergy
from jembench.training.objective import Draws
from jembench.training.run import Run
from jembench.training.team import Team

SHAPE, CLASSES = (3, 32, 32), 10
PORT = "port"  # the reference of every work
GRAPHED = "jembench bf16, graphed"  # what training does on a GPU
EPS, SIZE = 8 / 255, 2 / 255
SHARE_BAR, SPEED_BAR = 0.35, 4.0


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    depth: int
    width: int
    batch: int
    steps: int
    rounds: int
    products: tuple[int, ...]


GPU = Sizes(depth=28, width=10, batch=64, steps=20, rounds=15, products=(4096, 8192, 16384))
CPU = Sizes(depth=16, width=2, batch=64, steps=4, rounds=7, products=(512, 1024, 2048))


@dataclass(frozen=True)
class Variant:
    """One way to do a work; ``precision`` names the peak that it is held against."""

    name: str
    precision: str
    run: Callable[[], object]
    trial: bool = False  # whether cuDNN chooses its kernels by trying them


@dataclass(frozen=True)
class Row:
    work: str
    variant: str
    precision: str
    ms: float
    ms_low: float
    ms_high: float
    images_per_s: float
    tflops: float
    share_of_peak: float
    speedup: float


# The published loops, without jembench


def port_chain(net: nn.Module, u: Tensor, steps: int, draw: Callable[[Tensor], Tensor] = torch.randn_like) -> Tensor:
    """JEM's sampler on pixels in [-1, 1]: step 1, noise .01."""
    u = u.clone().requires_grad_()
    for _ in range(steps):
        (slope,) = torch.autograd.grad(net(u).logsumexp(1).sum(), [u])
        u.data += 1.0 * slope + 0.01 * draw(u)
    return u.detach()


def port_pgd(net: nn.Module, u: Tensor, y: Tensor, steps: int, start: Tensor) -> Tensor:
    """L-infinity PGD on pixels in [-1, 1]."""
    moved = start.clone()
    for _ in range(steps):
        moved.requires_grad_()
        (slope,) = torch.autograd.grad(functional.cross_entropy(net(moved), y, reduction="sum"), [moved])
        moved = moved.detach() + 2 * SIZE * slope.sign()
        moved = torch.min(torch.max(moved, u - 2 * EPS), u + 2 * EPS).clamp(-1, 1)
    return moved


def port_step(net: nn.Module, adam: torch.optim.Optimizer, x: Tensor, y: Tensor, plus: Tensor, minus: Tensor) -> None:
    """Cross-entropy and the contrast of data with samples."""
    loss = functional.cross_entropy(net(x), y) - net(plus).logsumexp(1).mean() + net(minus).logsumexp(1).mean()
    adam.zero_grad()
    loss.backward()
    adam.step()


# Counting and timing


def gflop(net: nn.Module, *, weights: bool) -> float:
    """GFLOP of an image: forward and the gradient of the images, or forward and that of the weights."""
    bare = copy.deepcopy(net).to("meta").requires_grad_(weights)
    x = torch.empty((1, *SHAPE), device="meta", requires_grad=not weights)
    z = x.clone()  # the counter's hooks want no leaf in autograd.grad
    with FlopCounterMode(display=False) as counter:
        total = bare(z).logsumexp(1).sum()
        if weights:
            total.backward()
        else:
            torch.autograd.grad(total, z)
    return counter.get_total_flops() / 1e9


def seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    work()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) / 1000


@contextmanager
def numerics(precision: str, *, trial: bool = False) -> Iterator[None]:
    """TF32 only where it is what is measured."""
    backends = torch.backends
    before = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark
    try:
        backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = precision == "tf32"
        backends.cudnn.benchmark = trial
        yield
    finally:
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark = before


def precisions(device: torch.device) -> tuple[str, ...]:
    return ("fp32", "tf32", "bf16") if device.type == "cuda" else ("fp32", "bf16")


def peaks(device: torch.device, sizes: Sizes) -> dict[str, float]:
    """TFLOP/s of the best matrix product of each precision."""
    found = {}
    for precision in precisions(device):
        kind, best = torch.bfloat16 if precision == "bf16" else torch.float32, 0.0
        for n in sizes.products:
            a, b = (torch.randn((n, n), device=device).to(kind) for _ in range(2))
            work = partial(torch.mm, a, b)
            with numerics(precision):
                work(), work()
                best = max(best, 2e-12 * n**3 / median(seconds(work, device) for _ in range(sizes.rounds)))
        found[precision] = best
    return found


def measure(
    work: str,
    variants: list[Variant],
    flops: float,
    images: int,
    top: dict[str, float],
    rounds: int,
    where: torch.device,
) -> list[Row]:
    """All variants in turn, forwards and backwards, so that a drift of the machine favours none."""
    times: dict[str, list[float]] = {item.name: [] for item in variants}
    for number in range(-1, rounds):  # the first is the warm-up
        for item in variants if number % 2 else reversed(variants):
            with numerics(item.precision, trial=item.trial):
                took = seconds(item.run, where)
            if number >= 0:
                times[item.name].append(took)
    rows = []
    for item in variants:
        low, middle, high = quantiles(times[item.name], n=4, method="inclusive")
        speed = flops / middle / 1000
        ratio = median(a / b for a, b in zip(times[PORT], times[item.name], strict=True))
        ms = (1000 * value for value in (middle, low, high))
        rows.append(
            Row(work, item.name, item.precision, *ms, images / middle, speed, speed / top[item.precision], ratio)
        )
    return rows


# The works


def recipe(sizes: Sizes, precision: str) -> Recipe:
    half = "bf16" if precision == "bf16" else "fp32"
    return Recipe.model_validate(
        {
            "track": "cifar10",
            "about": "a benchmark",
            "model": {
                "kind": "jem",
                "network": "wrn",
                "depth": sizes.depth,
                "width": sizes.width,
                "mean": 0.5,
                "std": 0.5,
            },
            "data": {"shift": 4, "padding": "reflect", "flip": True},
            "objective": {"log_py_x": 1.0, "log_px": 1.0},
            "optimiser": {"learning_rate": 1e-6},
            "sampling": {"steps": sizes.steps, "buffer": 2 * sizes.batch, "precision": half},
            "training": {"iterations": 1000, "batch": sizes.batch, "precision": half},
        }
    )


def random_images(folder: Path, splits: dict[str, int]) -> None:
    """Files of random images under the names of a folder of `--data-dir`."""
    rng = np.random.default_rng(0)
    for name, n in splits.items():
        images = rng.integers(0, 256, (n, *SHAPE[1:], SHAPE[0]), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", images=images, labels=np.arange(n) % CLASSES)


def network(sizes: Sizes, device: torch.device) -> WideResNet:
    """Contiguous, with fresh weights."""
    with generators.forked("weights"):
        made = WideResNet(shape=SHAPE, classes=CLASSES, depth=sizes.depth, width=sizes.width)
    return made.eval().to(device)


def sampling(sizes: Sizes, device: torch.device, top: dict[str, float]) -> tuple[list[Row], dict[str, float]]:
    """The chain and PGD, and how far their ends are from the port's, relative to how far those moved."""
    net = network(sizes, device)
    model = JEM(copy.deepcopy(net), sampler=None, mean=0.5, std=0.5)  # type: ignore[arg-type]  # not needed here
    model.eval().requires_grad_(False).to(device=device, memory_format=torch.channels_last)
    x = torch.rand((sizes.batch, *SHAPE), generator=generators.generator("x")).to(device)
    y = torch.randint(CLASSES, (sizes.batch,), generator=generators.generator("y")).to(device)
    u = 2 * x - 1
    each = gflop(net, weights=False) * sizes.batch * sizes.steps

    def chain(kind: str, noise: sgld.Noise = sgld.noise_like, energy: Energy = model) -> Tensor:
        settings = SGLD(steps=sizes.steps, precision="bf16" if kind == "bf16" else "fp32")
        generator = generators.generator("noise")
        return sgld.chain(energy.log_density, x, settings=settings, generator=generator, noise=noise)

    def attack(kind: str, draw: sgld.Noise = sgld.noise_like) -> Tensor:
        victim = Victim(model, generator=generators.generator("victim"), precision="bf16" if kind == "bf16" else "fp32")
        return pgd(
            lambda z: functional.cross_entropy(victim(z), y, reduction="none"),
            x,
            norm="linf",
            eps=EPS,
            steps=sizes.steps,
            size=SIZE,
            generator=generators.generator("noise"),
            draw=draw,
        )

    chains = [Variant(PORT, "fp32", lambda: port_chain(net, u, sizes.steps))]
    chains += [Variant(f"jembench {kind}", kind, partial(chain, kind)) for kind in precisions(device)]
    if device.type == "cuda":
        chains.append(Variant(GRAPHED, "bf16", partial(chain, "bf16", energy=GraphedEnergy(model))))
        tried = partial(chain, "bf16", energy=GraphedEnergy(model))
        chains.append(Variant(f"{GRAPHED}, cuDNN by trial", "bf16", tried, trial=True))
    rows = measure("SGLD chain", chains, each, sizes.batch, top, sizes.rounds, device)
    attacks = [Variant(PORT, "fp32", lambda: port_pgd(net, u, y, sizes.steps, u))]
    attacks += [Variant(f"jembench {kind}", kind, partial(attack, kind)) for kind in precisions(device)]
    rows += measure("PGD", attacks, each, sizes.batch, top, sizes.rounds, device)

    with numerics("fp32"):
        wanted = (port_chain(net, u, sizes.steps, torch.zeros_like) + 1) / 2
        crafted = (port_pgd(net, u, y, sizes.steps, u) + 1) / 2
        half = chain("bf16", silent)
        apart = {
            "chain, fp32": _apart(chain("fp32", silent), wanted, x),
            "chain, bf16": _apart(half, wanted, x),
            "PGD, fp32": _apart(attack("fp32", silent), crafted, x),
        }
        if device.type == "cuda":
            apart["chain, graphed bf16 from eager bf16"] = _apart(chain("bf16", silent, GraphedEnergy(model)), half, x)
        return rows, apart


def silent(x: Tensor, generator: torch.Generator) -> Tensor:
    """No noise."""
    return torch.zeros_like(x)


def _apart(found: Tensor, expected: Tensor, start: Tensor) -> float:
    return float((found - expected).norm() / (expected - start).norm())


def training(sizes: Sizes, device: torch.device, top: dict[str, float]) -> list[Row]:
    """The step alone, and the iteration."""
    net = network(sizes, device).train()
    adam = torch.optim.Adam(net.parameters(), lr=1e-6)
    images, minus = (torch.rand((sizes.batch, *SHAPE), device=device) for _ in range(2))
    y = torch.arange(sizes.batch, device=device) % CLASSES
    chain, step = (gflop(net, weights=weights) * sizes.batch for weights in (False, True))

    def port_iteration() -> None:
        net.eval()
        samples = port_chain(net, 2 * minus - 1, sizes.steps)
        net.train()
        port_step(net, adam, 2 * images - 1, y, 2 * images - 1, samples)

    steps = [Variant(PORT, "fp32", lambda: port_step(net, adam, images, y, images, minus))]
    iterations = [Variant(PORT, "fp32", port_iteration)]
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place), os.environ.get("JEMBENCH_CACHE")
        os.environ["JEMBENCH_CACHE"] = str(folder / "cache")
        random_images(folder, {"cifar10_train": 1000})
        track = data.track("cifar10", folder=folder)
        for kind in precisions(device):
            run = Run(recipe(sizes, kind), track, device, Team(), folder / "run")
            draws = Draws(images, y, images, None, minus, None)
            steps.append(Variant(f"jembench {kind}", kind, partial(our_step, run, draws)))
            iterations.append(Variant(f"jembench {kind}", kind, run.iterate))
        rows = measure("training step", steps, 3 * step, sizes.batch, top, sizes.rounds, device)
        rows += measure("iteration", iterations, 3 * step + sizes.steps * chain, sizes.batch, top, sizes.rounds, device)
        os.environ.pop("JEMBENCH_CACHE")
        if cache is not None:
            os.environ["JEMBENCH_CACHE"] = cache
    return rows


def our_step(run: Run, draws: Draws) -> None:
    run.model.train()
    loss, _ = run.parallel(draws)
    run.optimiser.zero_grad()
    loss.backward()
    run.optimiser.step()


# The report


def bars(rows: list[Row], sizes: Sizes) -> dict[str, dict[str, float | bool]] | None:
    """The two bars, where they mean something: on a GPU and the paper's network."""
    chains = [row for row in rows if row.variant == GRAPHED]
    if not chains or (sizes.depth, sizes.width) != (28, 10):
        return None
    found = {
        "share of the bf16 peak": (chains[0].share_of_peak, SHARE_BAR),
        "speed-up over the port": (chains[0].speedup, SPEED_BAR),
    }
    return {name: {"value": value, "bar": bar, "met": value >= bar} for name, (value, bar) in found.items()}


def measured(device: torch.device, sizes: Sizes, threads: int) -> dict[str, Any]:
    """Everything, as it goes to the JSON file."""
    torch.set_num_threads(threads)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        top = peaks(device, sizes)
        rows, apart = sampling(sizes, device, top)
        rows += training(sizes, device, top)
    after = peaks(device, sizes)
    cuda = device.type == "cuda"
    return {
        "environment": environment(str(device)).model_dump(mode="json"),
        "python": platform.python_version(),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "threads": threads,
        "network": f"WRN-{sizes.depth}-{sizes.width}",
        "sizes": asdict(sizes),
        "gflop_per_image_gradient": gflop(network(sizes, torch.device("cpu")), weights=False),
        "peaks_tflops": top,
        "peaks_tflops_afterwards": after,
        "rows": [asdict(row) for row in rows],
        "bars": bars(rows, sizes),
        "ends_apart": apart,
        "memory_mb": torch.cuda.max_memory_allocated(device) / 2**20 if cuda else None,
        "warnings": sorted({str(item.message) for item in said}),
    }


def show(found: dict[str, Any]) -> None:
    sizes = found["sizes"]
    where = found["environment"]
    print(f"{where['device']}, {where['processor']}, torch {where['packages']['torch']}, {found['threads']} thread(s)")
    print(
        f"{found['network']}, batch {sizes['batch']}, {sizes['steps']} steps, "
        f"{found['gflop_per_image_gradient']:.2f} GFLOP per image and gradient"
    )
    for kind, value in found["peaks_tflops"].items():
        print(f"matrix peak, {kind}: {value:.3f} TFLOP/s ({found['peaks_tflops_afterwards'][kind]:.3f} afterwards)")
    for row in found["rows"]:
        print(
            f"{row['work']:14}{row['variant']:40}{row['ms']:10.1f} ms ({row['ms_low']:.1f} to {row['ms_high']:.1f})"
            f"{row['images_per_s']:10.1f} images/s{row['tflops']:9.3f} TFLOP/s{100 * row['share_of_peak']:7.1f} %"
            f"{row['speedup']:7.2f} x"
        )
    for name, value in found["ends_apart"].items():
        print(f"ends apart from the reference, {name}: {value:.1e} of the move")
    for name, item in (found["bars"] or {}).items():
        print(f"{name}: {item['value']:.2f} (bar {item['bar']}): {'met' if item['met'] else 'not met'}")
    for line in found["warnings"]:
        print(f"warning: {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file for everything that was measured")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    for name in ("depth", "width", "batch", "steps", "rounds"):
        parser.add_argument(f"--{name}", type=int)
    given = parser.parse_args()
    device = torch.device(given.device)
    usual = asdict(GPU if device.type == "cuda" else CPU)
    changed = {name: getattr(given, name) for name in usual if getattr(given, name, None) is not None}
    found = measured(device, Sizes(**{**usual, **changed}), given.threads)
    show(found)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
