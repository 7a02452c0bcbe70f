"""Scores of other packages: judged as ours are, beside them, so that no number of ours depends on what is installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jembench.evaluators.ood import Ood
from jembench.evaluators.quantities import Headline
from jembench.metrics.scores import SCORES, Score


@dataclass(frozen=True)
class Scores(Ood):
    """OOD detection by scores of one's own.

    Attributes:
        names: names of the scores, entry points of ``jembench.scores``.
    """

    names: tuple[str, ...] = ()

    name: ClassVar[str] = "scores"
    version: ClassVar[int] = 1
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("mean/<score>/auroc", "AUROC", "of the first score of a plug-in, mean over OOD sets"),
    )
    tables: ClassVar[str] = ""
    pictures: ClassVar[dict[str, str]] = {}

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the scores, a column each."""
        return self.names

    def scores(self) -> tuple[Score, ...]:
        """The scores that are judged."""
        return tuple(SCORES[name] for name in self.names)
