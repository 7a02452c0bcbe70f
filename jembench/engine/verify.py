"""Verification: is a claimed result what the model gives? A few chunks, picked at random, are computed again.

A chunk is equal to the bit where its records have the hash that the result states, as on one machine type. On another
the scalars of its images are held against the published ones: numbers within :data:`TOLERANCE`, whole numbers (classes)
equal but for :data:`TIES` of the images. Only chunks with published scalars are picked, those first that build on few
others.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jembench.engine import executors
from jembench.engine.bench import Bench
from jembench.engine.measure import planned
from jembench.engine.plan import Job, Plan
from jembench.ground.identity import sha256
from jembench.ground.progress import Show, silent
from jembench.measurements.contract import Need, RecordBatch
from jembench.store.records import Store
from jembench.types import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jembench.choices.request import Request
    from jembench.store.results import ResultDocument

TOLERANCE = 1e-3  # of a number, relative to its size where that is above 1: what machine types differ by
TIES = 0.01  # share of the images whose class may differ
NEAR = 12  # chunks that a chunk may build on to be picked first

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Check:
    """A chunk that was computed again.

    Attributes:
        title: what it is of.
        exact: whether its records are equal to the bit.
        gap: largest distance of a published scalar, relative to its size where that is above 1; 0 if exact.
        told: whether anything could be compared: equal records, or a scalar that is published.
        fault: what does not hold; empty if all does.
    """

    title: str
    exact: bool
    gap: float = 0.0
    fault: str = ""
    told: bool = True


def recomputed(
    document: ResultDocument,
    examples: Mapping[str, Columns],
    request: Request,
    *,
    chunks: int,
    seed: int,
    progress: Show = silent,
) -> tuple[list[str], list[Check], int]:
    """Compute chunks of a result again and compare them.

    Args:
        document: the result.
        examples: its published scalars by source, in order of index.
        request: the model and how the result was measured; its suite, seed, limit and protocol are the result's.
        chunks: how many are computed.
        seed: of the choice.
        progress: called with (chunks done, chunks to do, what is next).

    Returns:
        What is wrong with the model; the checks; the number of chunks that could have been picked.

    Raises:
        UserError: if the request does not measure what the result claims to be, or its model cannot be built.
    """
    (plan,) = planned(request)
    _check_same(plan, document)
    entries = document.chunks
    if [(job.source, job.start, job.stop) for job in plan.jobs] != [(e.source, e.start, e.stop) for e in entries]:
        raise UserError("the model gives other records than the result has: is it of the same kind?")
    faults = []
    if plan.model.fingerprint != document.model.fingerprint:
        ours, theirs = plan.model.weights_sha256 or plan.model.fingerprint, document.model.weights_sha256
        faults.append(f"the model is not that of the result: {ours[:12]}, claimed {str(theirs)[:12]}")
    needs = {job: need for need, jobs in plan.parts for job in jobs}
    published = [place for place, job in enumerate(plan.jobs) if _published(plan, job, needs)]
    picked = _picked(plan, published, chunks, seed)
    with tempfile.TemporaryDirectory(prefix="jembench-") as folder:
        store = Store.open(Path(folder))
        _compute(plan, picked, store, request.workers, progress)
        checks = [
            _check(plan, plan.jobs[place], store, entries[place].sha256, examples, needs[plan.jobs[place]])
            for place in picked
        ]
    if checks and not any(check.told for check in checks):
        raise UserError("none of these chunks can be compared: other bits, and no published scalars; raise --chunks")
    return faults, checks, len(published)


def _check_same(plan: Plan, document: ResultDocument) -> None:
    """Refuse to compare numbers of different protocols."""
    ours, theirs = plan.protocol, document.protocol.model_dump(mode="json")
    if plan.protocol_hash == document.protocol_hash:
        return
    for name in ours:
        if ours[name] != theirs[name]:
            parts = ours[name], theirs[name]
            if isinstance(ours[name], dict):
                key = next(key for key in [*ours[name], *theirs[name]] if ours[name].get(key) != theirs[name].get(key))
                parts, name = (ours[name].get(key), theirs[name].get(key)), f"{name} {key!r}"
            elif isinstance(ours[name], list):
                parts = (
                    next((each for each in ours[name] if each not in theirs[name]), "none more"),
                    next((each for each in theirs[name] if each not in ours[name]), "none more"),
                )
            words = [str(part)[:120] for part in parts]
            raise UserError(f"cannot be verified: {name} is {words[0]} here, the result has {words[1]}")
    raise UserError("cannot be verified: its protocol is another one")


def _published(plan: Plan, job: Job, needs: Mapping[Job, Need]) -> bool:
    """Whether an evaluator publishes scalars of a chunk's measurement."""
    need = needs[job]
    return not need.model and any(
        need in judge.needs(plan.track) and judge.columns and job.source != "chains" for judge in plan.evaluators
    )


