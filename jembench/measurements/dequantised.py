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

from jembench.attacks.passes import ModelFacts, Passes
from jembench.measurements.contract import costs
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class _Dequantisation:
    """What both measurements share.

    Attributes:
        draws: number of dequantised copies of an example.
    """

    draws: int = 10

    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"density"})
    finite: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Dequantised(_Dequantisation):
    """Columns ``log_density (B,)`` in nats and ``normalized (B,)``, 0 or 1."""

    name: ClassVar[str] = "dequantised"

    def passes(self, facts: ModelFacts) -> Passes:
        """A forward pass for each draw, of a normalised density."""
        return Passes(self.draws * facts.normalized)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """``draws`` forward passes without gradients, or none if the density is not normalised."""
        count, draws = len(batch.images), self.draws if model.normalized else 0
        return {
            "log_density": _mean(model, batch, generator, draws=draws),
            "normalized": np.full(count, bool(model.normalized), dtype=np.int32),
            **costs(count, draws),
        }


@dataclass(frozen=True)
class Unnormalised(_Dequantisation):
    """Column ``log_unnormalised (B,)``, log p + log Z in nats; NaN, at no cost, of a normalised density."""

    name: ClassVar[str] = "unnormalised"

    def passes(self, facts: ModelFacts) -> Passes:
        """A forward pass for each draw, of another density."""
        return Passes(self.draws * (not facts.normalized))

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """``draws`` forward passes without gradients, or none if the density is normalised."""
        draws = 0 if model.normalized else self.draws
        return {"log_unnormalised": _mean(model, batch, generator, draws=draws), **costs(len(batch.images), draws)}


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
