"""The engine: computes the missing chunks of plans, and makes their results from the records.

Chunks are computed with one thread on a CPU, in this process as in workers, because input gradients differ in bits
between one thread and two. What is in the store is never computed again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from jembench import data
from jembench.attacks import ATTACKS
from jembench.choices.protocols import PROTOCOLS
from jembench.engine import executors
from jembench.engine.plan import Job, Plan
from jembench.evaluators import EVALUATORS
from jembench.evaluators.contract import scalars
from jembench.ground import generators, guard
from jembench.ground.families import Family
from jembench.ground.identity import sha256
from jembench.ground.numerics import reproducible
from jembench.ground.progress import Show, silent
from jembench.measurements import MEASUREMENTS
from jembench.measurements.contract import Need, RecordBatch, describe
from jembench.measurements.detector import DETECTORS
from jembench.metrics.scores import SCORES
from jembench.store import provenance, shelf
from jembench.store.history import HISTORY, read_history
from jembench.store.records import Store, encode
from jembench.store.results import (
    EXAMPLES,
    RESULT,
    ChunkCost,
    ChunkEntry,
    Cost,
    ModelEntry,
    ProtocolEntry,
    ResultDocument,
    read_result,
    write_result,
)
from jembench.types import Batch, UserError
from jembench.zoo import baselines, catalogue
from jembench.zoo.plugged import MODELS

if TYPE_CHECKING:
    import torch

    from jembench.data.sets import ImageSet
    from jembench.evaluators.contract import Evaluator
    from jembench.metrics.metric import Metric

LOG = logging.getLogger("jembench")


@dataclass(frozen=True)
class Outcome:
    """A result and what it took to have it.

    Attributes:
        document: the content of its ``result.json``.
        folder: where it is.
        chunks: keys of the chunks it needs.
        computed: keys of those that were computed now.
        assembly: seconds of the metrics of every evaluator, where they were made now.
    """

    document: ResultDocument
    folder: Path
    chunks: frozenset[str]
    computed: frozenset[str]
    assembly: Mapping[str, float] = field(default_factory=dict)


def run(
    plans: Sequence[Plan],
    store: Store,
    *,
    workers: int = 1,
    progress: Show = silent,
    ahead: Callable[[str], Mapping[str, float]] = lambda key: {},
) -> list[Outcome]:
    """Compute what is missing, once for all plans, and return their results in order.

    Args:
        plans: what to have.
        store: where records and results are.
        workers: processes that compute chunks.
        progress: called with (chunks done, chunks to do, what is next) before the first chunk and after every one.
        ahead: what ``progress`` is told besides, by the key of the chunk that is finished; empty at the start.

    Raises:
        UserError: for bad input of any kind; finished chunks stay.
    """
    if type(workers) is not int or workers < 1:
        raise UserError(f"workers must be a whole number of at least 1, not {workers!r}")
    open_plans = [plan for plan in plans if missing(plan, store)]
    _warn(plan.warnings for plan in open_plans)
    jobs = {job.key: job for plan in open_plans for job in plan.jobs}
    absent = [job for key, job in jobs.items() if not store.has(key)]
    if absent:
        _compute(absent, store, workers, progress, ahead)
    fresh = frozenset(job.key for job in absent)
    outcomes = [_outcome(plan, store, fresh) for plan in plans]
    _warn(each.document.warnings for each, plan in zip(outcomes, plans, strict=True) if plan not in open_plans)
    return outcomes


def missing(plan: Plan, store: Store) -> bool:
    """Whether the result of a plan is not there yet."""
    place = shelf.place(store, plan.key, plan.name)
    return place is None or not (place / RESULT).exists()


def _warn(warnings: Iterable[tuple[str, ...]]) -> None:
    """Say each of the warnings once."""
    for words in dict.fromkeys(chain.from_iterable(warnings)):
        LOG.warning("warning: %s", words)


def seen(plan: Plan) -> str:
    """Words about images that the model may have been trained on, though the plan takes them for others; or none.

    Of a part of a published set each source is a share of that part (:mod:`jembench.data.external`), so that what
    validates here can be in what another copy of the set trains on.
    """
    train = next((source for source in plan.track.sources if source.name == "train"), None)
    weights = Path(plan.model.weights or "")
    if train is None or train.part is None or weights.name not in (baselines.WEIGHTS, baselines.TWIN):
        return ""
    cut = (train.part.set, train.part.split)
    siblings = [s.name for s in plan.track.sources if s.part and s != train and (s.part.set, s.part.split) == cut]
    used = [name for name in siblings if name in plan.protocol["sources"]]
    if not used or not (weights.parent / HISTORY).is_file():
        return ""
    then, now = read_history(weights.parent).images, data.found(plan.track, train.name).sha256
    if then is None or then == now:
        return ""
    return (
        f"{plan.model.name} was trained on other images than {train.name!r} is here (sha256 {then[:12]}, here "
        f"{now[:12]}): some of {', '.join(used)} may be among them (docs/data.md, Subsets)"
    )


class Bench:
    """Computes chunks in one process; keeps the last model and image set at hand."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._model: tuple[Any, Any] = (None, None)
        self._images: tuple[Any, Any] = (None, None)
        self._environment: tuple[Any, Any] = (None, None)

    def __call__(self, job: Job) -> None:
        """Compute the records of one chunk and keep them."""
        self._prepare(job)
        start = time.perf_counter()
        with reproducible(), generators.forked(*job.stream):
            columns = self._columns(job)
        cost = {
            "seconds": time.perf_counter() - start,
            "peak_memory_mb": provenance.peak_memory_mb(),
            "environment": self._environment[1],
        }
        self.store.put(job.key, encode(columns), cost)

    def _prepare(self, job: Job) -> None:
        """Have the model, the images and the environment of a job at hand."""
        if self._model[0] != (job.model, job.device):
            self._model = ((job.model, job.device), catalogue.load(job.model, device=job.device))
        if self._images[0] != (job.model.track, job.source, job.data):
            digest = job.data if job.origin else ""
            images = data.load(job.model.track, job.source, origin=job.origin, sha256=digest)
            self._images = ((job.model.track, job.source, job.data), images)
        if self._environment[0] != job.device:
            self._environment = (job.device, provenance.environment(job.device).model_dump(mode="json"))

    def _columns(self, job: Job) -> dict[str, NDArray[Any]]:
        import torch

        model, images = self._model[1], self._images[1]
        pixels = (torch.from_numpy(images.pixels(job.start, job.stop)) + _noise(job, images)).to(job.device)
        labels = torch.from_numpy(images.labels[job.start : job.stop]).to(job.device)
        index = torch.arange(job.start, job.stop)
        generator = generators.generator(*job.stream)
        bases = [None if key is None else self.store.records(key)[0] for key in job.given]
        whole = tuple(self._joined(keys) for keys in job.whole)
        parts = []
        with guard.guarded(f"model {job.model.name!r} fails on examples {job.start}-{job.stop - 1} of {job.source!r}"):
            for start in range(0, len(index), job.batch):
                span = slice(start, min(start + job.batch, len(index)))  # given records may be of more examples
                rows = tuple(columns and {name: column[span] for name, column in columns.items()} for columns in bases)
                batch = Batch(pixels[span], labels[span], index[span].to(job.device), images.levels, rows, whole)
                part = job.measurement.columns(model, batch, generator)
                _check_shapes(part, len(batch.index), data.track(job.model.track).classes)
                parts.append(part)
        table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        _check_finite(table, job)
        return {"index": index.numpy(), "label": images.labels[job.start : job.stop], **table}

    def _joined(self, keys: tuple[str, ...]) -> dict[str, NDArray[Any]] | None:
        """The columns of all chunks of a source; None if there are none."""
        parts = [self.store.records(key)[0] for key in keys]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else None