def _picked(plan: Plan, places: Sequence[int], chunks: int, seed: int) -> list[int]:
    """Random chunks: of those that build on few others, as far as there are enough."""
    order = list(places)
    random.Random(seed).shuffle(order)
    keys = {job.key: job for job in plan.jobs}
    order.sort(key=lambda place: len(_closure(plan.jobs[place], keys)) > NEAR)
    return sorted(order[:chunks])


def _closure(job: Job, keys: Mapping[str, Job]) -> dict[str, Job]:
    """A chunk and all that it builds on, those first."""
    found: dict[str, Job] = {}
    for key in sorted(job.before):
        found |= _closure(keys[key], keys)
    return {**found, job.key: job}


def _compute(plan: Plan, picked: Sequence[int], store: Store, workers: int, progress: Show) -> None:
    """Compute the chunks and what they build on."""
    keys = {job.key: job for job in plan.jobs}
    jobs = list({key: job for place in picked for key, job in _closure(plan.jobs[place], keys).items()}.values())
    if not jobs:
        return
    places = {job.key: place for place, job in enumerate(jobs)}
    after = {place: {places[key] for key in job.before} for place, job in enumerate(jobs)}
    done = 0

    def count(_: int) -> None:
        nonlocal done
        done += 1
        progress(done, len(jobs), jobs[min(done, len(jobs) - 1)].title)

    progress(0, len(jobs), jobs[0].title)
    executors.run(partial(Bench, store), jobs, workers=min(workers, len(jobs)), done=count, after=after)


def _check(plan: Plan, job: Job, store: Store, claimed: str, examples: Mapping[str, Columns], need: Need) -> Check:
    """A chunk against what the result claims of it: its scalars always, its hash where machines are alike."""
    columns, _ = store.records(job.key)
    exact = sha256(store.get(job.key)) == claimed
    gap, told = 0.0, exact
    for name, fresh in _scalars(plan, job, columns, need):
        told = True
        there = examples.get(job.source, {}).get(name)
        if there is None or len(there) < job.stop:  # what was left out cannot be held against the model
            return Check(
                job.title, exact, np.inf, f"{job.title}: {name} is not in the examples, all of it is published"
            )
        distance, fault = _distance(fresh, there[job.start : job.stop])
        gap = max(gap, distance)
        if fault:
            return Check(job.title, exact, gap, f"{job.title}: {name} {fault}")
    return Check(job.title, exact, gap, told=told)


def _scalars(plan: Plan, job: Job, columns: Columns, need: Need) -> Iterator[tuple[str, NDArray[Any]]]:
    """The scalars of a chunk that evaluators publish."""
    batch = RecordBatch(job.measurement, job.source, columns, need)
    for judge in plan.evaluators:
        if need in judge.needs(plan.track):
            yield from judge.scalars(batch).items()


def _distance(fresh: NDArray[Any], claimed: NDArray[Any]) -> tuple[float, str]:
    """How far a claimed column is from the computed one, and what does not hold."""
    if fresh.dtype.kind in "iub" and claimed.dtype.kind in "iub":
        share = float((fresh != claimed).mean())
        return share, f"differs on {share:.1%} of the images" if share > TIES else ""
    one, other = fresh.astype(np.float64), claimed.astype(np.float64)
    holes = np.isnan(one) != np.isnan(other)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(one - other) / np.maximum(1.0, np.abs(one))
    gaps = np.where(np.isnan(one) & np.isnan(other) | (one == other), 0.0, np.where(holes, np.inf, gaps))
    place = int(np.argmax(gaps))
    if gaps[place] <= TOLERANCE:
        return float(gaps[place]), ""
    return float(gaps[place]), f"of an image is {other[place]:.6g}, computed {one[place]:.6g}"
