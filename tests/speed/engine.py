"""What engine, store and commands cost: python tests/speed/engine.py [FOLDER OF CIFAR-10]

Bars: engine and store <= 1.25 x the bare passes on digits, <= 1.05 x on photographs; a first run of suite `ood` with an
empty store <= 2 x `import torch, sklearn.metrics`; a second run <= 1 s. Bare passes are the same measurements on the
same batches with one thread, kept nowhere. All is measured in turn in one run, and medians are printed with their
ratios: absolute seconds of a shared machine mean little.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from jembench import data
from jembench.choices.request import Request
from jembench.engine import bench as engine
from jembench.engine.plan import Plan, plan
from jembench.ground import generators
from jembench.store.records import Store
from jembench.types import Batch
from jembench.zoo import catalogue
from jembench.zoo.references import parse

ROUNDS = 5


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def passes(name: str, track: str, suite: str, request: Request) -> None:
    """Engine and store against the bare passes of one suite: the measurements on the same batches, kept nowhere."""
    torch.set_num_threads(1)
    described = data.track(track, folder=request.data_dir)
    spec = catalogue.resolve(parse(name), track=track, folder=described.folder)
    work = plan(spec, suite, track=described, request=request)
    models = {job.model: catalogue.load(job.model) for job in work.jobs}
    sets = {job.source: data.load(job.model.track, job.source, origin=job.origin) for job in work.jobs}

    def bare(kept: dict[str, dict[str, Any]]) -> None:
        for job in work.jobs:
            images = sets[job.source]
            pixels = torch.from_numpy(images.pixels(job.start, job.stop))
            labels = torch.from_numpy(images.labels[job.start : job.stop])
            given = tuple(None if key is None else kept[key] for key in job.given)
            batch = Batch(pixels, labels, torch.arange(job.start, job.stop), images.levels, given, ())
            with generators.forked(*job.stream):
                kept[job.key] = job.measurement.columns(models[job.model], batch, generators.generator(*job.stream))

    def chunks(folder: str) -> None:
        bench = engine.Bench(Store.open(Path(folder)))
        for job in work.jobs:
            bench(job)

    times: dict[str, list[float]] = {"bare": [], "engine": [], "metrics": []}
    for _ in range(ROUNDS):
        times["bare"].append(seconds(lambda: bare({})))
        with tempfile.TemporaryDirectory() as folder:
            times["engine"].append(seconds(lambda place=folder: chunks(place)))
            store = Store.open(Path(folder))
            times["metrics"].append(seconds(lambda kept=store: assembled(work, kept)))
    bare_s, engine_s, metrics_s = (median(times[name]) for name in ("bare", "engine", "metrics"))
    ratio = median(with_ / without for with_, without in zip(times["engine"], times["bare"], strict=True))
    print(
        f"{name} on {track}, suite {suite}: {len(work.jobs)} chunks, bare passes {bare_s:.2f} s, engine and store "
        f"{engine_s:.2f} s (ratio {ratio:.2f}), metrics with intervals {metrics_s:.2f} s"
    )


def assembled(work: Plan, store: Store) -> None:
    for evaluator in work.evaluators:
        evaluator.metrics(engine.batches(work, store, evaluator.needs(work.track)), work.track)


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
    for suite in ("ood", "calibration"):
        passes("jem", "digits", suite, Request())
    for folder in sys.argv[1:]:
        passes("softmax", "cifar10", "ood", Request(data_dir=Path(folder), limit=300))
    commands()
