"""What an evaluator is: it never sees a model, names the measurements it needs and turns their records into numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from numpy.typing import NDArray

from jembench.measurements.contract import Need, RecordBatch, gather
from jembench.metrics.metric import Metric

if TYPE_CHECKING:
    from jembench.data.sets import Track


class Evaluator(Protocol):
    """A frozen dataclass that turns records into numbers: its fields are its settings.

    What people see of it are class variables of its own: ``headlines``, the two to five numbers that are read first
    (:mod:`jembench.evaluators.quantities` has them all), and functions as ``module:function``: ``tables`` maps results
    to tables (:mod:`jembench.pages.tables.report`), a plain one where it is not there; ``pictures`` and ``figures``
    are such functions by name (:mod:`jembench.gallery`). ``assembly`` is about how many seconds its metrics take for a
    row of records that build on no others, where that is more than nothing: estimates of time are made of it.

    Attributes:
        name: name of the evaluator, a key of its results.
        version: version of its numbers: raised by every change that moves them.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all per-example scalars that the evaluator may publish."""
        ...

    def needs(self, track: Track) -> tuple[Need, ...]:
        """The records that the evaluator reads, for a track."""
        ...

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """The per-example scalars ``(B,)`` of a batch that its metrics use: they are published with the result."""
        ...

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The numbers. Records that a model could not give are absent, and their metrics say why."""
        ...


class WithoutScalars:
    """An evaluator that publishes no per-example scalars: what it judges are not the images of a source themselves."""

    columns: ClassVar[tuple[str, ...]] = ()

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """No scalars."""
        return {}


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
    chunks = (RecordBatch(batch.measurement, batch.source, evaluator.scalars(batch)) for batch in batches)
    return gather(chunks, *evaluator.columns)
