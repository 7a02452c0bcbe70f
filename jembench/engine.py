"""The engine: computes the missing chunks of plans, and makes their results from the records.

Chunks are computed with one thread on a CPU, in this process as in workers, because input gradients differ in bits
between one thread and two. What is in the store is never computed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench import data, executors, provenance, seeding, zoo
from jembench.evaluators.contract import Need, RecordBatch
from jembench.identity import sha256
from jembench.plan import Job, Plan
from jembench.results import (
    RESULT,
    ChunkEntry,
    Cost,
    ModelEntry,
    ResultDocument,
    read_result,
    write_result,
)
from jembench.store import Store, encode
from jembench.threads import one_thread
from jembench.types import Batch, UserError


@dataclass(frozen=True)
class Outcome:
    """A result and what it took to have it.

    Attributes:
        document: the content of its ``result.json``.
        folder: where it is.
        chunks: number of chunks it needs.
        computed: how many of them were computed now.
        cached: the result itself was there already.
    """

    document: ResultDocument
    folder: Path
    chunks: int
    computed: int
    cached: bool


def run(
    plans: Sequence[Plan],
    store: Store,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Outcome]:
    """Compute what is missing, once for all plans, and return their results in order.

    Args:
        plans: what to have.
        store: where records and results are.
        workers: processes that compute chunks.
        progress: called with (chunks done, chunks to do) before the first chunk and after every one.

    Raises:
        UserError: for bad input of any kind; finished chunks stay.
    """
    if workers < 1:
        raise UserError(f"workers must be at least 1, not {workers}")
    open_plans = [plan for plan in plans if not (folder(plan, store) / RESULT).exists()]
    jobs = {job.key: job for plan in open_plans for job in plan.jobs}
    missing = [job for key, job in jobs.items() if not store.has(key)]
    if missing:
        _compute(missing, store, workers, progress)
    fresh = {job.key for job in missing}
    return [_outcome(plan, store, fresh) for plan in plans]


def folder(plan: Plan, store: Store) -> Path:
    """Where the result of a plan is kept."""
    return store.root / plan.track.id / plan.model.name / plan.suite / plan.key[:12]


class Bench:
    """Computes chunks in one process; keeps the last model and image set at hand."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._model: tuple[Any, Any] = (None, None)
        self._images: tuple[Any, Any] = (None, None)

    def __call__(self, job: Job) -> None:
        """Compute the records of one chunk and keep them."""
        started = time.perf_counter()
        with one_thread():
            columns = self._columns(job)
        cost = {"seconds": time.perf_counter() - started, "peak_memory_mb": provenance.peak_memory_mb()}
        self.store.put(job.key, encode(columns), cost)

    def _columns(self, job: Job) -> dict[str, NDArray[Any]]:
        import torch

        if self._model[0] != (job.model, job.device):
            self._model = ((job.model, job.device), zoo.load(job.model, device=job.device))
        if self._images[0] != (job.model.track, job.source):
            self._images = ((job.model.track, job.source), data.load(job.model.track, job.source))
        model, images = self._model[1], self._images[1]
        pixels = torch.from_numpy(images.pixels(job.start, job.stop)).to(job.device)
        labels = torch.from_numpy(images.labels[job.start : job.stop]).to(job.device)
        generator = seeding.generator(*job.stream)
        parts = []
        for start in range(0, job.stop - job.start, job.batch):
            batch = Batch(pixels[start : start + job.batch], labels[start : start + job.batch])
            parts.append(job.measurement.columns(model, batch, generator))
        measured = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        index = np.arange(job.start, job.stop)
        _check_finite(measured, job)
        return {"index": index, "label": images.labels[job.start : job.stop], **measured}


def _check_finite(columns: dict[str, NDArray[Any]], job: Job) -> None:
    for name, column in columns.items():
        bad = ~np.isfinite(column.reshape(len(column), -1)).all(axis=1)
        if bad.any():
            example = job.start + int(np.argmax(bad))
            raise UserError(
                f"model {job.model.name!r} gives {name} that are NaN or infinite on example {example} of "
                f"{job.source!r} ({int(bad.sum())} of {len(column)} in the chunk): nothing of it was kept"
            )


