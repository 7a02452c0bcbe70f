"""The two halves of an evaluation, and what passes between them.

A **measurement** needs a model and turns a batch into per-example columns. An **evaluator** never sees a model: it
names the measurements it needs and turns their stored records into numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from jembench.metrics.estimate import Estimate
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from torch import Generator

    from jembench.data.sets import Track

Columns = Mapping[str, NDArray[Any]]
Direction = Literal["higher", "lower", "neither"]


class Measurement(Protocol):
    """A frozen dataclass: its name, version and fields are its identity.

    One that takes many passes for an image may say ``costly = True``: a track may bound its images
    (:attr:`jembench.data.sets.Track.costly`).

    Attributes:
        name: of the measurement.
        version: raised by every change that moves its columns.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    @property
    def finite(self) -> frozenset[str]:
        """Columns in which NaN or an infinity is an error of the model and stops the run.

        In others they are recorded, and the evaluators say so.
        """
        ...

    @property
    def requires(self) -> frozenset[Capability]:
        """What the model must be able to do."""
        ...

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Per-example columns: scalars ``(B,)`` or vectors ``(B, K)``.

        ``forwards`` and ``gradients`` count the evaluations of an example. Randomness comes from ``generator`` alone.
        """
        ...


#: Metadata of a dataclass field that says who is measured, not how: it is no part of a description.
UNDESCRIBED = {"described": False}

#: Metadata of a field that came later: it is described only where it is not its default, so that identities stay.
LATER = {"described": "departure"}


def describe(item: Measurement | Evaluator) -> dict[str, Any]:
    """Name, version and fields of a measurement or an evaluator, as JSON."""
    return {"name": item.name, "version": item.version, **_described(item)}


def _described(item: Any) -> Any:
    if is_dataclass(item):
        described = {each.name: each.metadata.get("described", True) for each in fields(item)}
        default = {each.name: each.default for each in fields(item)}
        kept = [
            name
            for name, how in described.items()
            if how is True or (how == "departure" and getattr(item, name) != default[name])
        ]
        return {name: _nested(getattr(item, name)) for name in kept}
    return [_nested(part) for part in item] if isinstance(item, tuple | list) else item


def _nested(item: Any) -> Any:
    """A measurement within another is described with its name and version."""
    nested: Any = item
    return describe(nested) if is_dataclass(item) and hasattr(type(item), "columns") else _described(item)


@dataclass(frozen=True)
class Need:
    """The records that an evaluator, or another measurement, reads: one measurement of one source.

    Attributes:
        measurement: what is measured.
        source: on which images.
        limit: of the first so many examples only.
        given: records of the same examples that the measurement builds on; it finds them in ``batch.given``.
        whole: records of all examples of their sources, likewise in ``batch.whole``.
        model: a baseline of the track that is measured instead of the model under evaluation; empty for the latter.
        essential: whether nothing can be measured where a model lacks the records that are given.
    """

    measurement: Measurement
    source: str
    limit: int | None = None
    given: tuple[Need, ...] = ()
    whole: tuple[Need, ...] = ()
    model: str = ""
    essential: bool = False


@dataclass(frozen=True)
class RecordBatch:
    """Stored records of one chunk: ``index``, ``label`` and the columns of the measurement.

    Attributes:
        measurement: whose they are.
        source: of which images.
        columns: name -> ``(B,)`` or ``(B, K)``.
        need: that they were computed for: it tells apart records of one measurement that build on different others.
    """

    measurement: Measurement
    source: str
    columns: Columns
    need: Need | None = None


@dataclass(frozen=True)
class Metric:
    """A number with its interval and its n.

    Attributes:
        name: what it is, such as ``auroc``.
        source: the image set it is of, or ``mean`` over several.
        variant: the score, or the calibration map, it is of; empty if there is but one.
        value: the number; ``None`` if it could not be measured.
        low: lower end of the interval, if any.
        high: upper end.
        method: how the interval was made.
        n: number of examples by source.
        better: which direction is better.
        tolerance: how much worse it may be than a golden value before a gate fails.
        reason: why the value is missing, or what a reader must know of it.
        evaluator: name of the evaluator it is by; the engine fills it in.
        p: of a difference, the two-sided p-value of there being none.
    """

    name: str
    source: str
    variant: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = "none"
    n: dict[str, int] = field(default_factory=dict)
    better: Direction = "neither"
    tolerance: float | None = None
    reason: str | None = None
    evaluator: str = ""
    p: float | None = None

    @property
    def id(self) -> str:
        """``source/variant/name``, unique in a result."""
        return "/".join(part for part in (self.source, self.variant, self.name) if part)


#: Why a metric of a set that is made of the test images has a value and no interval.
DEPENDENT = "made of the test images: intervals and p-values suppose independent sets, so there are none"


@dataclass(frozen=True)
class Kind:
    """What all metrics of one name share: see :class:`Metric`."""

    name: str
    better: Direction
    tolerance: float | None = None

    def of(
        self, estimate: Estimate, *, source: str, n: dict[str, int], variant: str = "", p: float | None = None
    ) -> Metric:
        """The metric of an estimate, with the p-value of a difference."""
        e = estimate
        return Metric(
            self.name, source, variant, e.value, e.low, e.high, e.method, n, self.better, tolerance=self.tolerance, p=p
        )

    def missing(self, reason: str, *, source: str, variant: str = "") -> Metric:
        """The metric where there is no value."""
        return Metric(self.name, source, variant, better=self.better, tolerance=self.tolerance, reason=reason)


class Evaluator(Protocol):
    """A frozen dataclass that turns records into numbers: its fields are its settings.

    Attributes:
        name: of the evaluator.
        version: raised by every change that moves its numbers.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its scalars."""
        ...

    def needs(self, track: Track) -> tuple[Need, ...]:
        """The records it reads, for a track."""
        ...

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """The per-example scalars ``(B,)`` of a batch that its metrics use: they are published with the result."""
        ...

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The numbers. Records that a model could not give are absent, and their metrics say why."""
        ...


