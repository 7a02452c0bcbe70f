"""Engine overhead on the digits OOD suite: python tests/speed/engine.py

Bars: engine + store <= max(1.15 x the bare passes, those + 3 ms a chunk + 50 ms); metrics with intervals <= 0.5 s;
`jembench run --model jem --suite ood` with an empty store <= 2 x `import torch, sklearn.metrics`; a second run <= 1 s.
The bare passes are the same batches through the same model with one thread, results thrown away. All is measured in
turn in one run, and the medians are printed with their ratios: absolute seconds of a shared machine mean little.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from jembench import data
from jembench.engine import bench as engine
from jembench.engine.plan import plan
from jembench.evaluators import EVALUATORS
from jembench.store.records import Store
from jembench.zoo import catalogue
from jembench.zoo.references import parse

ROUNDS = 7


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def passes() -> None:
    torch.set_num_threads(1)
    track, ood = data.track("digits"), EVALUATORS["ood"]()
    spec = catalogue.resolve(parse("jem"), track="digits")
    made = plan(spec, "ood", track=track)
    model = catalogue.load(spec)
    images = {job.source: torch.from_numpy(data.load("digits", job.source).pixels()) for job in made.jobs}

    def bare() -> None:
        for job in made.jobs:
            x = images[job.source][job.start : job.stop]
            if job.measurement.name == "logits":
                with torch.no_grad():
                    model.logits(x)
            else:
                x = x.clone().requires_grad_()
                torch.autograd.grad(model.log_density(x).sum(), x)

    def chunks(folder: str) -> None:
        bench = engine.Bench(Store.open(Path(folder)))
        for job in made.jobs:
            bench(job)

    times: dict[str, list[float]] = {"bare": [], "engine": [], "metrics": []}
    for _ in range(ROUNDS):
        times["bare"].append(seconds(bare))
        with tempfile.TemporaryDirectory() as folder:
            times["engine"].append(seconds(lambda place=folder: chunks(place)))
            store = Store.open(Path(folder))
            batches = list(engine.batches(made, store, ood.needs(track)))
            times["metrics"].append(seconds(lambda found=batches: ood.metrics(found, track)))
    bare_s, engine_s, metrics_s = (median(times[name]) for name in ("bare", "engine", "metrics"))
    bar = max(1.15 * bare_s, bare_s + 0.003 * len(made.jobs) + 0.05)
    print(f"bare passes {bare_s:.3f} s; engine + store {engine_s:.3f} s for {len(made.jobs)} chunks (bar {bar:.3f} s)")
    print(f"metrics with intervals {metrics_s:.3f} s (bar 0.5 s)")


def commands() -> None:
    reference, fresh, cached, ratios = [], [], [], []
    for _ in range(ROUNDS):
        reference.append(seconds(lambda: call("-c", "import torch, sklearn.metrics")))
        with tempfile.TemporaryDirectory() as folder:
            words = ("-m", "jembench", "run", "--model", "jem", "--suite", "ood", "--output", folder)
            fresh.append(seconds(lambda line=words: call(*line)))
            cached.append(seconds(lambda line=words: call(*line)))
        ratios.append(fresh[-1] / reference[-1])
    print(f"import torch, sklearn.metrics {median(reference):.2f} s; jembench run {median(fresh):.2f} s")
    print(f"ratio {median(ratios):.2f} (bar 2); second run {median(cached):.2f} s (bar 1 s)")
    usage = median([seconds(lambda: call("-m", "jembench", "--help")) for _ in range(ROUNDS)])
    print(f"--help {usage:.2f} s (bar 0.5 s)")


def call(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


if __name__ == "__main__":
    passes()
    commands()
