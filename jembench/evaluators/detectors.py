"""Evaluator ``detectors``: can a classical post-hoc detector tell test images from images of elsewhere?

The numbers of :mod:`jembench.evaluators.ood` for the detectors of :mod:`jembench.measurements.detector`: ``auroc``,
``fpr95``, ``aupr_in`` and ``aupr_out`` of every OOD set, and the mean AUROCs. A detector that learns is fitted on the
training split alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.evaluators.ood import Scored, detected, groups, means
from jembench.measurements.contract import Need, RecordBatch, gather
from jembench.measurements.detector import METHODS, Detector
from jembench.measurements.features import Features
from jembench.metrics.metric import Metric
from jembench.types import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track


@dataclass(frozen=True)
class Detectors:
    """OOD detection by detectors, by their names.

    Raises:
        UserError: for no name, an unknown one, one twice, or if pytorch-ood is not installed.
    """

    names: tuple[str, ...] = tuple(METHODS)

    name: ClassVar[str] = "detectors"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise UserError(f"name every detector once, not {', '.join(self.names) or 'none'}")
        for name in self.names:
            Detector(name)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the detectors."""
        return self.names

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Every detector on the test split and on every OOD set."""
        training = Need(Features(), "train")
        found = []
        for source in ("test", *(source.name for source in track.ood)):
            features = Need(Features(), source)
            for name in self.names:
                made = Detector(name)
                given, whole = (features,) * made.featured, (training,) * made.fitted
                found.append(Need(made, source, given=given, whole=whole))
        return tuple(found)

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """The scores, under the name of the detector."""
        assert isinstance(batch.measurement, Detector)
        return {batch.measurement.detector: batch.columns["detector_score"]}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """Every set and detector, then the means."""
        scored = (RecordBatch(batch.measurement, batch.source, self.scalars(batch)) for batch in batches)
        found = gather(scored, *self.names)
        result = []
        for source in track.ood:
            for name in self.names:
                result += detected(found, source.name, name, _problem(found, ("test", source.name), name))
        for mean, sources in groups(track).items():
            for name in self.names:
                problem = _problem(found, ("test", *(source.name for source in sources)), name)
                result += means(found, mean, sources, name, problem)
        return result


def _problem(found: Scored, sources: Iterable[str], name: str) -> str | None:
    """Why a detector cannot be judged on these sources, if it cannot."""
    for source in sources:
        values = found.get(source, {}).get(name)
        if values is None:
            return "the model shows no penultimate features"
        if bad := int(np.isnan(values).sum()):
            return f"{name} is no finite number on {bad} of {len(values)} images of {source}"
    return None
