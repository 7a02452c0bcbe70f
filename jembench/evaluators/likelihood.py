r"""Evaluator ``likelihood``: how many bits per dimension does the density need for a test image?

With log p of dequantised images in nats (:mod:`jembench.evaluators.dequantised`), D pixels and L grey levels,

.. math::
    \text{bits/dim} = -\frac{E \log p(\tilde x)}{D \log 2} + \log_2(L - 1),

an upper bound of the cost of coding the integer images; uniform noise costs :math:`\log_2 L`. It exists for normalised
densities only: of an energy-based model log p is known but for log Z, so its cell is empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench import seeding
from jembench.evaluators.contract import Kind, Metric, Need, RecordBatch, gather
from jembench.evaluators.dequantised import Dequantised
from jembench.metrics import intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track

BITS = Kind("bits_per_dim", "lower", 0.01)


@dataclass(frozen=True)
class Likelihood:
    """Bits per dimension of the test split, with the interval of a mean."""

    name: ClassVar[str] = "likelihood"
    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("log_px_dequantised",)

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Dequantised log densities of the test split."""
        return (Need(Dequantised(), "test"),)

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """``log_px_dequantised``, in nats, unless the density is not normalised."""
        if not batch.columns["normalized"].all():
            return {}
        return {"log_px_dequantised": batch.columns["log_density"]}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """``test/bits_per_dim``."""
        test = gather(batches, "log_density", "normalized").get("test")
        if reason := _problem(test):
            return [BITS.missing(reason, source="test")]
        assert test is not None
        nats = test["log_density"].astype(np.float64)
        bits = -nats / (math.prod(track.shape) * math.log(2)) + math.log2(track.levels - 1)
        estimate = intervals.mean(bits, rng=seeding.rng("likelihood", "bits_per_dim"))
        return [BITS.of(estimate, source="test", n={"test": len(bits)})]


def _problem(test: dict[str, NDArray[Any]] | None) -> str | None:
    """Why there is no likelihood, if there is none."""
    if test is None:
        return "the model gives no log density"
    if not test["normalized"].all():
        return "the log density is not normalised: bits/dim need log Z"
    if bad := int((~np.isfinite(test["log_density"])).sum()):
        return f"the dequantised log density is NaN or infinite on {bad} of {len(test['log_density'])} images of test"
    return None
