"""Chains: how an energy-based model is sampled, and the persistent chains that travel with its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Generator, Tensor, nn

from jembench.langevin import sgld
from jembench.langevin.starts import ClassGaussians, Uniform
from jembench.models.softmax import Softmax

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.langevin import starts
    from jembench.models.recipes import Recipe
    from jembench.types import Start


class Energy(Protocol):
    """A model that chains can climb."""

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) up to a constant, ``(B,)``."""
        ...

    def log_conditional(self, x: Tensor, labels: Tensor) -> Tensor:
        """log p(x|y) up to a constant per class, ``(B,)``."""
        ...


class ChainSampler(nn.Module):
    """Where the chains of a model start, and the persistent ones, which travel with the weights.

    Args:
        origin: distribution of the images where fresh chains begin.
        settings: number and size of the SGLD steps that the model was trained with.
        buffer: number of persistent chains kept with the weights.
        labelled: whether the classes of the chains mean anything: chains start in them, or climb log p(x|y).
    """

    chains: Tensor
    labels: Tensor

    def __init__(self, origin: starts.Start, *, settings: sgld.SGLD, buffer: int, labelled: bool = True) -> None:
        super().__init__()
        self.origin = origin
        self.labelled = labelled
        self.settings = settings
        self.register_buffer("chains", torch.zeros((buffer, *origin.shape)))
        self.register_buffer("labels", torch.zeros(buffer, dtype=torch.int64))


class EnergyModel(Softmax):
    """A classifier that is a :class:`~jembench.types.Sampler` by SGLD chains on its density.

    Args:
        network: maps normalised images to logits; one with ``stem`` and ``trunk`` can be sampled proximally.
        sampler: starts and settings of the chains, and the persistent ones.
        mean: number, or one per channel, that is subtracted from the [0, 1] pixels.
        std: number, or one per channel, that the pixels are then divided by.
    """

    conditional = False

    def __init__(
        self,
        network: nn.Module,
        *,
        sampler: ChainSampler,
        mean: float | tuple[float, ...] = 0.0,
        std: float | tuple[float, ...] = 1.0,
    ) -> None:
        super().__init__(network, mean=mean, std=std)
        self.sampler = sampler

    @property
    def chain(self) -> sgld.SGLD:
        """The chain of its training."""
        return self.sampler.settings

    def persistent(self) -> tuple[Tensor, Tensor]:
        """The persistent chains ``(N, C, H, W)`` as they lie, and their classes ``(N,)``, -1 if they mean nothing."""
        labels = self.sampler.labels
        return self.sampler.chains, labels if self.sampler.labelled else torch.full_like(labels, -1)

    def advance(
        self, x: Tensor, *, generator: Generator, labels: Tensor | None = None, settings: sgld.SGLD | None = None
    ) -> Tensor:
        """Chains on log p(x), or on log p(x|y) of ``labels (n,)``, from ``x (n, C, H, W)``; not clamped.

        Raises:
            ValueError: without labels, of a conditional model: energies of different classes have different constants.
        """
        if self.conditional and labels is None:
            raise ValueError("chains on log p(x|y) need the labels y")
        return climb(self, x, labels, settings=settings or self.chain, generator=generator)

    def sample(
        self,
        n: int,
        *,
        generator: Generator,
        labels: Tensor | None = None,
        start: Start = "fresh",
        steps: int | None = None,
    ) -> Tensor:
        """Images ``(n, C, H, W)`` at the ends of ``n`` chains, clamped to [0, 1].

        Args:
            n: number of chains.
            generator: source of the starts and of the noise of every step.
            labels: classes ``(n,)``, whose log p(x|y) the chains then climb. None for chains on log p(x); those of a
                conditional model climb log p(x|y), of random classes or of the persistent chains'.
            start: ``fresh``, or ``buffer`` from different persistent chains of the training, of the classes if given.
            steps: number of steps of a chain; the training's by default.

        Raises:
            ValueError: if ``start`` is ``buffer`` and it holds too few chains, or the labels are not ``(n,)``.
        """
        if labels is not None and labels.shape != (n,):
            raise ValueError(f"labels must have shape ({n},), not {tuple(labels.shape)}")
        sampler, device = self.sampler, self.sampler.chains.device
        if start == "buffer":
            slots = random_slots(sampler.labels.cpu(), n, labels=labels, generator=generator).to(device)
            x, y = sampler.chains[slots], sampler.labels[slots]
        else:
            y = torch.randint(sampler.origin.classes, (n,), generator=generator) if labels is None else labels.cpu()
            x, y = sampler.origin(y, generator).to(device), y.to(device)
        settings = self.chain if steps is None else replace(self.chain, steps=steps)
        classes = y if self.conditional or labels is not None else None
        return climb(self, x, classes, settings=settings, generator=generator).clamp(0, 1)


def climb(
    model: Energy,
    x: Tensor,
    labels: Tensor | None,
    *,
    settings: sgld.SGLD,
    generator: Generator,
    noise: sgld.Noise = sgld.noise_like,
) -> Tensor:
    """The ends of chains on log p(x) of ``model``, or on log p(x|y) if there are ``labels (B,)``, from ``x``."""
    stem, target = None, model.log_density if labels is None else lambda images: model.log_conditional(images, labels)
    if settings.inner > 1:
        split: Any = model  # log p(x) = head(stem(x)), log p(x|y) = head(stem(x), y); a recipe of others is refused
        stem, target = split.stem, lambda hidden: split.head(hidden, labels)
    return sgld.chain(target, x, settings=settings, generator=generator, noise=noise, stem=stem)


def random_slots(chain_labels: Tensor, n: int, *, labels: Tensor | None, generator: Generator) -> Tensor:
    """Different slots ``(n,)`` of a buffer, uniformly, of the classes ``labels (n,)`` if there are any.

    Args:
        chain_labels: classes ``(N,)`` of the chains in the buffer.
        n: number of slots.
        labels: classes ``(n,)`` that the chains in these slots must have; None for any.
        generator: source of the random choice.

    Raises:
        ValueError: if there are too few chains, in all or of one class.
    """
    order = torch.randperm(len(chain_labels), generator=generator)
    if labels is None:
        if n > len(order):
            raise ValueError(f"the buffer holds {len(order)} chains, fewer than {n}")
        return order[:n]
    slots = torch.empty(n, dtype=torch.int64)
    for y in sorted(set(labels.tolist())):
        mask, candidates = labels.cpu() == y, order[chain_labels[order] == y]
        count = int(mask.sum())
        if count > len(candidates):
            raise ValueError(f"the buffer holds {len(candidates)} chains of class {y}, fewer than {count}")
        slots[mask] = candidates[:count]
    return slots


def from_recipe(recipe: Recipe, track: Track) -> ChainSampler:
    """The sampler of a recipe's ``[sampling]`` part."""
    part = recipe.sampling
    assert part is not None  # a recipe with chains but without it is refused
    origin = (ClassGaussians if part.start == "gaussian" else Uniform)(shape=track.shape, classes=track.classes)
    labelled = part.start == "gaussian" or recipe.objective.log_px_y > 0
    return ChainSampler(origin, settings=settings(recipe), buffer=part.buffer, labelled=labelled)


def settings(recipe: Recipe) -> sgld.SGLD:
    """The chain of a recipe's ``[sampling]`` part."""
    part = recipe.sampling
    assert part is not None
    return sgld.SGLD(
        part.steps,
        part.size,
        part.noise,
        clip=part.clip,
        bounds=(0.0, 1.0) if part.clamp else None,
        inner=part.inner,
        precision=part.precision,
    )
