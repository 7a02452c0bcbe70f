"""The verdict of a gate: is a fresh result as good as a golden one?

Two results are comparable if the fresh one's protocol is part of the golden one's: same track, same bytes and number of
examples of every source, same measurements and evaluators in the same versions. There are three comparisons.

- **Same weights and seed**: code or machine changed, and nothing is random. A metric is worse if it falls by more than
  the tolerance that the golden result states for it. All metrics are judged. The same weights on another machine type
  differ by less than 0.001.
- **Other weights or seed**: a metric is worse if it falls by more than its tolerance **and** the paired test of the two
  says so: Holm's p-value over all tests of the gate is below alpha. Of themselves the headlines alone are judged. A
  metric without a test is reported and never fails, unless its id is named.
- **Retrained**: the same, with tolerances widened by the spread of training seeds (:mod:`.spread`).

A value that went missing is worse in all three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from jembench.metrics import paired
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Metric
from jembench.pages.gates.rule import ALL, HEADLINES, PLAIN, Rule
from jembench.pages.pairs import differences
from jembench.pages.pairs.differences import Difference
from jembench.pages.pairs.fit import excess
from jembench.pages.pairs.side import Side
from jembench.store.results import ProtocolEntry, ResultDocument
from jembench.types import UserError

ROUNDING = 1e-12  # 0.97 - 0.965 is more than 0.005 in floating point, and passes

Kind = Literal["same weights and seed", "other weights", "other seed", "retrained"]
SAME: Kind = "same weights and seed"
Outcome = Literal["missing", "worse", "better", "not tested", "unchanged"]
OUTCOMES: tuple[Outcome, ...] = ("missing", "worse", "better", "not tested", "unchanged")
FAILURES: tuple[Outcome, ...] = ("missing", "worse")

#: Reasons of a row.
ALONE = "no test"
UNTESTED = "no interval"
UNKNOWN = "no spread of training seeds"


@dataclass(frozen=True)
class Judgement:
    """The judgement of one metric.

    Attributes:
        before: the metric of the golden result, which has a value.
        after: the metric of the fresh result; None if it has none of this id.
        outcome: what became of it.
        tolerance: how much worse it may be, without the spread.
        spread: what training seeds add to the tolerance.
        difference: of the two, fresh less golden; None where the fresh value is missing.
        p: two-sided p-value of no difference, corrected by Holm's method; None without a test.
        reason: why a value is missing, why there is no test, or by what else it was judged; empty if nothing is to say.
    """

    before: Metric
    after: Metric | None
    outcome: Outcome
    tolerance: float
    spread: float = 0.0
    difference: Difference | None = None
    p: float | None = None
    reason: str = ""

    @property
    def id(self) -> str:
        """Of the metric."""
        return self.before.id

    @property
    def loss(self) -> float:
        """How much worse the fresh value is, in the metric's unit; infinite if it is missing."""
        return math.inf if self.difference is None else self.difference.loss

    @property
    def rank(self) -> tuple[int, float]:
        """The worst first, by what became of it and by how many tolerances."""
        bar = self.tolerance + self.spread
        share = self.loss / bar if bar > 0 else math.copysign(math.inf, self.loss) if self.loss else 0.0
        return OUTCOMES.index(self.outcome), share if self.outcome == "better" else -share


@dataclass(frozen=True, repr=False)
class GateVerdict:
    """What a gate says; true if it passes.

    Attributes:
        fresh: the fresh result.
        golden: the golden result.
        kind: which of the three comparisons it is.
        rule: the rule that it was judged by.
        rows: the judgement of every metric, the worst first.
        paired: whether the tests are of the same images.
        trainings: number of training seeds behind the spread; 0 without one.
    """

    fresh: ResultDocument
    golden: ResultDocument
    kind: Kind
    rule: Rule
    rows: list[Judgement]
    paired: bool = True
    trainings: int = 0

    @property
    def worse(self) -> list[Judgement]:
        """What fails, the worst first."""
        return [row for row in self.rows if row.outcome in FAILURES]

    def count(self, *outcomes: Outcome) -> int:
        """How many metrics had one of these outcomes."""
        return sum(row.outcome in outcomes for row in self.rows)

    def __bool__(self) -> bool:
        return not self.worse

    @property
    def counts(self) -> str:
        """How many metrics had which outcome: ``jembench gate: 1 regression, 2 improvements, 41 unchanged``."""
        worse, better, untested = len(self.worse), self.count("better"), self.count("not tested")
        words = [_number(worse, "regression")]
        words += [_number(better, "improvement")] if better else []
        words.append(f"{self.count('unchanged')} unchanged")
        words += [f"{untested} not tested"] if untested else []
        return f"jembench gate: {', '.join(words)}"

    def __repr__(self) -> str:
        return self.counts


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def check_comparable(protocol: ProtocolEntry, golden: ResultDocument) -> None:
    """Refuse to compare numbers of different protocols.

    Args:
        protocol: protocol of the fresh result.
        golden: the golden result that the fresh one is compared with.

    Raises:
        UserError: naming the first difference.
    """
    reason = excess(protocol, golden.protocol)
    if reason is not None:
        raise UserError(f"not comparable with the golden result: {reason}")