def _compute(missing: list[Job], store: Store, workers: int, progress: Callable[[int, int], None]) -> None:
    """Run the missing jobs and count them."""
    if workers > 1 and any(job.model.module is not None for job in missing):
        raise UserError(
            "a model object exists in this process only: use workers=1, or name the model as 'file.py:build'"
        )
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        progress(done, len(missing))

    progress(0, len(missing))
    executors.run(partial(Bench, store), missing, workers=min(workers, len(missing)), done=count)


def _outcome(plan: Plan, store: Store, fresh: set[str]) -> Outcome:
    place = folder(plan, store)
    cached = (place / RESULT).exists()
    document = read_result(place) if cached else _assemble(plan, store, place)
    if document.key != plan.key:
        raise UserError(f"{place / RESULT}: is the result of another plan; move it away")
    computed = 0 if cached else sum(job.key in fresh for job in plan.jobs)
    return Outcome(document, place, len(plan.jobs), computed, cached)


def _assemble(plan: Plan, store: Store, place: Path) -> ResultDocument:
    """Metrics, examples, cost and provenance from the stored records."""
    chunks, costs, forwards, gradients = [], [], 0, 0
    for job in plan.jobs:
        columns, digest = store.records(job.key)
        forwards += int(columns["forwards"].sum())
        gradients += int(columns["gradients"].sum())
        costs.append(store.cost(job.key))
        chunks.append(
            ChunkEntry(
                key=job.key,
                measurement=job.measurement.name,
                source=job.source,
                start=job.start,
                stop=job.stop,
                sha256=digest,
            )
        )
    examples = encode(_examples(plan, store))
    document = ResultDocument(
        key=plan.key,
        model=ModelEntry(
            name=plan.model.name, fingerprint=plan.model.fingerprint, weights_sha256=plan.model.weights_sha256
        ),
        track=plan.track.id,
        suite=plan.suite,
        seed=plan.seed,
        limit=plan.limit,
        protocol=plan.protocol,
        protocol_hash=plan.protocol_hash,
        metrics=[
            metric
            for evaluator in plan.evaluators
            for metric in evaluator.metrics(batches(plan, store, evaluator.needs(plan.track)), plan.track)
        ],
        chunks=chunks,
        examples_sha256=sha256(examples),
        cost=Cost(
            forwards=forwards,
            gradients=gradients,
            seconds=sum(cost["seconds"] for cost in costs),
            peak_memory_mb=max((cost["peak_memory_mb"] for cost in costs), default=0.0),
        ),
        provenance=provenance.provenance(plan.jobs[0].device if plan.jobs else "cpu"),
    )
    write_result(place, document, examples)
    return document


def batches(plan: Plan, store: Store, needs: tuple[Need, ...]) -> Iterator[RecordBatch]:
    """The stored records behind ``needs``, in the order of the plan."""
    for job in plan.jobs:
        if Need(job.measurement, job.source) in needs:
            columns, _ = store.records(job.key)
            yield RecordBatch(job.measurement.name, job.source, columns)


def _examples(plan: Plan, store: Store) -> dict[str, NDArray[Any]]:
    """Source, index and the scalars of all evaluators, a row per example; -1 or NaN where one does not apply."""
    parts: dict[tuple[str, str], dict[int, NDArray[Any]]] = {}
    for evaluator in plan.evaluators:
        for batch in batches(plan, store, evaluator.needs(plan.track)):
            start = int(batch.columns["index"][0])
            for name, column in {"index": batch.columns["index"], **evaluator.scalars(batch)}.items():
                parts.setdefault((batch.source, name), {})[start] = column
    found = {key: np.concatenate([chunks[start] for start in sorted(chunks)]) for key, chunks in parts.items()}
    sources = list(dict.fromkeys(job.source for job in plan.jobs))
    lengths = {source: len(found[source, "index"]) for source in sources}
    names = [source for source in sources for _ in range(lengths[source])]
    table: dict[str, NDArray[Any]] = {"source": np.array(names, dtype=str)}
    for name in dict.fromkeys(name for _, name in found):
        kind = next(column.dtype for (_, other), column in found.items() if other == name)
        absent = np.nan if kind.kind == "f" else -1
        table[name] = np.concatenate(
            [found.get((source, name), np.full(lengths[source], absent, dtype=kind)) for source in sources]
        )
    return table
