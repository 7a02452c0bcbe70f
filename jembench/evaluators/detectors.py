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

from jembench.evaluators.contract import scalars
from jembench.evaluators.ood import Scores, detected, groups, means
from jembench.evaluators.quantities import Headline
from jembench.measurements.contract import Need, RecordBatch
from jembench.measurements.detector import DETECTORS, Detector
from jembench.measurements.features import Features
from jembench.metrics.metric import Metric
from jembench.types import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track


@dataclass(frozen=True)
class Detectors:
    """OOD detection by post-hoc detectors.

    Attributes:
        names: names of the detectors, keys of :data:`jembench.measurements.detector.DETECTORS`; by default all of them.

    Raises:
        UserError: for no name, an unknown one, one twice, or if pytorch-ood is not installed.
    """

    names: tuple[str, ...] = tuple(DETECTORS)

    name: ClassVar[str] = "detectors"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("mean/<detector>/auroc", "AUROC", "of the first detector, mean over OOD sets"),
    )
    tables: ClassVar[str] = "jembench.pages.tables.ood:detectors"

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise UserError(f"name every detector once, not {', '.join(self.names) or 'none'}")
        for name in self.names:
            Detector(name)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the detectors: a column holds the scores of one."""
        return self.names

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Every detector on the test split and on every OOD set."""
        training = Need(Features(), "train")
        needs = []
        for source in ("test", *(source.name for source in track.ood)):
            features = Need(Features(), source)
            for name in self.names:
                detector = Detector(name)
                needs.append(
                    Need(detector, source, None, (features,) * detector.featured, (training,) * detector.fitted)
                )
        return tuple(needs)

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """The scores, under the name of the detector."""
        assert isinstance(batch.measurement, Detector)
        return {batch.measurement.detector: batch.columns["detector_score"]}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The metrics of every OOD set and detector, then their means over sets."""
        scores = scalars(self, batches)
        result = []
        for source in track.ood:
            for name in self.names:
                result += detected(scores, source.name, name, _problem(scores, ("test", source.name), name))
        for mean, sources in groups(track).items():
            for name in self.names:
                problem = _problem(scores, ("test", *(source.name for source in sources)), name)
                result += means(scores, mean, sources, name, problem)
        return result


def _problem(scores: Scores, sources: Iterable[str], name: str) -> str | None:
    """Why a detector cannot be judged on these sources, if it cannot."""
    for source in sources:
        values = scores.get(source, {}).get(name)
        if values is None:
            return "the model shows no penultimate features"
        if bad := int(np.isnan(values).sum()):
            return f"{name} is no finite number on {bad} of {len(values)} images of {source}"
    return None
