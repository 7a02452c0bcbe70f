"""Verification in words: what of a claimed result was computed again, and what does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jembench.pages.pairs.claims import Claim
from jembench.store.results import ResultDocument

LINES = 18  # of what does not hold
FEW = 3  # sources whose number of examples is said


class Checked(Protocol):
    """A chunk that was computed again: see :class:`jembench.engine.verify.Check`."""

    @property
    def exact(self) -> bool:
        """Whether its records are equal to the bit."""

    @property
    def gap(self) -> float:
        """Largest distance of a published scalar."""

    @property
    def fault(self) -> str:
        """What does not hold; empty if all does."""

    @property
    def told(self) -> bool:
        """Whether anything could be compared."""


@dataclass(frozen=True)
class Verification:
    """What a claimed result was held against.

    Attributes:
        document: the result.
        faults: what is wrong with the model, a sentence each.
        checks: the chunks that were computed again.
        eligible: number of chunks that could have been picked.
        claims: the metrics that follow from the examples.
    """

    document: ResultDocument
    faults: Sequence[str]
    checks: Sequence[Checked]
    eligible: int
    claims: Sequence[Claim]

    @property
    def failures(self) -> list[str]:
        """What does not hold, a line each: the model, the metrics by their distance, the chunks."""
        wrong = sorted((claim for claim in self.claims if not claim.holds), key=lambda claim: -claim.gap)
        lines = [f"{each.metric.id} is {_words(each, claimed=True)}, examples give {_words(each)}" for each in wrong]
        broken = sorted((check for check in self.checks if check.fault), key=lambda check: -check.gap)
        return [*self.faults, *lines, *(check.fault for check in broken)]

    @property
    def text(self) -> str:
        """At most twenty lines: what does not hold, and what was checked."""
        failures = self.failures
        lines = [*failures[:LINES], *([f"{len(failures) - LINES} more"] if len(failures) > LINES else [])]
        exact = sum(check.exact for check in self.checks)
        near = [check for check in self.checks if check.told and not check.exact and not check.fault]
        untold = sum(not check.told for check in self.checks)
        words = [f"{exact} equal to the bit"] if exact else []
        words += [f"{len(near)} within {max(check.gap for check in near):.1g}"] if near else []
        words += [f"{sum(bool(check.fault) for check in self.checks)} not"] if any(c.fault for c in self.checks) else []
        words += [f"{untold} of other bits and without published scalars"] if untold else []
        parts = [f"{len(self.checks)} of {self.eligible} chunks computed again: {', '.join(words) or 'none'}"]
        count = sum(metric.value is not None for metric in self.document.metrics)
        parts.append(f"{len(self.claims)} of {count} metrics follow from the examples")
        parts.append("does not hold" if failures else "verified")
        return "\n".join([*lines, "; ".join(parts)])


def _words(claim: Claim, *, claimed: bool = False) -> str:
    """A value with its interval, where that follows too."""
    metric, found = claim.metric, claim.found
    value, low, high = (metric.value, metric.low, metric.high) if claimed else (found.value, found.low, found.high)
    n = metric.n if claimed else claim.n
    size = f", n {_sizes(n)}" if metric.n != claim.n else ""
    if found.low is None or low is None or high is None:
        return f"{value:.6g}{size}"
    return f"{value:.6g} ({low:.6g} to {high:.6g}){size}"


def _sizes(n: Mapping[str, int]) -> str:
    """Numbers of examples by source, the first few."""
    words = [f"{source} {count}" for source, count in list(n.items())[:FEW]]
    return " + ".join([*words, *(["…"] if len(n) > FEW else [])]) or "none"
