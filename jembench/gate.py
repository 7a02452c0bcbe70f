"""The gate: is a fresh result as good as the golden one?

Two results are comparable if the fresh one's protocol is part of the golden one's: same track, same bytes and number of
examples of every source, same measurements and evaluators in the same versions. Then a metric fails if it is worse by
more than its stated tolerance, in the direction that is worse for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jembench.evaluators.contract import Metric
from jembench.results import ResultDocument
from jembench.types import UserError

#: How much worse a metric may be, by name. The same weights on another machine type differ by less than 0.001.
TOLERANCE = {
    "accuracy": 0.005,
    "nll": 0.01,
    "brier": 0.005,
    "ece15": 0.005,
    "ece20": 0.005,
    "adaptive_ece15": 0.005,
    "classwise_ece15": 0.005,
    "squared_ece15": 0.002,
    "auroc": 0.005,
    "fpr95": 0.02,
    "aupr_in": 0.01,
    "aupr_out": 0.01,
}

ROUNDING = 1e-12  # 0.97 - 0.965 is more than 0.005 in floating point, and passes


@dataclass(frozen=True)
class Verdict:
    """What the gate says: the failures, and the text to print."""

    worse: list[str]
    text: str


def check_comparable(protocol: dict[str, Any], golden: ResultDocument) -> None:
    """Refuse to compare numbers of different protocols.

    Args:
        protocol: of the fresh result.
        golden: the result to compare with.

    Raises:
        UserError: naming the first difference.
    """
    other = golden.protocol
    for name in ("name", "track"):
        if protocol[name] != other.get(name):
            raise UserError(f"not comparable: {name} is {protocol[name]!r}, the golden result has {other.get(name)!r}")
    for source, facts in protocol["sources"].items():
        known = other.get("sources", {}).get(source)
        if known is None:
            raise UserError(f"not comparable: the golden result has no examples of {source!r}")
        for what in ("n", "sha256"):
            if facts[what] != known.get(what):
                raise UserError(
                    f"not comparable: {what} of {source!r} is {facts[what]}, the golden result has {known.get(what)}"
                )
    for part in ("measurements", "evaluators"):
        for item in protocol[part]:
            if item not in other.get(part, []):
                what = f"{part[:-1]} {item['name']!r} version {item['version']}"
                raise UserError(f"not comparable: {what} is not in the golden result")


def compare(fresh: ResultDocument, golden: ResultDocument) -> Verdict:
    """Compare every metric that has a better direction; see :data:`TOLERANCE`."""
    check_comparable(fresh.protocol, golden)
    worse, compared = [], 0
    for metric in fresh.metrics:
        reference = golden.metric(metric.id)
        if reference is None or reference.value is None or metric.better == "neither":
            continue
        compared += 1
        if (failure := _failure(metric, reference.value)) is not None:
            worse.append(failure)
    head = f"{fresh.model.name} on {fresh.track}, suite {fresh.suite}: "
    if worse:
        return Verdict(worse, head + f"{len(worse)} of {compared} metrics are worse\n" + "\n".join(worse))
    return Verdict([], head + f"no metric of {compared} is worse than the golden result")


def _failure(metric: Metric, reference: float) -> str | None:
    """Which, by how much, against which tolerance; None if it is good enough."""
    if metric.value is None:
        return f"  {metric.id}: missing ({metric.reason}), was {reference:.4f}"
    tolerance = TOLERANCE[metric.name]
    loss = reference - metric.value if metric.better == "higher" else metric.value - reference
    if loss <= tolerance + ROUNDING:
        return None
    return f"  {metric.id}: {metric.value:.4f}, was {reference:.4f}: worse by {loss:.4f}, tolerance {tolerance}"
