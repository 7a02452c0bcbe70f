"""What an evaluation of photographs takes on a CPU: python tests/speed/evaluation.py [--images N ...]

`jembench run --suite accuracy,calibration,ood --track cifar10 --workers 2` of a JEM of WRN-16-2 with fresh weights on
random images, N of the test split and of every OOD set (`interp` is made of the training images and has 2 % as many).
Printed are seconds per 1,000 images of a source over the whole command, the largest memory of any of its processes, and
what each measurement takes per image, in bare input gradients of the same network, contiguous and with one thread, in
the same run: absolute seconds of a shared machine mean little. Several N show whether memory grows with them.

Bar: at most 2 GB a process; 300 s for 2,000 images on two cores of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from jembench import data
from jembench.ground import generators
from jembench.models.recipes import read_recipe
from jembench.zoo import catalogue

RECIPE = """
track = "cifar10"
about = "a benchmark"
[model]
kind = "jem"
network = "wrn"
depth = {depth}
width = {width}
mean = 0.5
std = 0.5
[objective]
log_px = 1.0
[sampling]
buffer = 64
[training]
iterations = 1
"""
SETS = ("cifar10_test", "svhn_test", "cifar100_test", "celeba_test")
TRAIN = 1000
MEMORY_BAR, SECONDS_BAR = 2048.0, 300.0


def prepared(folder: Path, images: int, depth: int, width: int) -> Path:
    """Random images, and a recipe with weights beside it."""
    rng = np.random.default_rng(0)
    for name, n in (*((name, images) for name in SETS), ("cifar10_train", TRAIN)):
        made = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", images=made, labels=np.arange(n) % 10)
    place = folder / "model"
    place.mkdir()
    path = place / "recipe.toml"
    path.write_text(RECIPE.format(depth=depth, width=width), encoding="utf-8")
    with generators.forked("weights"):
        model = catalogue.build(read_recipe(path), data.track("cifar10"))
    save_file(model.state_dict(), place / "weights.safetensors")
    return path


def bare(path: Path, batch: int) -> float:
    """Seconds of an input gradient of one image."""
    with generators.forked("weights"):
        model = catalogue.build(read_recipe(path), data.track("cifar10"))
    model.eval().requires_grad_(False)
    x = torch.rand((batch, 3, 32, 32))
    found = []
    for _ in range(4):
        started = time.perf_counter()
        torch.autograd.grad(model.log_density(z := x.clone().requires_grad_()).sum(), z)
        found.append(time.perf_counter() - started)
    return median(found[1:]) / batch


def measured(images: int, *, workers: int, depth: int, width: int) -> dict[str, Any]:
    """One run on an empty store, and what its chunks say of themselves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = prepared(folder, images, depth, width)
        batch = data.track("cifar10").chunk
        reference = [bare(path, batch)]
        words = f"run --model {path} --track cifar10 --data-dir {folder} --suite accuracy,calibration,ood --quiet"
        rest = f"--workers {workers} --output {folder / 'store'}"
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "jembench", *words.split(), *rest.split()],
            check=True,
            capture_output=True,
            env={**os.environ, "JEMBENCH_CACHE": str(folder / "cache")},
        )
        wall = time.perf_counter() - started
        reference.append(bare(path, batch))
        seconds, count, memory = _chunks(folder / "store")
    each = sum(reference) / 2
    per_image = {name: seconds[name] / count[name] for name in seconds}
    return {
        "images": images,
        "seconds": wall,
        "seconds_per_1000": 1000 * wall / images,
        "busy": sum(seconds.values()) / (wall * workers),
        "bare_gradient_ms": 1000 * each,
        "gradients_per_image": {name: value / each for name, value in per_image.items()},
        "share_of_chunks": {name: value / sum(seconds.values()) for name, value in seconds.items()},
        "worker_memory_mb": memory,
        "memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def _chunks(store: Path) -> tuple[dict[str, float], dict[str, int], float]:
    """Seconds and images by measurement, and the largest memory of a worker."""
    seconds: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    memory, seen = 0.0, set()
    for path in store.rglob("result.json"):
        for chunk in json.loads(path.read_bytes())["chunks"]:
            if chunk["key"] in seen:
                continue
            seen.add(chunk["key"])
            cost = json.loads(next(store.rglob(f"{chunk['key']}.cost.json")).read_bytes())
            name = chunk["measurement"]["name"]
            seconds[name] += cost["seconds"]
            count[name] += chunk["stop"] - chunk["start"]
            memory = max(memory, cost["peak_memory_mb"])
    return dict(seconds), dict(count), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[2000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--width", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for everything that was measured")
    given = parser.parse_args()
    torch.set_num_threads(1)
    every = []
    for images in given.images:
        found = measured(images, workers=given.workers, depth=given.depth, width=given.width)
        every.append(found)
        print(
            f"{images} images a source: {found['seconds']:.0f} s ({found['seconds_per_1000']:.1f} s per 1,000; bar "
            f"{SECONDS_BAR:.0f} s for 2,000), workers busy {100 * found['busy']:.0f} %; memory "
            f"{found['memory_mb']:.0f} MB, of a worker {found['worker_memory_mb']:.0f} MB (bar {MEMORY_BAR:.0f} MB)"
        )
        for name, value in found["gradients_per_image"].items():
            share = found["share_of_chunks"][name]
            print(f"  {name:16}{value:8.2f} bare gradients an image{100 * share:6.1f} % of the chunks' time")
    if given.json is not None:
        given.json.write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