def _noise(job: Job, images: ImageSet) -> torch.Tensor | float:
    """The noise ``(B, C, H, W)`` on a chunk's images: whatever measures an image, and however many of the chunk."""
    if not job.noise:
        return 0.0
    import torch

    generator = generators.generator("noise", job.seed, job.source, job.index)
    xi = torch.randn((job.batch, *images.images.shape[1:]), generator=generator)
    return job.noise * xi[: job.stop - job.start]


def _check_shapes(columns: dict[str, NDArray[Any]], count: int, classes: int) -> None:
    """Raise ``ValueError`` unless every column has a row per example, and logits one entry per class."""
    for name, column in columns.items():
        shape = (count, classes) if name == "logits" else (count, *column.shape[1:])
        if column.shape != shape:
            raise ValueError(f"{name} of {count} images have shape {column.shape}, not {shape}")


def _check_finite(columns: dict[str, NDArray[Any]], job: Job) -> None:
    for name in sorted(job.measurement.finite & columns.keys()):
        column = columns[name]
        bad = ~np.isfinite(column.reshape(len(column), -1)).all(axis=1)
        if bad.any():
            example = job.start + int(np.argmax(bad))
            raise UserError(
                f"model {job.model.name!r} gives {name} that are NaN or infinite on example {example} of "
                f"{job.source!r} ({int(bad.sum())} of {len(column)} in the chunk): nothing of it was kept"
            )