@runtime_checkable
class Joining(Protocol):
    """An evaluator with scalars that need the records of several measurements, or of another source."""

    def joined(self, batches: Iterable[RecordBatch]) -> dict[str, dict[str, NDArray[Any]]]:
        """Source -> column -> all per-example scalars, those of ``scalars`` among them, in the order of the records."""
        ...


def scalars(evaluator: Evaluator, batches: Iterable[RecordBatch]) -> dict[str, dict[str, NDArray[Any]]]:
    """The per-example scalars of an evaluator that are published: source -> column -> array."""
    if isinstance(evaluator, Joining):
        return evaluator.joined(batches)
    scored = (RecordBatch(batch.measurement, batch.source, evaluator.scalars(batch)) for batch in batches)
    return gather(scored, *evaluator.columns)


def gather(batches: Iterable[RecordBatch], *columns: str) -> dict[str, dict[str, NDArray[Any]]]:
    """Concatenate the named columns over the chunks of each source, in the order of the records.

    Returns:
        source -> column -> array; a source without a column's records lacks that column.

    Raises:
        ValueError: if two measurements give the same column of a source: they are two columns.
    """
    parts: dict[tuple[str, str], list[NDArray[Any]]] = {}
    origin: dict[tuple[str, str], Measurement] = {}
    for batch in batches:
        for name in columns:
            if name in batch.columns:
                key = (batch.source, name)
                if origin.setdefault(key, batch.measurement) != batch.measurement:
                    raise ValueError(f"{name} of {batch.source} comes from {origin[key]} and from {batch.measurement}")
                parts.setdefault(key, []).append(batch.columns[name])
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for (source, name), part in parts.items():
        found.setdefault(source, {})[name] = np.concatenate(part)
    return found


def by_need(batches: Iterable[RecordBatch]) -> dict[Need, dict[str, NDArray[Any]]]:
    """All columns of every need, concatenated over chunks in the order of the records."""
    parts: dict[Need, list[Columns]] = {}
    for batch in batches:
        assert batch.need is not None  # the engine says which
        parts.setdefault(batch.need, []).append(batch.columns)
    return {need: _concatenated(chunks) for need, chunks in parts.items()}


def joined(batches: Iterable[RecordBatch]) -> dict[tuple[Measurement, str], dict[str, NDArray[Any]]]:
    """All columns by measurement and source, concatenated over chunks in the order of the records."""
    parts: dict[tuple[Measurement, str], list[Columns]] = {}
    for batch in batches:
        parts.setdefault((batch.measurement, batch.source), []).append(batch.columns)
    return {key: _concatenated(chunks) for key, chunks in parts.items()}


def _concatenated(chunks: list[Columns]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
