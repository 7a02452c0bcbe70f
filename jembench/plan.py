"""Plans: which chunks a result needs, and under which keys they are kept. Planning loads no model and no image.

A chunk is a fixed run of examples: the unit of work, of randomness, of resume and of distribution. Its key is the hash
of all that its records depend on, so equal keys mean equal records, whoever computed them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jembench import store, suites
from jembench.data.sets import Source, Track
from jembench.evaluators import evaluator
from jembench.evaluators.contract import Evaluator, Measurement, Need, describe
from jembench.identity import canonical, identity
from jembench.types import UserError
from jembench.zoo import ModelSpec

PROTOCOL = "v1"


@dataclass(frozen=True)
class Job:
    """One chunk: examples ``start:stop`` of a source, measured on a model.

    Attributes:
        model: what is measured.
        measurement: by what.
        source: name of the image set.
        data: hash of the image set.
        start: first example.
        stop: one past the last example.
        batch: examples per forward pass.
        index: number of the chunk in its source.
        seed: of the run.
        device: a torch device.
    """

    model: ModelSpec
    measurement: Measurement
    source: str
    data: str
    start: int
    stop: int
    batch: int
    index: int
    seed: int
    device: str

    @cached_property
    def key(self) -> str:
        """Hash of everything that the records depend on."""
        return identity(
            {
                "schema": store.SCHEMA,
                "model": self.model.fingerprint,
                "measurement": describe(self.measurement),
                "source": self.source,
                "data": self.data,
                "examples": [self.start, self.stop],
                "batch": self.batch,
                "chunk": self.index,
                "seed": self.seed,
                "dtype": "float32",
                "device": self.device.partition(":")[0],
            }
        )

    @property
    def stream(self) -> tuple[str | int, ...]:
        """Name of the chunk's random stream."""
        return (self.seed, canonical(describe(self.measurement)).decode(), self.source, self.index)


@dataclass(frozen=True)
class Plan:
    """Everything behind one result."""

    model: ModelSpec
    track: Track
    suite: str
    evaluators: tuple[Evaluator, ...]
    jobs: tuple[Job, ...]
    protocol: dict[str, Any]
    seed: int
    limit: int | None

    @property
    def protocol_hash(self) -> str:
        """Numbers of different protocols never share a ranking."""
        return identity(self.protocol)

    @cached_property
    def key(self) -> str:
        """Hash of protocol, model and chunks: the name of the result."""
        return identity([self.suite, self.protocol, self.model.fingerprint, [job.key for job in self.jobs]])


def plan(
    model: ModelSpec, suite: str, *, track: Track, seed: int = 0, limit: int | None = None, device: str = "cpu"
) -> Plan:
    """The plan of one result.

    Args:
        model: what is evaluated.
        suite: name of the suite.
        track: on what.
        seed: of all randomness.
        limit: use the first ``limit`` examples of every source, in its fixed shuffled order.
        device: a torch device.

    Raises:
        UserError: for an unknown suite, or a limit below 1.
    """
    if type(seed) is not int:
        raise UserError(f"seed must be a whole number, not {seed!r}")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise UserError(f"limit must be a whole number of at least 1, not {limit!r}")
    made = tuple(evaluator(name) for name in suites.suite(suite))
    needs = tuple(dict.fromkeys(need for item in made for need in item.needs(track)))
    possible = [need for need in needs if need.measurement.requires <= model.capabilities]
    jobs = [
        job
        for need in possible
        for job in _chunks(model, need, track.source(need.source), track.chunk, seed, limit, device)
    ]
    sources = {need.source: track.source(need.source) for need in needs}
    protocol = {
        "name": PROTOCOL,
        "track": track.id,
        "sources": {
            name: {"sha256": source.sha256, "n": min(source.n, limit or source.n)} for name, source in sources.items()
        },
        "measurements": [describe(item) for item in dict.fromkeys(need.measurement for need in needs)],
        "evaluators": [describe(item) for item in made],
    }
    return Plan(model, track, suite, made, tuple(jobs), protocol, seed, limit)


def _chunks(
    model: ModelSpec, need: Need, source: Source, size: int, seed: int, limit: int | None, device: str
) -> list[Job]:
    """The chunks of one need, in order."""
    n = min(source.n, limit or source.n)
    return [
        Job(model, need.measurement, source.name, source.sha256, start, min(start + size, n), size, index, seed, device)
        for index, start in enumerate(range(0, n, size))
    ]