def judge(
    fresh: Side,
    golden: Side,
    rule: Rule = PLAIN,
    *,
    spreads: Mapping[str, float] | None = None,
    trainings: int = 0,
) -> GateVerdict:
    """Compare a fresh result with a golden one.

    Args:
        fresh: the fresh result.
        golden: the golden result, which states the tolerances.
        rule: which metrics are judged, by which bars.
        spreads: id -> what training seeds add to a tolerance, for a rule of retrained models.
        trainings: number of training seeds behind the spreads.

    Raises:
        UserError: if the two are not comparable, or there is nothing to judge.
    """
    one, other = fresh.document, golden.document
    check_comparable(one.protocol, other)
    rule.check(other)
    kind = kind_of(one, other, rule)
    noisy = one.seed != other.seed and any(facts.noise for facts in one.protocol.sources.values())
    wide = spreads if spreads is not None and kind == "retrained" else {}
    comparison = _Comparison(fresh, golden, rule, kind, wide, noisy)
    evaluators = {entry["name"] for entry in one.protocol.evaluators}
    rows = []
    for name in rule.chosen(other, ALL if kind == SAME else HEADLINES):
        before = golden.metrics[name]
        if before.evaluator in evaluators and before.value is not None and (row := comparison.row(before)) is not None:
            rows.append(row)
    if not rows:
        raise UserError("not comparable: the golden result has no value of these metrics with a tolerance")
    rows = sorted(comparison.judged(rows), key=lambda row: row.rank)
    return GateVerdict(one, other, kind, rule, rows, not noisy, trainings if kind == "retrained" else 0)


def kind_of(fresh: ResultDocument, golden: ResultDocument, rule: Rule) -> Kind:
    """Which comparison two results ask for."""
    if fresh.model.fingerprint != golden.model.fingerprint:
        return "retrained" if rule.retrained else "other weights"
    return SAME if fresh.seed == golden.seed else "other seed"


@dataclass(frozen=True)
class _Comparison:
    """Two results, and how their metrics are held against each other; ``noisy`` ones have images of their own."""

    fresh: Side
    golden: Side
    rule: Rule
    kind: Kind
    spreads: Mapping[str, float]
    noisy: bool

    def row(self, before: Metric) -> Judgement | None:
        """The row of a metric before its outcome; None if no gate judges it.

        Raises:
            UserError: if the user names it all the same.
        """
        tolerance, named = self.rule.tolerance(before.id, before.tolerance), before.id in self.rule.metrics
        if tolerance is None or before.better == "neither":
            if named:
                raise UserError(_unjudged(before))
            return None
        after, spread = self.fresh.metrics.get(before.id), self.spreads.get(before.id)
        row = Judgement(before, after, "not tested", tolerance, spread or 0.0)
        if after is None or after.value is None:
            reason = "not in the fresh result" if after is None else after.reason or "no value"
            return replace(row, outcome="missing", reason=reason)
        row = replace(row, difference=self._difference(before, after))
        if self.kind == "retrained" and spread is None:
            return replace(row, reason=UNKNOWN)
        if self.kind != SAME and row.difference is not None and row.difference.p is None:
            return replace(row, reason=ALONE if named else UNTESTED)
        return row

    def _difference(self, before: Metric, after: Metric) -> Difference | None:
        """With a test unless nothing is random, a paired one where the images are the same."""
        plain = Difference(before.id, before, after, Estimate((after.value or 0.0) - (before.value or 0.0)), None)
        if self.kind == SAME:
            return plain
        if not self.noisy:
            return differences.difference(self.golden, self.fresh, before.id)
        tested = differences.unpaired(before, after)
        return plain if tested is None else Difference(before.id, before, after, *tested)

    def judged(self, rows: list[Judgement]) -> list[Judgement]:
        """The rows with their outcomes; all tests are one family."""
        tests: dict[str, float] = {}
        for row in rows:
            if row.reason != UNKNOWN and row.difference is not None and row.difference.p is not None:
                tests[row.id] = row.difference.p
        corrected = dict(zip(tests, paired.holm(list(tests.values())), strict=True))
        return [self._outcome(row, corrected.get(row.id)) for row in rows]

    def _outcome(self, row: Judgement, p: float | None) -> Judgement:
        """One row with its outcome: beyond the bar, and significant if that is asked for."""
        alone = self.kind == SAME or row.reason == ALONE
        if row.difference is None or (p is None and not alone):
            return row
        bar = row.tolerance + row.spread + ROUNDING
        sure = alone or (p is not None and p < self.rule.alpha)
        beyond: Outcome = "worse" if row.loss > bar else "better" if -row.loss > bar else "unchanged"
        return replace(row, outcome=beyond if sure else "unchanged", p=p)


def _unjudged(metric: Metric) -> str:
    """Why no gate can judge a metric that is named."""
    if metric.better == "neither":
        return f"{metric.id} has no better direction: no gate can judge it"
    return f"{metric.id} has no tolerance: give one, --tolerance {metric.id}=VALUE"