def _compute(
    missing: list[Job], store: Store, workers: int, progress: Show, ahead: Callable[[str], Mapping[str, float]]
) -> None:
    """Run the missing jobs, each after those that it builds on, and count them."""
    if workers > 1 and any(job.model.ref.form == "object" for job in missing):
        raise UserError(
            "a model object exists in this process only: use workers=1, or name the model as 'file.py:build'"
        )
    chunks = 0

    def count(place: int) -> None:
        nonlocal chunks
        chunks += 1
        title = missing[chunks].title if chunks < len(missing) else "metrics"
        progress(chunks, len(missing), title, **ahead(missing[place].key))

    places = {job.key: place for place, job in enumerate(missing)}
    after = {place: {places[key] for key in job.before & places.keys()} for place, job in enumerate(missing)}
    progress(0, len(missing), missing[0].title, **ahead(""))
    executors.run(partial(Bench, store), missing, workers=min(workers, len(missing)), done=count, after=after)


def _outcome(plan: Plan, store: Store, fresh: frozenset[str]) -> Outcome:
    place = shelf.claim(store, plan.key, plan.name)
    complete = (place / RESULT).exists()
    assembly: dict[str, float] = {}
    document = read_result(place) if complete else _assemble(plan, store, place, assembly)
    ours = (plan.key, plan.model.name, plan.track.id, plan.suite, plan.seed, plan.limit, plan.protocol_hash)
    if ours != (
        document.key,
        document.model.name,
        document.track,
        document.suite,
        document.seed,
        document.limit,
        document.protocol_hash,
    ):
        raise UserError(f"{place / RESULT}: is the result of another plan; move it away")
    if more := tuple(words for words in plan.warnings if words not in document.warnings):
        document = document.model_copy(update={"warnings": (*document.warnings, *more)})
        document = write_result(place, document, (place / EXAMPLES).read_bytes())
    keys = frozenset(job.key for job in plan.jobs)
    return Outcome(document, place, keys, frozenset() if complete else keys & fresh, assembly)


def _assemble(plan: Plan, store: Store, place: Path, assembly: dict[str, float]) -> ResultDocument:
    """Metrics, with the seconds of every evaluator in ``assembly``, examples, cost and provenance from the records."""
    chunks, costs, forwards, gradients = [], [], 0, 0
    for job in plan.jobs:
        columns, digest = store.records(job.key)
        forwards += int(columns["forwards"].sum())
        gradients += int(columns["gradients"].sum())
        costs.append(_cost(store, job.key))
        chunks.append(
            ChunkEntry(
                key=job.key,
                measurement=describe(job.measurement),
                source=job.source,
                start=job.start,
                stop=job.stop,
                sha256=digest,
            )
        )
    examples = encode(_examples(plan, store), compression="zstd")  # an eighth of the size: most cells are empty
    document = ResultDocument(
        key=plan.key,
        model=ModelEntry(
            name=plan.model.name, fingerprint=plan.model.fingerprint, weights_sha256=plan.model.weights_sha256
        ),
        track=plan.track.id,
        suite=plan.suite,
        seed=plan.seed,
        limit=plan.limit,
        protocol=ProtocolEntry.model_validate(plan.protocol),
        protocol_hash=plan.protocol_hash,
        metrics=[
            replace(metric, evaluator=evaluator.name)
            for evaluator in plan.evaluators
            for metric in _metrics(evaluator, plan, store, assembly)
        ],
        chunks=chunks,
        examples_sha256=sha256(examples),
        cost=Cost(
            forwards=forwards,
            gradients=gradients,
            seconds=sum(cost.seconds for cost in costs),
            peak_memory_mb=max((cost.peak_memory_mb for cost in costs), default=0.0),
        ),
        provenance=provenance.provenance(cost.environment for cost in costs),
        warnings=plan.warnings,
        plugins=_plugins(plan),
        request=dict(plan.request),
    )
    return write_result(place, document, examples)


