"""Plans: which chunks a result needs, and under which keys they are kept. Planning loads no model and no image.

A chunk is a fixed run of examples: the unit of work, of randomness, of resume and of distribution. Its key is the hash
of all that its records depend on, so equal keys mean equal records, whoever computed them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jembench import data
from jembench.choices import protocols
from jembench.choices.batteries import Options, evaluators
from jembench.choices.sampling import Sampling
from jembench.data.sets import Source, Track
from jembench.evaluators.contract import Evaluator
from jembench.ground.identity import canonical, identity
from jembench.measurements.contract import Measurement, Need, describe
from jembench.store import records
from jembench.types import UserError
from jembench.zoo import catalogue
from jembench.zoo.catalogue import ModelSpec
from jembench.zoo.extractors import EXTRACTORS


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
        origin: where a user's own image set is read from.
        given: keys of the chunks of the same examples that the measurement builds on; None where there is none.
        whole: keys of all chunks of other records that it reads.
        noise: standard deviation of Gaussian noise on the pixels, the same for all measurements of a chunk.
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
    origin: str = ""
    given: tuple[str | None, ...] = ()
    whole: tuple[tuple[str, ...], ...] = ()
    noise: float = 0.0

    @cached_property
    def key(self) -> str:
        """Hash of everything that the records depend on."""
        built_on = {"given": self.given, "whole": self.whole} if self.given or self.whole else {}
        noise = {"noise": self.noise} if self.noise else {}
        return identity(
            {
                **built_on,
                **noise,
                "schema": records.SCHEMA,
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
    def before(self) -> frozenset[str]:
        """Keys of all chunks that must be there first."""
        return frozenset(key for key in (*self.given, *(key for part in self.whole for key in part)) if key)

    @property
    def title(self) -> str:
        """What people read while it is computed."""
        words = getattr(self.measurement, "title", self.measurement.name)
        return f"{self.model.name}: {words}, {self.source} {self.start}-{self.stop - 1}"

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
    parts: tuple[tuple[Need, tuple[Job, ...]], ...]
    protocol: dict[str, Any]
    seed: int
    limit: int | None

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """All chunks, each after those that it builds on."""
        return tuple(dict.fromkeys(job for _, jobs in self.parts for job in jobs))

    @property
    def protocol_hash(self) -> str:
        """Numbers of different protocols never share a ranking."""
        return identity(self.protocol)

    @cached_property
    def key(self) -> str:
        """Hash of protocol, model and chunks: the name of the result."""
        return identity([self.suite, self.protocol, self.model.fingerprint, [job.key for job in self.jobs]])


def plan(
    model: ModelSpec,
    suite: str,
    *,
    track: Track,
    options: Options | None = None,
    sampling: Sampling | None = None,
    detectors: Sequence[str] = (),
    protocol: str = protocols.V1.name,
    seed: int = 0,
    limit: int | None = None,
    device: str = "cpu",
) -> Plan:
    """The plan of one result.

    Args:
        model: what is evaluated.
        suite: name of the suite.
        track: on what.
        options: of the suite's attacks.
        sampling: of the images that it generates.
        detectors: post-hoc detectors that it judges too.
        protocol: name of the choices behind its numbers (:mod:`jembench.choices.protocols`).
        seed: of all randomness.
        limit: use the first ``limit`` examples of every source, in its fixed shuffled order.
        device: a torch device.

    Raises:
        UserError: for an unknown suite or protocol, a limit below 1, or options that suite or protocol cannot serve.
    """
    if type(seed) is not int:
        raise UserError(f"seed must be a whole number, not {seed!r}")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise UserError(f"limit must be a whole number of at least 1, not {limit!r}")
    chosen = protocols.PROTOCOLS[protocol]
    track = chosen.on(track, chosen.evaluated(suite))
    made = evaluators(suite, model, track, options, sampling=sampling, detectors=detectors, protocol=chosen)
    needs = tuple(dict.fromkeys(need for item in made for need in item.needs(track)))
    planner = _Planner(model, track, seed, limit, device, weights=None if sampling is None else sampling.weights)
    for need in needs:
        planner.chunks(need)
    every = tuple(planner.wanted)
    sources = {need.source: planner.source(need.source) for need in every}
    facts = {
        "name": chosen.name,
        "track": track.id,
        "sources": {name: _facts(source, limit, seen=name in planner.seen) for name, source in sources.items()},
        "measurements": [describe(item) for item in dict.fromkeys(need.measurement for need in every)],
        "evaluators": [describe(item) for item in made],
    }
    parts = tuple((need, jobs) for need, jobs in planner.wanted.items() if jobs)
    return Plan(model, track, suite, made, parts, facts, seed, limit)


def _noisy(model: ModelSpec) -> bool:
    """Whether a defence brings noise on its input, which then stands in place of the protocol's: it comes once."""
    return model.defence is not None and model.defence.sigma > 0


