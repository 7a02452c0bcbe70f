r"""Measurement ``dequantised``: log p of every example with uniform noise within its cell of grey levels.

A density over continuous pixels says nothing finite of images on a lattice, so each image is spread over its cell,

.. math::
    \tilde x = x + \frac{u - 1/2}{L - 1}, \qquad u \sim U[0, 1)^D,

and :math:`E_u \log p(\tilde x) - D \log(L - 1)` is a lower bound of its log probability (Theis et al., ICLR 2016, arXiv
1511.01844). The column is the mean over ``draws`` of u. Only a normalised density gives likelihoods: another is not
evaluated, and its column is NaN.
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
            "log_density": self._mean(model, batch, generator) if normalized else np.full(count, np.nan, np.float32),
            "normalized": np.full(count, normalized, dtype=np.int32),
            "forwards": np.full(count, self.draws if normalized else 0, dtype=np.int32),
            "gradients": np.zeros(count, dtype=np.int32),
        }

    def _mean(self, model: Any, batch: Batch, generator: Generator) -> NDArray[np.float32]:
        """Mean of log p over the draws, summed in float64."""
        import torch

        x = batch.images
        total = torch.zeros(len(x), dtype=torch.float64)
        with torch.no_grad():
            for _ in range(self.draws):
                u = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)
                total += model.log_density(x + (u - 0.5) / (batch.levels - 1)).double().cpu()
        mean: NDArray[np.float32] = (total / self.draws).float().numpy()
        return mean
