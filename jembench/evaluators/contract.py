"""The two halves of an evaluation, and what passes between them.

A **measurement** needs a model and turns a batch into per-example columns. An **evaluator** never sees a model: it
names the measurements it needs and turns their stored records into numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

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
    """A frozen dataclass: its name, version and fields are its identity."""

    name: ClassVar[str]
    version: ClassVar[int]
    requires: ClassVar[Capability]

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Per-example columns: scalars ``(B,)`` or vectors ``(B, K)``.

        ``forwards`` and ``gradients`` count the evaluations of an example. Randomness comes from ``generator`` alone.
        """
        ...


def describe(measurement: Measurement) -> dict[str, Any]:
    """Name, version and fields of a measurement, as JSON."""
    return {"name": measurement.name, "version": measurement.version, **asdict(measurement)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Need:
    """The records that an evaluator reads: one measurement of one source."""

    measurement: Measurement
    source: str


@dataclass(frozen=True)
class RecordBatch:
    """Stored records of one chunk: ``index``, ``label`` and the columns of the measurement."""

    measurement: str
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
        reason: why the value is missing, or what a reader must know of it.
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
    reason: str | None = None

    @property
    def id(self) -> str:
        """``source/variant/name``, unique in a result."""
        return "/".join(part for part in (self.source, self.variant, self.name) if part)


def metric(
    estimate: Estimate,
    name: str,
    *,
    source: str,
    n: dict[str, int],
    better: Direction = "neither",
    variant: str = "",
) -> Metric:
    """A :class:`Metric` of an estimate."""
    return Metric(name, source, variant, estimate.value, estimate.low, estimate.high, estimate.method, n, better)


class Evaluator(Protocol):
    """Turns records into numbers; ``columns`` names its scalars."""

    name: ClassVar[str]
    version: ClassVar[int]
    columns: ClassVar[tuple[str, ...]]

    def needs(self, track: Track) -> tuple[Need, ...]:
        """The records it reads, for a track."""
        ...

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """The per-example scalars ``(B,)`` of a batch that its metrics use: they are published with the result."""
        ...

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The numbers. Records that a model could not give are absent, and their metrics say why."""
        ...


def gather(batches: Iterable[RecordBatch], *columns: str) -> dict[str, dict[str, NDArray[Any]]]:
    """Concatenate the named columns over the chunks of each source, in the order of the records.

    Returns:
        source -> column -> array; a source without a column's records lacks that column.
    """
    parts: dict[str, dict[str, list[NDArray[Any]]]] = {}
    for batch in batches:
        for name in columns:
            if name in batch.columns:
                parts.setdefault(batch.source, {}).setdefault(name, []).append(batch.columns[name])
    return {source: {name: np.concatenate(part) for name, part in found.items()} for source, found in parts.items()}