def _facts(source: Source, limit: int | None, *, seen: bool) -> dict[str, Any]:
    """What a protocol says of a source: its noise only if there is some and a model, not only an extractor, sees it."""
    noise = {"noise": source.noise} if source.noise and seen else {}
    return {"sha256": source.sha256, "n": min(source.n, limit or source.n), **noise}


class _Planner:
    """Turns needs into chunks, those that they build on first."""

    def __init__(
        self, model: ModelSpec, track: Track, seed: int, limit: int | None, device: str, *, weights: Path | None
    ) -> None:
        self._weights = weights
        self._model, self._track, self._seed, self._limit, self._device = model, track, seed, limit, device
        self._others: dict[str, ModelSpec] = {"": model}
        self._sources: dict[str, Source] = {}
        self.wanted: dict[Need, tuple[Job, ...]] = {}  # also those that the model cannot give, without chunks

    def chunks(self, need: Need) -> tuple[Job, ...]:
        """The chunks of one need, in order; none if the model lacks a capability."""
        if need in self.wanted:
            return self.wanted[need]
        model = self._spec(need.model)
        if need.measurement.requires <= model.capabilities:
            given = [self.chunks(other) for other in need.given]
            if need.essential and not (given and all(given)):
                return self.wanted.setdefault(need, ())
            whole = tuple(tuple(job.key for job in self.chunks(other)) for other in need.whole)
            source, size = self.source(need.source), self._track.chunk
            costly = self._track.costly if getattr(need.measurement, "costly", False) else None
            n = min((source.n, *(bound for bound in (self._limit, need.limit, costly) if bound)))
            self.wanted[need] = tuple(
                Job(
                    model,
                    need.measurement,
                    source.name,
                    source.sha256,
                    start,
                    min(start + size, n),
                    size,
                    index,
                    self._seed,
                    self._device,
                    source.origin,
                    tuple(jobs[index].key if index < len(jobs) else None for jobs in given),
                    whole,
                    0.0 if need.model in EXTRACTORS or _noisy(model) else source.noise,
                )
                for index, start in enumerate(range(0, n, size))
            )
        return self.wanted.setdefault(need, ())

    @property
    def seen(self) -> set[str]:
        """The sources that a model sees, not only an extractor."""
        return {need.source for need, jobs in self.wanted.items() if jobs and need.model not in EXTRACTORS}

    def source(self, name: str) -> Source:
        """A source of the track as it is on this machine."""
        if name not in self._sources:
            self._sources[name] = data.found(self._track, name)
        return self._sources[name]

    def _spec(self, name: str) -> ModelSpec:
        if name not in self._others:
            if name in EXTRACTORS:
                self._others[name] = catalogue.extractor(name, track=self._track.name, weights=self._weights)
            else:
                self._others[name] = catalogue.resolve(name, track=self._track.name, folder=self._track.folder)
        return self._others[name]
