r"""Measurement ``worst``: the worst case over all attacks on every example.

Every given record holds one adversarial per example, judged on draws of its own. The worst of them is chosen by what
those draws said (the share of correct ones, then the margin), and then **judged again on fresh draws**: taking the
least of several noisy verdicts would count luck as success. For a deterministic model nothing is chosen by luck, and
an example is broken if any of the records has broken it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.attacks.threat import TITLES, Threat
from jembench.measurements.attacked import aimed, metered
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class Worst:
    """Columns of :meth:`jembench.attacks.verify.Verified.columns`, and where they are from.

    ``by (B,)``: which given record; ``target (B,)``: the class aimed at, -1 for any wrong one.

    Attributes:
        threat: the threat model of all the records.
        draws: fresh draws of a stochastic model behind the verdict.
    """

    threat: Threat
    draws: int = 1

    name: ClassVar[str] = "worst"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def title(self) -> str:
        """The ball, for people."""
        return f"worst case {TITLES[self.threat.norm]} {self.threat.eps:.3g}"

    def passes(self, facts: ModelFacts) -> Passes:
        """A query for each draw."""
        return times(facts.query(), self.draws)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Choose, then verify."""
        from jembench.attacks.verify import verify

        x, y = batch.images, batch.labels
        adversarials = x.flatten(1).cpu().numpy().copy()
        lowest = np.full((len(x), 2), np.inf)  # share of correct draws, margin
        by = np.full(len(x), -1, dtype=np.int32)
        for place, columns in enumerate(batch.given):
            if columns is None:
                continue
            n = len(columns["one_shot"])
            verdicts = np.stack([columns["one_shot"], columns["margin"]], axis=1).astype(np.float64)
            better = (verdicts[:, 0] < lowest[:n, 0]) | (
                (verdicts[:, 0] == lowest[:n, 0]) & (verdicts[:, 1] < lowest[:n, 1])
            )
            rows = np.flatnonzero(better)
            adversarials[rows], lowest[rows], by[rows] = columns["adversarial"][rows], verdicts[rows], place
        target = aimed(self.threat, model, batch, generator)
        images = x.new_tensor(adversarials).reshape(x.shape)
        verdict = verify(model, x, y, images, threat=self.threat, target=target, draws=self.draws, generator=generator)
        return {
            **verdict.columns(),
            "by": by,
            "target": np.full(len(x), -1) if target is None else target.cpu().numpy(),
            **metered(len(x), verdict.meter),
        }
