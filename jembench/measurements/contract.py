"""What passes from a model to the numbers: measurements, the records that they leave, and who needs which.

A **measurement** needs a model and turns a batch into per-example columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from jembench.attacks.passes import ModelFacts, Passes
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from torch import Generator

Columns = Mapping[str, NDArray[Any]]

TYPICAL = Passes(1, 1)  # of a measurement that does not say, such as a plug-in's


class Measurement(Protocol):
    """A frozen dataclass: its name, version and fields are its identity.

    One that takes many passes for an image may say ``costly = True``: a track may bound its images
    (:attr:`jembench.data.sets.Track.costly`).

    Attributes:
        name: name of the measurement, the same for all settings of it.
        version: version of its columns: raised by every change that moves them.
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
        """The capabilities that a model needs to be measured."""
        ...

    def passes(self, facts: ModelFacts) -> Passes:
        """What an example typically takes: the columns ``forwards`` and ``gradients`` before they are there.

        Estimates of time are made of it, and nothing else: it is in no identity. One without it counts as
        :data:`TYPICAL`.
        """
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


class Described(Protocol):
    """What has a name and a version: a measurement, an evaluator."""

    name: ClassVar[str]
    version: ClassVar[int]


def describe(subject: Described) -> dict[str, Any]:
    """Name, version and fields of a measurement or an evaluator, as JSON."""
    return {"name": subject.name, "version": subject.version, **_fields(subject)}


def _fields(value: Any) -> Any:
    if is_dataclass(value):
        return {
            field.name: _nested(getattr(value, field.name))
            for field in fields(value)
            if (how := field.metadata.get("described", True)) is True
            or (how == "departure" and getattr(value, field.name) != field.default)
        }
    return [_nested(part) for part in value] if isinstance(value, tuple | list) else value


def _nested(value: Any) -> Any:
    """A measurement within another is described with its name and version."""
    measures = is_dataclass(value) and hasattr(type(value), "columns")
    return describe(value) if measures else _fields(value)


@dataclass(frozen=True)
class Need:
    """The records that an evaluator, or another measurement, reads: one measurement of one source.

    Attributes:
        measurement: the measurement, which says what is asked of a model.
        source: name of the source whose examples are measured.
        limit: number of examples measured, the first of the source; None for all.
        given: records of the same examples that the measurement builds on; it finds them in ``batch.given``.
        whole: records of all examples of a source that the measurement builds on; it finds them in ``batch.whole``.
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
        measurement: the measurement that gave the columns.
        source: name of the source of the examples.
        columns: column ``(B,)`` or ``(B, K)`` by name.
        need: the need behind the records: it tells apart those of one measurement that build on different records.
    """

    measurement: Measurement
    source: str
    columns: Columns
    need: Need | None = None


def passes(measurement: Measurement, facts: ModelFacts) -> Passes:
    """What an example of a measurement typically takes."""
    declared = getattr(measurement, "passes", None)
    return TYPICAL if declared is None else declared(facts)


def costs(count: int, forwards: int, gradients: int = 0) -> dict[str, NDArray[np.int32]]:
    """Columns ``forwards`` and ``gradients (B,)`` of a batch of ``count`` examples that took as many each."""
    return {"forwards": np.full(count, forwards, np.int32), "gradients": np.full(count, gradients, np.int32)}


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
    sources: dict[str, dict[str, NDArray[Any]]] = {}
    for (source, name), part in parts.items():
        sources.setdefault(source, {})[name] = np.concatenate(part)
    return sources


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
