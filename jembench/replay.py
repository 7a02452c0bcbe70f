"""The replay buffer of persistent chains (Du & Mordatch, NeurIPS 2019; Grathwohl et al., ICLR 2020, algorithm 1).

A chain of a training iteration starts from a stored sample, or with probability rho from fresh noise U(0, 1), and its
end is stored in the same slot. The buffer is an explicit value: tensors in, tensors out, nothing hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class ReplayBuffer:
    """Chains ``images (N, C, H, W)``; :meth:`draw` reads some, :meth:`store` overwrites them in place."""

    images: Tensor

    @classmethod
    def fresh(cls, size: int, shape: tuple[int, int, int], *, generator: Generator) -> ReplayBuffer:
        """``size`` chains of uniform noise, images of ``shape`` (C, H, W)."""
        if size < 1:
            raise ValueError(f"a replay buffer needs at least one chain, not {size}")
        return cls(torch.rand((size, *shape), generator=generator, device=generator.device))

    def draw(self, n: int, *, restart: float, generator: Generator) -> tuple[Tensor, Tensor]:
        """Starting points of ``n`` different chains.

        Args:
            n: how many, at most the buffer's size.
            restart: probability rho that a chain starts afresh from U(0, 1).
            generator: source of slots, restarts and noise.

        Returns:
            Images ``(n, C, H, W)`` and their slots ``(n,)``, no slot twice.

        Raises:
            ValueError: if ``n`` exceeds the size of the buffer or ``restart`` is not in [0, 1].
        """
        size = len(self.images)
        if not 1 <= n <= size or not 0 <= restart <= 1:
            raise ValueError(f"need 1 <= n <= {size} and 0 <= restart <= 1, not n={n}, restart={restart}")
        device = generator.device
        slots = torch.randperm(size, generator=generator, device=device)[:n].to(self.images.device)
        stored = self.images[slots]
        noise = torch.rand(stored.shape, generator=generator, device=device).to(stored.device)
        again = (torch.rand(n, generator=generator, device=device) < restart).to(stored.device)
        return torch.where(again[:, None, None, None], noise, stored), slots

    def store(self, slots: Tensor, images: Tensor) -> None:
        """Write the ends of chains ``images (n, C, H, W)`` to their ``slots (n,)``."""
        self.images[slots] = images.detach().to(self.images)
