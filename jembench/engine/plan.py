"""Plans: which chunks a result needs, and under which keys they are kept. Planning loads no model and no image.

A chunk is a fixed run of examples: the unit of work, of randomness, of resume and of distribution. Its key is the hash
of all that its records depend on, so equal keys mean equal records, whoever computed them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jembench import data
from jembench.choices.evaluators import evaluators
from jembench.choices.protocols import PROTOCOLS
from jembench.choices.request import PLAIN, Request
from jembench.data.sets import Source, Track
from jembench.evaluators.contract import Evaluator
from jembench.ground.identity import canonical, identity
from jembench.measurements.contract import Measurement, Need, describe
from jembench.store import records, shelf
from jembench.zoo import catalogue
from jembench.zoo.catalogue import ModelSpec
from jembench.zoo.extractors import known
from jembench.zoo.references import parse

WHOLE = "all"  # the suite whose golden results have rows of references for every model


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
    """Everything behind one result; ``warnings`` are what must be known beside its numbers, a sentence each.

    ``request`` is what was asked for, as plain values; ``name`` is that of the result's folder, and in no hash.
    """

    model: ModelSpec
    track: Track
    suite: str
    evaluators: tuple[Evaluator, ...]
    parts: tuple[tuple[Need, tuple[Job, ...]], ...]
    protocol: dict[str, Any]
    seed: int
    limit: int | None
    warnings: tuple[str, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

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


def plan(model: ModelSpec, suite: str, *, track: Track, request: Request = PLAIN) -> Plan:
    """The plan of one result.

    Args:
        model: the model that is evaluated.
        suite: name of the suite.
        track: the track, with the user's OOD sets if the suite looks at them.
        request: the options; its models, suites, track and defences are those of the other arguments.

    Raises:
        UserError: for an unknown suite or protocol, or options that suite or protocol cannot serve.
    """
    protocol = PROTOCOLS[request.protocol]
    track = protocol.on(track, protocol.evaluated(suite))
    judges = evaluators(suite, model, track, request)
    needs = tuple(dict.fromkeys(need for evaluator in judges for need in evaluator.needs(track)))
    planner = _Planner(model, track, request)
    planner.idle = _idle(judges, model, track) if suite != WHOLE else frozenset()
    for need in needs:
        planner.chunks(need)
    every = tuple(planner.jobs)
    sources = {need.source: planner.source(need.source) for need in every}
    facts = {
        "name": protocol.name,
        "track": track.id,
        "sources": {
            name: _facts(source, request.limit, visible=name in planner.visible) for name, source in sources.items()
        },
        "measurements": [describe(each) for each in dict.fromkeys(need.measurement for need in every)],
        "evaluators": [describe(evaluator) for evaluator in judges],
    }
    parts = tuple((need, jobs) for need, jobs in planner.jobs.items() if jobs)
    name = shelf.word(model.name, track.name, suite, shelf.own(protocol.name), request.label)
    return Plan(model, track, suite, judges, parts, facts, request.seed, request.limit, name=name)


def _idle(judges: tuple[Evaluator, ...], model: ModelSpec, track: Track) -> frozenset[Need]:
    """What only evaluators read that can say nothing of this model: references without a row to hold against them."""

    def idle(judge: Evaluator) -> bool:
        declared = getattr(judge, "idle", None)
        return declared is not None and declared(model.capabilities)

    spare, read = (
        {need for judge in judges if idle(judge) is flag for top in judge.needs(track) for need in _within(top)}
        for flag in (True, False)
    )
    return frozenset(spare - read)


def _within(need: Need) -> Iterator[Need]:
    """A need, and all that it builds on."""
    yield need
    for base in (*need.given, *need.whole):
        yield from _within(base)


def _noisy(model: ModelSpec) -> bool:
    """Whether a defence brings noise on its input, which then stands in place of the protocol's: it comes once."""
    return model.defence is not None and model.defence.sigma > 0


def _facts(source: Source, limit: int | None, *, visible: bool) -> dict[str, Any]:
    """What a protocol says of a source: its noise only if there is some and a model, not only an extractor, sees it."""
    noise = {"noise": source.noise} if source.noise and visible else {}
    return {"sha256": source.sha256, "n": min(source.n, limit or source.n), **noise}


class _Planner:
    """Turns needs into chunks, those that they build on first."""

    def __init__(self, model: ModelSpec, track: Track, request: Request) -> None:
        self._model, self._track, self._request = model, track, request
        self._models: dict[str, ModelSpec] = {"": model}
        self._sources: dict[str, Source] = {}
        self.idle: frozenset[Need] = frozenset()
        self.jobs: dict[Need, tuple[Job, ...]] = {}  # also of those that the model cannot give, without chunks

    def chunks(self, need: Need) -> tuple[Job, ...]:
        """The chunks of one need, in order; none if the model lacks a capability, or nothing is made of them."""
        if need in self.jobs:
            return self.jobs[need]
        if need in self.idle:  # described all the same: a protocol is that of all models
            for other in (*need.given, *need.whole):
                self.chunks(other)
        model = self._spec(need.model)
        if need.measurement.requires <= model.capabilities and need not in self.idle:
            bases = [self.chunks(other) for other in need.given]
            if need.essential and not (bases and all(bases)):
                return self.jobs.setdefault(need, ())
            whole = tuple(tuple(job.key for job in self.chunks(other)) for other in need.whole)
            source, size = self.source(need.source), self._track.chunk
            costly = self._track.costly if getattr(need.measurement, "costly", False) else None
            n = min((source.n, *(bound for bound in (self._request.limit, need.limit, costly) if bound)))
            self.jobs[need] = tuple(
                Job(
                    model,
                    need.measurement,
                    source.name,
                    source.sha256,
                    start,
                    min(start + size, n),
                    size,
                    index,
                    self._request.seed,
                    self._request.device,
                    source.origin,
                    tuple(jobs[index].key if index < len(jobs) else None for jobs in bases),
                    whole,
                    0.0 if known(need.model, self._track) or _noisy(model) else source.noise,
                )
                for index, start in enumerate(range(0, n, size))
            )
        return self.jobs.setdefault(need, ())

    @property
    def visible(self) -> set[str]:
        """The sources that a model sees, not only an extractor."""
        return {need.source for need, jobs in self.jobs.items() if jobs and not known(need.model, self._track)}

    def source(self, name: str) -> Source:
        """A source of the track as it is on this machine."""
        if name not in self._sources:
            self._sources[name] = data.found(self._track, name)
        return self._sources[name]

    def _spec(self, name: str) -> ModelSpec:
        if name not in self._models:
            if known(name, self._track):
                self._models[name] = catalogue.extractor(
                    name, track=self._track.ref, weights=self._request.sampling.weights
                )
            else:
                self._models[name] = catalogue.resolve(parse(name), track=self._track.ref, folder=self._track.folder)
        return self._models[name]
