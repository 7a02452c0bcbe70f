"""What passes from a model to the numbers: measurements, the records that they leave, and who needs which.

A **measurement** needs a model and turns a batch into per-example columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from torch import Generator

Columns = Mapping[str, NDArray[Any]]


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


class Described(Protocol):
    """What has a name and a version: a measurement, an evaluator."""

    name: ClassVar[str]
    version: ClassVar[int]


def describe(item: Described) -> dict[str, Any]:
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
