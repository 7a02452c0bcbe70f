"""The replay buffer: the ends of SGLD chains, kept to be continued.

Du & Mordatch (NeurIPS 2019, section 3.2) and Grathwohl et al. (ICLR 2020, appendix H): an iteration of batch B
continues B chains; each starts from a stored sample, or with probability rho afresh, and its end is stored in the same
place.

The buffer is divided into B **lanes** of M chains, and position j of the batch draws from lane j alone. So no chain is
drawn twice, and when several processes share a batch, each holds the lanes of its own positions and nobody else's.
A chain keeps the class that it was started with, for class-conditional sampling; or it gets another one whenever it is
continued (IGEBM), so that the sample of one class becomes the negative example of another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from jembench.ground.shares import Share
from jembench.langevin.starts import Start


@dataclass(frozen=True)
class ReplayBuffer:
    """Chains ``images (L, M, C, H, W)`` with classes ``labels (L, M)``; :meth:`store` overwrites them in place.

    Attributes:
        images: ends ``(L, M, C, H, W)`` of the M chains of each of the L lanes of this process.
        labels: class ``(L, M)`` of every chain.
        share: positions of the batch whose lanes these are.
    """

    images: Tensor
    labels: Tensor
    share: Share

    @classmethod
    def fresh(cls, size: int, start: Start, *, share: Share, generator: Generator) -> ReplayBuffer:
        """``size`` chains over all lanes, each of a random class at a starting point.

        Raises:
            ValueError: if the lanes would not be of one length.
        """
        if size < 1 or size % share.total:
            raise ValueError(f"a buffer of {size} chains cannot be divided into {share.total} lanes")
        labels = torch.randint(start.classes, (size,), generator=generator)
        images = start(labels, generator)
        lanes = (share.total, size // share.total)
        images, labels = images.reshape(*lanes, *images.shape[1:]), labels.to(images.device).reshape(lanes)
        return cls(share.of(images).clone(), share.of(labels).clone(), share)

    def draw(
        self, start: Start, *, restart: float, generator: Generator, relabel: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A starting point for every position of the batch that is held here.

        Every process draws for the whole batch from the same generator, and keeps its own part.

        Args:
            start: distribution of the images where fresh chains begin.
            restart: probability rho that a chain starts afresh, of a new random class.
            generator: source of the choice of chains, the restarts and the fresh starts.
            relabel: whether every chain gets a new random class, also one that is continued.

        Returns:
            Images ``(L, C, H, W)``, their classes ``(L,)`` and the drawn chain of each lane ``(L,)``.

        Raises:
            ValueError: if ``restart`` is not in [0, 1].
        """
        if not 0 <= restart <= 1:
            raise ValueError(f"restart must be in [0, 1], not {restart}")
        count, device = self.share.total, self.images.device
        chains = torch.randint(self.images.shape[1], (count,), generator=generator)
        restarts = torch.rand(count, generator=generator) < restart
        labels = torch.randint(start.classes, (count,), generator=generator)
        fresh = self.share.of(start(labels, generator)).to(device)
        slots, restarts = self.share.of(chains).to(device), self.share.of(restarts).to(device)
        lanes = torch.arange(len(slots), device=device)
        images = torch.where(restarts[:, None, None, None], fresh, self.images[lanes, slots])
        new = torch.ones_like(restarts) if relabel else restarts
        return images, torch.where(new, self.share.of(labels).to(device), self.labels[lanes, slots]), slots

    def store(self, slots: Tensor, images: Tensor, labels: Tensor) -> None:
        """Write the ends of chains ``images (L, C, H, W)`` of classes ``labels (L,)`` to their ``slots (L,)``."""
        lanes = torch.arange(len(slots), device=self.images.device)
        self.images[lanes, slots] = images.detach().to(self.images)
        self.labels[lanes, slots] = labels.to(self.labels)
