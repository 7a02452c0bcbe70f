r"""Evaluator ``robustness``: how many test images does the model still get right when an adversary moves them?

For every attack and eps ``test/<norm>-<eps>/<attack>/robust_accuracy``, by the vote of fresh draws if the model is
stochastic, with ``one_shot_accuracy`` of a single draw beside it; ``…/worst/…`` is the worst case over all attacks on
each example, judged anew (:mod:`jembench.measurements.worst`): **the figure**. ``test/clean/robust_accuracy`` is the
null attack: clean images, the same number of draws. Intervals are Wilson's over test images.

- ``queries``, ``forwards``, ``gradients`` per example of every attack; ``claims_held``: share of the successes that an
  attack reports which hold on fresh draws;
- ``test/<norm>-<eps>/gain``: worst-case accuracy less that of the same model without its refinement under the same PGD,
  with an interval for paired proportions; where the sign test does not see a gain, the reason is ``no gain``;
- ``test/<norm>-<eps>/reject/robust_accuracy``: the model may abstain (:mod:`jembench.measurements.rejected`);
- ``test/l2-<eps>/certified_accuracy``: of the smoothed classifier (:mod:`jembench.measurements.certificate`);
- ``test/distal/reached``: noise that becomes a confident example (:mod:`jembench.measurements.distal`);
- ``test/<norm>/reliable``: 1, or 0 with the reasons (:mod:`jembench.evaluators.reliability`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.attacks import attack as attack_of
from jembench.evaluators import reliability
from jembench.evaluators.battery import CHECK, NULL, WORST, Battery, BatteryPart
from jembench.evaluators.quantities import Headline
from jembench.ground import seeding
from jembench.measurements.contract import Need, RecordBatch, joined
from jembench.metrics import certification, classification, intervals, paired
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Kind, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track

Columns = dict[str, "NDArray[Any]"]

ROBUST = Kind("robust_accuracy", "higher", 0.01, least=0.0, most=1.0)
ONE_SHOT = Kind("one_shot_accuracy", "higher", 0.01, least=0.0, most=1.0)
CERTIFIED = Kind("certified_accuracy", "higher", 0.02, least=0.0, most=1.0)
GAIN = Kind("gain", "neither")
REACHED = Kind("reached", "neither")
RELIABLE = Kind("reliable", "higher", 0.0)
HELD = Kind("claims_held", "neither")
COSTS = tuple(Kind(name, "neither") for name in ("queries", "forwards", "gradients"))
NO_GAIN = "no gain"
LEVEL = 0.05  # of the sign test of a gain


@dataclass(frozen=True)
class Robustness:
    """Robust accuracy under a battery of attacks.

    Attributes:
        battery: the attacks, with their threat models and budgets.
    """

    battery: Battery

    name: ClassVar[str] = "robustness"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("test/<linf>/worst/robust_accuracy", "robust Linf", "accuracy left by all attacks together"),
        Headline("test/<l2>/worst/robust_accuracy", "robust L2", "the same in the L2 ball"),
        Headline("test/clean/robust_accuracy", "clean", "accuracy without an attack, as defended"),
    )
    assembly: ClassVar[float] = 2e-05
    tables: ClassVar[str] = "jembench.pages.tables.robustness:robustness"
    pictures: ClassVar[dict[str, str]] = {
        "adversarials": "jembench.gallery:draw_pairs",
        "distal": "jembench.gallery:draw_distal",
    }
    figures: ClassVar[dict[str, str]] = {"robustness": "jembench.gallery:plot_robustness"}

    @property
    def columns(self) -> tuple[str, ...]:
        """Of every attack the share of draws that are correct, ``null`` on clean images; of the worst the distance."""
        grid = [f"{g.norm}-{eps:g}/{what}" for g in self.battery.grids for eps in g.eps for what in (WORST, "distance")]
        attacks = [f"{g.norm}-{eps:g}/{name}" for g in self.battery.grids for eps in g.eps for name in self._names()]
        return (NULL, *dict.fromkeys((*grid, *attacks)))

    def _names(self) -> tuple[str, ...]:
        ladder = tuple(f"pgd-{rung}" for rung in self.battery.rungs) if self.battery.copies else ("pgd",)
        return (*ladder, *(attack_of(name).name for name in self.battery.attacks), "transfer", "reject")

    def needs(self, track: Track) -> tuple[Need, ...]:
        """The battery's records."""
        return tuple(dict.fromkeys(part.need for part in self.battery.parts(track)))

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """Columns of a record that are published: shares of correct draws, and distances, but not the images."""
        measurement, columns = batch.measurement, batch.columns
        if measurement.name not in ("attacked", "worst", "rejected"):
            return {}
        threat: Any = measurement.threat  # type: ignore[attr-defined]
        ball = f"{threat.norm}-{threat.eps:g}"
        if measurement.name == "worst":
            return {f"{ball}/{WORST}": columns["one_shot"], f"{ball}/distance": columns["distance"]}
        if measurement.name == "rejected":
            return {f"{ball}/reject": columns["vote"].astype(np.float32)}
        attack: Any = measurement.attack  # type: ignore[attr-defined]
        if attack.name == NULL:
            return {NULL: columns["one_shot"]}
        return {f"{ball}/{self._label(batch)}": columns["one_shot"]} if self._label(batch) else {}

    def _label(self, batch: RecordBatch) -> str:
        """The name of an attack in the tables; empty for a check."""
        attack: Any = batch.measurement.attack  # type: ignore[attr-defined]
        if attack.name != "pgd":
            return "" if attack.name == CHECK else str(attack.name)
        return f"pgd-{attack.gradient}" if self.battery.copies else "pgd"

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """All metrics of the module's list."""
        records = _records(self.battery.parts(track), batches)
        clean = next((columns for part, columns in records.items() if part.name == NULL), None)
        if clean is None:
            return [ROBUST.missing("the model gives no logits", source="test", variant="clean")]
        metrics = list(self._accuracies("clean", clean))
        for part, columns in records.items():
            if part.check or part.name == NULL:
                continue
            if part.name == "certificate":
                metrics += self._certified(part, columns)
            elif part.name == "distal":
                metrics.append(_share(REACHED, "distal", columns["reached"]))
            else:
                metrics += self._attack(part, columns)
        metrics += self._gains(records)
        return metrics + [self._reliable(records, grid.norm) for grid in self.battery.grids]

    def _attack(self, part: BatteryPart, columns: Columns) -> Iterator[Metric]:
        variant = f"{part.ball}/{part.name}"
        if "tau" in columns and np.isnan(columns["tau"]).any():
            yield ROBUST.missing(
                "log p(x) is NaN on a clean image: no threshold to abstain by", source="test", variant=variant
            )
            return
        yield from self._accuracies(variant, columns)
        if part.name == WORST:
            return
        n = {"test": len(columns["vote"])}
        for kind in COSTS:
            if kind.name in columns:
                mean = Estimate(float(columns[kind.name].mean()))
                yield kind.of(mean, source="test", variant=variant, n=n)
        claims = columns.get("claimed", np.zeros(0)) == 1
        if self.battery.copies and claims.any() and part.name != "pgd-none":
            yield _share(HELD, variant, columns["vote"][claims] == 0)

    def _accuracies(self, variant: str, columns: Columns) -> Iterator[Metric]:
        yield _share(ROBUST, variant, columns["vote"])
        if self.battery.copies and "one_shot" in columns:
            share = columns["one_shot"].astype(np.float64)
            estimate = intervals.mean(share, rng=seeding.rng("robustness", "one_shot"))
            yield ONE_SHOT.of(estimate, source="test", variant=variant, n={"test": len(share)})

    def _certified(self, part: BatteryPart, columns: Columns) -> Iterator[Metric]:
        """Certified accuracy at every L2 radius."""
        grid = next(grid for grid in self.battery.grids if grid.norm == part.norm)
        correct = columns["predicted"] == columns["label"]
        for eps in grid.eps:
            yield _share(CERTIFIED, f"{part.norm}-{eps:g}", certification.certified(columns["radius"], correct, eps))

    def _gains(self, records: dict[BatteryPart, Columns]) -> Iterator[Metric]:
        """A defended model against itself without the defence: what the rung ``none`` broke before it was shown."""
        for part, bare in records.items():
            if part.name != "pgd-none":
                continue
            worst = next(c for p, c in records.items() if p.name == WORST and p.ball == part.ball)
            after, before = worst["vote"] == 1, bare["claimed"] != 1
            estimate = paired.difference(after, before)
            metric = GAIN.of(estimate, source="test", variant=part.ball, n={"test": len(after)})
            won = int((after & ~before).sum()), int((~after & before).sum())
            yield metric if paired.sign_test(*won) < LEVEL else replace(metric, reason=NO_GAIN)

    def _reliable(self, records: dict[BatteryPart, Columns], norm: str) -> Metric:
        problems = reliability.problems(records, norm, stochastic=self.battery.copies > 0)
        metric = RELIABLE.of(Estimate(float(not problems)), source="test", variant=norm, n={})
        return replace(metric, reason="; ".join(problems)) if problems else metric


def _share(kind: Kind, variant: str, flags: NDArray[Any]) -> Metric:
    """A share of examples, with Wilson's interval."""
    estimate = classification.accuracy(np.asarray(flags) == 1)
    return kind.of(estimate, source="test", variant=variant, n={"test": len(flags)})


def _records(parts: tuple[BatteryPart, ...], batches: Iterable[RecordBatch]) -> dict[BatteryPart, Columns]:
    """The columns of every part over all its chunks, images left out."""
    chunks = (
        replace(batch, columns={name: column for name, column in batch.columns.items() if name != "adversarial"})
        for batch in batches
    )
    records = joined(chunks)
    keys = {part: (part.need.measurement, part.need.source) for part in parts}
    return {part: records[key] for part, key in keys.items() if key in records}
