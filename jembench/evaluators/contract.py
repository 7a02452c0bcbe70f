"""The two halves of an evaluation, and what passes between them.

A **measurement** needs a model and turns a batch into per-example columns. An **evaluator** never sees a model: it
names the measurements it needs and turns their stored records into numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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

    Attributes:
        name: of the measurement.
        version: raised by every change that moves its columns.
        requires: what the model must be able to do.
        finite: columns in which NaN or an infinity is an error of the model and stops the run; in others they are
            recorded, and the evaluators say so.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    requires: ClassVar[frozenset[Capability]]
    finite: ClassVar[frozenset[str]]

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Per-example columns: scalars ``(B,)`` or vectors ``(B, K)``.

        ``forwards`` and ``gradients`` count the evaluations of an example. Randomness comes from ``generator`` alone.
        """
        ...


#: Metadata of a dataclass field that says who is measured, not how: it is no part of a description.
UNDESCRIBED = {"described": False}


def describe(item: Measurement | Evaluator) -> dict[str, Any]:
    """Name, version and fields of a measurement or an evaluator, as JSON."""
    return {"name": item.name, "version": item.version, **_described(item)}


def _described(item: Any) -> Any:
    if is_dataclass(item):
        kept = [each.name for each in fields(item) if each.metadata.get("described", True)]
        return {name: _described(getattr(item, name)) for name in kept}
    return [_described(part) for part in item] if isinstance(item, tuple | list) else item


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
    """

    measurement: Measurement
    source: str
    limit: int | None = None
    given: tuple[Need, ...] = ()
    whole: tuple[Need, ...] = ()
    model: str = ""


@dataclass(frozen=True)
class RecordBatch:
    """Stored records of one chunk: ``index``, ``label`` and the columns of the measurement."""

    measurement: Measurement
    source: str
    columns: Columns


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

    @property
    def id(self) -> str:
        """``source/variant/name``, unique in a result."""
        return "/".join(part for part in (self.source, self.variant, self.name) if part)


@dataclass(frozen=True)
class Kind:
    """What all metrics of one name share: see :class:`Metric`."""

    name: str
    better: Direction
    tolerance: float | None = None

    def of(self, estimate: Estimate, *, source: str, n: dict[str, int], variant: str = "") -> Metric:
        """The metric of an estimate."""
        e = estimate
        return Metric(
            self.name, source, variant, e.value, e.low, e.high, e.method, n, self.better, tolerance=self.tolerance
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
class Scored(Protocol):
    """An evaluator some of whose scalars no batch alone can tell, such as those of a map fitted on another source."""

    def scored(self, batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
        """The scalars of every batch, given all that the evaluator needs."""
        ...


def scored(evaluator: Evaluator, batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
    """The scalars of an evaluator for every batch of its needs."""
    if isinstance(evaluator, Scored):
        yield from evaluator.scored(batches)
    else:
        for batch in batches:
            yield RecordBatch(batch.measurement, batch.source, evaluator.scalars(batch))


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
