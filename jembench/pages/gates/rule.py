"""The rule of a gate: which metrics it judges, how far each may fall, and how sure a fall must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from jembench.pages.summary import headlines
from jembench.store.results import ResultDocument
from jembench.types import UserError, require

ALL = "all"
HEADLINES = "headlines"


@dataclass(frozen=True)
class Rule:
    """What a gate judges, and by which bars.

    Attributes:
        metrics: ids of metrics, patterns of ids (``*/mass/auroc``), ``headlines`` or ``all``; empty for the choice of
            the comparison: all of the same weights and seed, else the headlines.
        tolerances: id or pattern -> how much worse a metric may be, in its unit; the last one that fits holds. Of other
            metrics the golden result says it.
        alpha: chance of a false alarm among all tests of one gate, between 0 and 1.
        retrained: whether the weights are of another training, whose spread widens the tolerances.
        seeds: where trainings of the golden model are: one ``seeds.json`` or its folder, or result folders; empty for
            ``seeds.json`` beside the golden result.

    Raises:
        UserError: for an alpha or a tolerance that is none, or seeds without ``retrained``.
    """

    metrics: tuple[str, ...] = ()
    tolerances: Mapping[str, float] = field(default_factory=dict)
    alpha: float = 0.05
    retrained: bool = False
    seeds: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UserError(f"alpha is a probability between 0 and 1, not {self.alpha}")
        for name, value in self.tolerances.items():
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"the tolerance of {name} is a number of at least 0, not {value}")
        if self.seeds and not self.retrained:
            raise UserError("--seeds goes with --retrained")

    def chosen(self, golden: ResultDocument, default: str) -> list[str]:
        """The ids of the metrics that are named, in the order of the golden result.

        Args:
            golden: the golden result.
            default: what is judged if nothing is named, ``all`` or ``headlines``.

        Raises:
            UserError: for a name that no metric of the golden result has.
        """
        ids = [metric.id for metric in golden.metrics]
        found: set[str] = set()
        for name in self.metrics or (default,):
            if name == HEADLINES:
                matches = {metric.id for _, metric in headlines(golden)}
            else:
                matches = set(ids) if name == ALL else _matching(name, ids)
            if not matches:
                require(name, ids, "metric of the golden result")
            found |= matches
        return [name for name in ids if name in found]

    def tolerance(self, metric: str, golden: float | None) -> float | None:
        """How much worse a metric may be: by the rule, or as the golden result says; None if no gate reads it."""
        own = [value for name, value in self.tolerances.items() if metric in _matching(name, [metric])]
        return own[-1] if own else golden

    def check(self, golden: ResultDocument) -> None:
        """Refuse a tolerance of a metric that the golden result has not.

        Raises:
            UserError: naming it.
        """
        ids = [metric.id for metric in golden.metrics]
        for name in self.tolerances:
            if not _matching(name, ids):
                require(name, ids, "metric of the golden result")


PLAIN = Rule()  # what the comparison and the golden result say of themselves


def tolerances(words: Sequence[str]) -> dict[str, float]:
    """What ``METRIC=VALUE`` says: id or pattern -> number.

    Raises:
        UserError: for a word that is none.
    """
    found = {}
    for word in words:
        name, equals, value = word.rpartition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not (equals and name.strip()):
            raise UserError(f"--tolerance takes METRIC=VALUE, such as test/accuracy=0.01, not {word!r}")
    return found


def _matching(name: str, ids: Sequence[str]) -> set[str]:
    """The ids that a name is, or that a pattern fits."""
    return {each for each in ids if each == name or fnmatchcase(each, name)}
