"""Exact samplers: independent draws, without a chain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Generator, Tensor, nn

if TYPE_CHECKING:
    from jembench.types import Start


class ExactSampler(nn.Module, ABC):
    """A :class:`~jembench.types.Sampler` without chains."""

    def sample(
        self,
        n: int,
        *,
        generator: Generator,
        labels: Tensor | None = None,
        start: Start = "fresh",
        steps: int | None = None,
    ) -> Tensor:
        """``n`` independent draws ``(n, C, H, W)``, clamped to [0, 1]; no chain: ``start`` and ``steps`` do nothing.

        Raises:
            ValueError: if there are labels, and the model knows no classes or they are not ``(n,)``.
        """
        return self._draw(n, labels, generator)

    @abstractmethod
    def _draw(self, n: int, labels: Tensor | None, generator: Generator) -> Tensor:
        """``n`` draws, of the classes ``labels (n,)`` or of random ones."""
