"""The gate: is a fresh result as good as the golden one?

Two results are comparable if the fresh one's protocol is part of the golden one's: same track, same bytes and number of
examples of every source, same measurements and evaluators in the same versions. Then a metric fails if it is worse by
more than the tolerance that the golden result states for it, in the direction that is worse for it. The same weights on
another machine type differ by less than 0.001.
"""

from __future__ import annotations

from dataclasses import dataclass

from jembench.metrics.metric import Metric
from jembench.pages.tables.table import subset
from jembench.store.results import ProtocolEntry, ResultDocument
from jembench.types import UserError

ROUNDING = 1e-12  # 0.97 - 0.965 is more than 0.005 in floating point, and passes


@dataclass(frozen=True)
class GateReport:
    """What the gate says: the failures, and the text to print."""

    worse: list[str]
    text: str


def check_comparable(protocol: ProtocolEntry, golden: ResultDocument) -> None:
    """Refuse to compare numbers of different protocols.

    Args:
        protocol: protocol of the fresh result.
        golden: the golden result that the fresh one is compared with.

    Raises:
        UserError: naming the first difference.
    """
    other = golden.protocol
    for name in ("name", "track"):
        ours, theirs = getattr(protocol, name), getattr(other, name)
        if ours != theirs:
            raise UserError(f"not comparable: {name} is {ours!r}, the golden result has {theirs!r}")
    for source, facts in protocol.sources.items():
        reference = other.sources.get(source)
        if reference is None:
            raise UserError(f"not comparable: the golden result has no examples of {source!r}")
        for what in ("n", "sha256", "noise"):
            ours, theirs = getattr(facts, what), getattr(reference, what)
            if ours != theirs:
                raise UserError(f"not comparable: {what} of {source!r} is {ours}, the golden result has {theirs}")
    for part in ("measurements", "evaluators"):
        for entry in getattr(protocol, part):
            if entry not in getattr(other, part):
                raise UserError(f"not comparable: the golden result has no {part[:-1]} {entry}")


def compare(fresh: ResultDocument, golden: ResultDocument) -> GateReport:
    """Compare every metric that has a better direction; the golden result states the tolerances."""
    check_comparable(fresh.protocol, golden)
    worse, count = [], 0
    evaluators = {entry["name"] for entry in fresh.protocol.evaluators}
    for reference in golden.metrics:
        if reference.evaluator not in evaluators or reference.value is None or reference.tolerance is None:
            continue
        count += 1
        metric = fresh.metric(reference.id)
        if metric is None:
            worse.append(f"  {reference.id}: missing, was {reference.value:.4f}")
        elif (failure := _failure(metric, reference.value, reference.tolerance)) is not None:
            worse.append(failure)
    if count == 0:
        raise UserError("not comparable: the golden result has no value of these evaluators")
    head = f"{fresh.model.name} on {fresh.track}, suite {fresh.suite}: "
    tail = "".join(f"\n{note}" for note in subset(fresh.metrics, fresh))
    if worse:
        return GateReport(worse, head + f"{len(worse)} of {count} metrics are worse\n" + "\n".join(worse) + tail)
    return GateReport([], head + f"no metric of {count} is worse than the golden result" + tail)


def _failure(metric: Metric, reference: float, tolerance: float) -> str | None:
    """Which metric is worse, by how much, against which tolerance; None if it is good enough."""
    if metric.value is None:
        return f"  {metric.id}: missing ({metric.reason}), was {reference:.4f}"
    loss = reference - metric.value if metric.better == "higher" else metric.value - reference
    if loss <= tolerance + ROUNDING:
        return None
    return f"  {metric.id}: {metric.value:.4f}, was {reference:.4f}: worse by {loss:.4f}, tolerance {tolerance}"
