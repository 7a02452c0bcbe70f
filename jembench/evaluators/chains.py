r"""Evaluator ``chains``: what SGLD chains do, from their start to twenty times their length in training.

On fresh chains of :mod:`jembench.measurements.trajectory`, K steps being those of the training:

- at ``0K``, ``1K``, ``5K`` and ``20K``: the Frechet distance of the samples to the training split (``fd``, with its
  interval at this n), ``recall``, ``coverage`` and ``inception_score`` beside it, since a distance alone rewards a few
  good images, and the mean ``log_density`` in nats, up to the model's constant;
- ``runaway``: the distance at 20 K over that at 1 K. Above 1.5 the chains leave the data: the model is a
  sampler only near the length that it was trained for;
- ``effective_share``: independent draws per chain and K steps behind log p(x) between 1 K and 20 K
  (:mod:`jembench.metrics.chains`);
- ``class_changes``: the share of chains in which the model sees another class at 20 K than at 1 K: mixing between
  classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.data.sets import CHAINS
from jembench.evaluators.contract import WithoutScalars
from jembench.evaluators.generation import Looker, tolerated
from jembench.evaluators.quantities import Headline
from jembench.ground import seeding
from jembench.measurements.contract import Need, RecordBatch, by_need
from jembench.measurements.embedded import Embedded
from jembench.measurements.trajectory import MARKS, Trajectory, times
from jembench.metrics import classification, frechet, intervals
from jembench.metrics.chains import effective_size
from jembench.metrics.estimate import Estimate
from jembench.metrics.inception_score import inception_score_estimate
from jembench.metrics.manifold import density_coverage, reaches, recall
from jembench.metrics.metric import Kind, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track
    from jembench.types import Capability

LIMIT = 360  # chains
TRAJECTORIES = Need(Trajectory(), CHAINS, limit=LIMIT)  # whose records are the chains

KINDS = (
    Kind("distance", "lower"),
    Kind("recall", "higher", least=0.0, most=1.0),
    Kind("coverage", "higher", least=0.0, most=1.0),
    Kind("inception_score", "higher"),
    Kind("log_density", "neither"),
)
RUNAWAY = Kind("runaway", "lower")
SHARE = Kind("effective_share", "higher", least=0.0, most=1.0)
CHANGES = Kind("class_changes", "neither")


@dataclass(frozen=True)
class Chains(WithoutScalars):
    """Long chains.

    Attributes:
        extractor: the feature extractor that compares the chains with the training images.
    """

    extractor: Looker

    name: ClassVar[str] = "chains"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("chain/runaway", "runaway", "distance at 20 K steps over that at K; above 1: away from data"),
        Headline("chain/effective_share", "mixing", "independent draws per chain and K steps"),
    )
    assembly: ClassVar[float] = 5e-05
    tables: ClassVar[str] = "jembench.pages.tables.samples:chains"
    pictures: ClassVar[dict[str, str]] = {
        "chains": "jembench.gallery:draw_chains",
        "energy": "jembench.gallery:draw_energy",
    }

    def idle(self, capabilities: frozenset[Capability]) -> bool:
        """Whether a model has no chains."""
        return not TRAJECTORIES.measurement.requires <= capabilities

    def needs(self, track: Track) -> tuple[Need, ...]:
        """The chains, and the extractor's view of their marks and of the training split."""
        return (TRAJECTORIES, *self._embeddings().values(), Need(Embedded(), "train", model=self.extractor.name))

    def _embeddings(self) -> dict[int, Need]:
        who = self.extractor.name
        return {
            mark: Need(Embedded(f"image_{mark}"), CHAINS, LIMIT, (TRAJECTORIES,), model=who, essential=True)
            for mark in MARKS
        }

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """The metrics of every mark, then those of the whole chains."""
        records = by_need(batches)
        record = records.get(TRAJECTORIES)
        who = self.extractor.name
        kinds = [self.extractor.called(kind) for kind in KINDS]
        if record is None:
            reason = "the model has no chains"
            marks = [kind.missing(reason, source=f"{mark}K", variant=who) for mark in MARKS for kind in kinds]
            return [*marks, *(kind.missing(reason, source="chain") for kind in (RUNAWAY, SHARE, CHANGES))]
        real = records[Need(Embedded(), "train", model=who)]["features"].astype(np.float64)
        result = []
        reach = cache(lambda: reaches(real))  # as many distances as there are pairs of training images: once
        for mark, need in self._embeddings().items():
            result += self._at(mark, records[need], record, real, reach)
        return [*result, *self._whole(record, result)]

    def _at(
        self,
        mark: int,
        embedding: Mapping[str, NDArray[Any]],
        record: Mapping[str, NDArray[Any]],
        real: NDArray[np.float64],
        reach: Callable[[], NDArray[np.float64]],
    ) -> list[Metric]:
        where: dict[str, Any] = {"source": f"{mark}K", "variant": self.extractor.name}
        x = embedding["features"].astype(np.float64)
        if bad := int((~np.isfinite(x).all(axis=1)).sum()):
            reason = f"{bad} of {len(x)} chains are not finite after {mark} K steps"
            return [self.extractor.called(kind).missing(reason, **where) for kind in KINDS]
        rng = seeding.rng("chains", mark)
        steps = int(record["steps"][0])
        density = record["log_density"][:, times(steps).index(mark * steps)].astype(np.float64)
        probabilities = classification.softmax(embedding["class_logits"].astype(np.float64))
        makers: dict[str, Any] = {
            "distance": lambda: frechet.frechet_estimate(x, real),
            "recall": lambda: recall(x, real),
            "coverage": lambda: density_coverage(x, real, rng=rng, reach=reach()).coverage,
            "inception_score": lambda: inception_score_estimate(probabilities),
            "log_density": lambda: intervals.mean(density, rng=rng),
        }
        metrics = []
        for kind in KINDS:
            own = self.extractor.called(kind)
            n = {"chains": len(x)} | ({"train": len(real)} if kind.name in ("distance", "recall", "coverage") else {})
            try:
                estimate: Estimate = makers[kind.name]()
            except ValueError as error:
                metrics.append(own.missing(str(error), **where))
                continue
            metric = own.of(estimate, n=n, **where)
            metrics.append(replace(metric, tolerance=tolerated(estimate)) if _gated(kind, mark) else metric)
        return metrics

    def _whole(self, record: Mapping[str, NDArray[Any]], marks: list[Metric]) -> list[Metric]:
        """Runaway, effective share and changes of class."""
        n = {"chains": len(record["index"])}
        by_id = {metric.id: metric.value for metric in marks}
        who, distance = self.extractor.name, self.extractor.distance
        first, last = (by_id[f"{mark}K/{who}/{distance}"] for mark in (1, MARKS[-1]))
        if first is None or last is None or first == 0:
            runaway = RUNAWAY.missing("the distance at 1 K or 20 K is missing", source="chain")
        else:
            runaway = RUNAWAY.of(Estimate(last / first), source="chain", n=n)
        steps = int(record["steps"][0])
        instants = times(steps)
        columns = [instants.index(j * steps) for j in range(1, MARKS[-1] + 1)]
        trace = record["log_density"][:, columns].astype(np.float64)
        try:
            share = effective_size(trace) / trace.size
            effective = SHARE.of(Estimate(share), source="chain", n=n)
        except ValueError as error:
            effective = SHARE.missing(str(error), source="chain")
        classes = record["seen"][:, columns]
        if (classes < 0).any():
            return [runaway, effective, CHANGES.missing("the model gives no logits", source="chain")]
        mixing = classification.accuracy(classes[:, 0] != classes[:, -1])
        return [runaway, effective, CHANGES.of(mixing, source="chain", n=n)]


def _gated(kind: Kind, mark: int) -> bool:
    """Whether a gate compares the metric: not of long chains, whose ends differ from one machine type to another."""
    return kind.name == "distance" and mark <= 1