def _metrics(evaluator: Evaluator, plan: Plan, store: Store, assembly: dict[str, float]) -> list[Metric]:
    """The metrics of an evaluator, and how long they took."""
    start = time.perf_counter()
    metrics = evaluator.metrics(batches(plan, store, evaluator.needs(plan.track)), plan.track)
    assembly[evaluator.name] = time.perf_counter() - start
    return metrics


def _plugins(plan: Plan) -> dict[str, str]:
    """The packages of plug-ins that a plan names: name -> version."""
    attacks = [name for each in plan.protocol["evaluators"] for name in each.get("battery", {}).get("attacks", ())]
    used: list[tuple[Family[Any], str]] = [
        (data.TRACKS, plan.track.name),
        (PROTOCOLS, plan.protocol["name"]),
        *(((MODELS, plan.model.name),) if plan.model.ref.form == "code" else ()),
        *((EVALUATORS, each.name) for each in plan.evaluators),
        *((MEASUREMENTS, each["name"]) for each in plan.protocol["measurements"]),
        *((DETECTORS, each["detector"]) for each in plan.protocol["measurements"] if "detector" in each),
        *((SCORES, name) for each in plan.evaluators if each.name == "scores" for name in each.columns),
        *((ATTACKS, name) for name in attacks),
    ]
    plugins = [family.plugin(name) for family, name in used]
    return {plugin.package: plugin.version for plugin in plugins if plugin is not None}


def _cost(store: Store, key: str) -> ChunkCost:
    try:
        return ChunkCost.model_validate(store.cost(key))
    except ValidationError as error:
        files = f"{store.root / 'chunks' / key[:2] / key}.*"
        raise UserError(f"{files}: the cost is damaged; remove these files to compute the chunk anew") from error


def batches(plan: Plan, store: Store, needs: tuple[Need, ...]) -> Iterator[RecordBatch]:
    """The stored records behind ``needs``, in the order of the plan."""
    for need, jobs in plan.parts:
        if need in needs:
            for job in jobs:
                columns, _ = store.records(job.key)
                yield RecordBatch(job.measurement, job.source, columns, need)


def _examples(plan: Plan, store: Store) -> dict[str, NDArray[Any]]:
    """Source, index and the scalars of all evaluators, a row per example; -1 or NaN where one does not apply."""
    lengths: dict[str, int] = {}
    for job in plan.jobs:
        lengths[job.source] = max(job.stop, lengths.get(job.source, 0))
    examples: dict[str, dict[str, NDArray[Any]]] = {source: {} for source in lengths}
    for evaluator in plan.evaluators:
        records = batches(plan, store, evaluator.needs(plan.track))
        for source, columns in scalars(evaluator, records).items():
            examples[source].update(columns)
    table: dict[str, NDArray[Any]] = {
        "source": np.array([source for source, n in lengths.items() for _ in range(n)], dtype=str),
        "index": np.concatenate([np.arange(n) for n in lengths.values()] or [np.arange(0)]),
    }
    kinds = {name: column.dtype for columns in examples.values() for name, column in columns.items()}
    for name, kind in kinds.items():
        absent = np.nan if kind.kind == "f" else -1
        parts = [_filled(examples[source].get(name), n, absent, kind) for source, n in lengths.items()]
        table[name] = np.concatenate(parts)
    return table


def _filled(column: NDArray[Any] | None, n: int, absent: float, kind: np.dtype[Any]) -> NDArray[Any]:
    """A column of ``n`` rows: what is not there, or of the first examples only, is filled up."""
    full = np.full(n, absent, dtype=kind)
    if column is not None:
        full[: len(column)] = column
    return full
