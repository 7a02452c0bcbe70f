r"""Measurement ``dequantised``: log p of every example with uniform noise within its cell of grey levels.

A density over continuous pixels says nothing finite of images on a lattice, so each image is spread over its cell,

.. math::
    \tilde x = x + \frac{u - 1/2}{L - 1}, \qquad u \sim U[0, 1)^D,

and :math:`E_u \log p(\tilde x) - D \log(L - 1)` is a lower bound of its log probability (Theis et al., ICLR 2016, arXiv
1511.01844). The column is the mean over ``draws`` of u. Only a normalised density gives likelihoods at once: another is
not evaluated by :class:`Dequantised`, and its column is NaN.

Of the others :class:`Unnormalised` records the same mean of :math:`\log p + \log Z`, which becomes a likelihood with an
estimate of log Z (:mod:`jembench.measurements.partition`). It is a measurement of its own, so that the noise behind the
normalised ones, and with it their numbers, stays what it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class Dequantised:
    """Columns ``log_density (B,)`` in nats and ``normalized (B,)``, 0 or 1.

    Attributes:
        draws: number of dequantised copies of an example.
    """

    draws: int = 10

    name: ClassVar[str] = "dequantised"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"density"})
    finite: ClassVar[frozenset[str]] = frozenset()

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """``draws`` forward passes without gradients, or none if the density is not normalised."""
        count = len(batch.images)
        normalized = bool(model.normalized)
        return {
            "log_density": _mean(model, batch, generator, draws=self.draws if normalized else 0),
            "normalized": np.full(count, normalized, dtype=np.int32),
            "forwards": np.full(count, self.draws if normalized else 0, dtype=np.int32),
            "gradients": np.zeros(count, dtype=np.int32),
        }


@dataclass(frozen=True)
class Unnormalised:
    """Column ``log_unnormalised (B,)``, log p + log Z in nats; NaN, at no cost, of a normalised density.

    Attributes:
        draws: number of dequantised copies of an example.
    """

    draws: int = 10

    name: ClassVar[str] = "unnormalised"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"density"})
    finite: ClassVar[frozenset[str]] = frozenset()

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """``draws`` forward passes without gradients, or none if the density is normalised."""
        count = len(batch.images)
        draws = 0 if model.normalized else self.draws
        return {
            "log_unnormalised": _mean(model, batch, generator, draws=draws),
            "forwards": np.full(count, draws, dtype=np.int32),
            "gradients": np.zeros(count, dtype=np.int32),
        }


def _mean(model: Any, batch: Batch, generator: Generator, *, draws: int) -> NDArray[np.float32]:
    """Mean of the log density over the draws, summed in float64; NaN of none."""
    import torch

    x = batch.images
    if not draws:
        return np.full(len(x), np.nan, np.float32)
    total = torch.zeros(len(x), dtype=torch.float64)
    with torch.no_grad():
        for _ in range(draws):
            u = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)
            total += model.log_density(x + (u - 0.5) / (batch.levels - 1)).double().cpu()
    mean: NDArray[np.float32] = (total / draws).float().numpy()
    return mean
