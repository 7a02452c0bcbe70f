"""Evaluator ``corruptions``: accuracy and calibration on published corrupted copies of the test images.

The metrics of :mod:`jembench.evaluators.shifts` for every corruption at every severity, ``fog-3``, and as
``severity-s`` their means over corruptions, without intervals: these share their images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jembench.evaluators.contract import WithoutScalars
from jembench.evaluators.quantities import Headline
from jembench.evaluators.shifts import NO_LOGITS, means, measured, missing
from jembench.measurements.contract import Need, RecordBatch, joined
from jembench.measurements.logits import Logits
from jembench.metrics.metric import Metric
from jembench.metrics.temperature import fit_temperature

if TYPE_CHECKING:
    from jembench.data.sets import Track


@dataclass(frozen=True)
class Corruptions(WithoutScalars):
    """Calibration on corrupted copies of the test images.

    Attributes:
        names: names of the corruptions, each a source of the track at every severity.
        severities: number of severities.
    """

    names: tuple[str, ...] = ()
    severities: int = 5

    name: ClassVar[str] = "corruptions"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("severity-3/accuracy", "corrupted acc", "accuracy at severity 3 of 5, mean over corruptions"),
        Headline("severity-3/raw/ece15", "corrupted ECE", "ECE at severity 3 of 5, mean over corruptions"),
    )
    tables: ClassVar[str] = "jembench.pages.tables.shifts:corruptions"

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Logits of the validation split and of every corrupted copy."""
        return (Need(Logits(), "validation"), *(Need(Logits(), name) for name in self._sources()))

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The metrics of every copy, then the means over corruptions at each severity."""
        records = joined(batches)
        validation = records.get((Logits(), "validation"))
        fit = None if validation is None else fit_temperature(validation["logits"], validation["label"]).temperature
        result = []
        for name in self._sources():
            record = records.get((Logits(), name))
            if record is None or fit is None:
                result += missing(name, NO_LOGITS)
            else:
                result += measured(name, record["logits"], record["label"], fit, split=name)
        grid = {severity: [f"{name}-{severity}" for name in self.names] for severity in range(1, self.severities + 1)}
        return [*result, *means(result, grid)]

    def _sources(self) -> list[str]:
        return [f"{name}-{severity}" for name in self.names for severity in range(1, self.severities + 1)]
