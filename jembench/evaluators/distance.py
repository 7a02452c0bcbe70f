r"""Evaluator ``distance``: how far is the nearest adversarial of every image?

The protocol of the paper's figures (Grathwohl et al., ICLR 2020, section 5.4; ``jem2020``): the smallest L-infinity
and L2 perturbation that breaks each image, by search over eps, and the accuracy that is left at each distance. Two
corrections: the **best** of all restarts is kept, where the published code saves the last, and a stochastic model is
judged on fresh draws. An attack finds upper bounds: the truth may be nearer.

- ``test/<norm>-<eps>/accuracy_beyond``: share of images without an adversarial within eps, Wilson's interval;
- ``test/<norm>/median_distance``: over all images, 0 where the clean image is misclassified; the interval by order
  statistics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.attacks.distance import MinimalDistance
from jembench.attacks.threat import Threat
from jembench.evaluators.contract import scalars
from jembench.evaluators.quantities import Headline
from jembench.measurements.attacked import AttackOutcome
from jembench.measurements.contract import Need, RecordBatch
from jembench.metrics import classification, order
from jembench.metrics.metric import Kind, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Grid, Track

BEYOND = Kind("accuracy_beyond", "higher", 0.02, least=0.0, most=1.0)
MEDIAN = Kind("median_distance", "higher", 0.01, least=0.0)


@dataclass(frozen=True)
class Distance:
    """Minimal distances.

    Attributes:
        grids: threat models, with the distances at which the accuracy is reported, in units of the [0, 1] pixel range.
        widest: the largest distance that is searched in the norm of each grid, in the order of ``grids``.
        attack: the search for the nearest adversarial.
        draws: fresh draws of a stochastic model behind every verdict.
        images: number of test images searched around, the first of the split; None for all.
    """

    grids: tuple[Grid, ...]
    widest: tuple[float, ...]
    attack: MinimalDistance
    draws: int = 1
    images: int | None = None

    name: ClassVar[str] = "distance"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("test/linf/median_distance", "median Linf", "distance of the nearest adversarial, median image"),
        Headline("test/l2/median_distance", "median L2", "the same by the L2 norm"),
    )
    tables: ClassVar[str] = "jembench.pages.tables.robustness:distance"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the distances of the nearest adversarials, one for each norm."""
        return tuple(f"{grid.norm}/distance" for grid in self.grids)

    def needs(self, track: Track) -> tuple[Need, ...]:
        """The records of one search for each norm."""
        return tuple(
            Need(AttackOutcome(self.attack, Threat(grid.norm, eps), self.draws), "test", self.images)
            for grid, eps in zip(self.grids, self.widest, strict=True)
        )

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """The verified distance, 0 of a clean image that is misclassified, infinite where nothing was found."""
        assert isinstance(batch.measurement, AttackOutcome)
        distances = np.where(batch.columns["vote"] == 0, batch.columns["distance"], np.inf)
        return {f"{batch.measurement.threat.norm}/distance": distances}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The curve and the median of every norm."""
        columns = scalars(self, batches).get("test", {})
        metrics: list[Metric] = []
        for grid in self.grids:
            distances = columns.get(f"{grid.norm}/distance")
            if distances is None:
                metrics.append(MEDIAN.missing("the model gives no logits", source="test", variant=grid.norm))
                continue
            n = {"test": len(distances)}
            if np.isinf(distances).mean() >= 0.5:
                reason = "half of the images or more have no adversarial that was found"
                metrics.append(MEDIAN.missing(reason, source="test", variant=grid.norm))
            else:
                metrics.append(MEDIAN.of(order.median(distances), source="test", variant=grid.norm, n=n))
            for eps in grid.eps:
                estimate = classification.accuracy(distances > eps)
                metrics.append(BEYOND.of(estimate, source="test", variant=f"{grid.norm}-{eps:g}", n=n))
        return metrics
