"""Draws: the images that a training run makes before it can take a step, adversarials and SGLD samples.

Both are made with the model in evaluation mode and its weights held fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Generator, Tensor, nn
from torch.nn import functional

from jembench.attacks.pgd import PGD, pgd
from jembench.langevin import sgld
from jembench.langevin.captured import Captured
from jembench.langevin.replay import ReplayBuffer
from jembench.models import chains
from jembench.models.chains import ChainSampler
from jembench.models.recipes import Recipe


def adversarial(model: Any, x: Tensor, y: Tensor, recipe: Recipe, generator: Generator, noise: sgld.Noise) -> Tensor:
    """The labelled batch, moved within the ball of ``[adversary]`` to where the cross-entropy is high.

    Args:
        model: the classifier.
        x: images ``(B, C, H, W)``, clamped to [0, 1] first.
        y: their classes ``(B,)``.
        recipe: with an ``[adversary]`` part.
        generator: source of the random start.
        noise: draws standard normal noise of the shape of its first argument.
    """
    assert recipe.adversary is not None
    with _fixed(model):
        return pgd(
            lambda images: functional.cross_entropy(model.logits(images), y, reduction="none"),
            x.clamp(0, 1),
            settings=PGD(**recipe.adversary.model_dump()),
            generator=generator,
            draw=noise,
        )


def continued(
    model: Any, buffer: ReplayBuffer, recipe: Recipe, generator: Generator, *, captured: Captured | None = None
) -> tuple[Tensor, Tensor]:
    """The ends ``(L, C, H, W)`` of chains from the replay buffer, stored back into it, and their classes ``(L,)``.

    Args:
        model: with chains.
        buffer: the persistent ones.
        recipe: with a ``[sampling]`` part.
        generator: of all draws.
        captured: runs the chains, on the density of ``model``; proximal ones are run without.
    """
    part = recipe.sampling
    assert part is not None
    sampler: ChainSampler = model.sampler
    start, labels, slots = buffer.draw(sampler.origin, restart=part.restart, generator=generator, relabel=part.relabel)
    settings, noise = chains.settings(recipe), buffer.share.noise_like
    wanted = labels if recipe.objective.log_px_y > 0 else None
    with _fixed(model):
        if captured is not None and settings.inner == 1:
            x = captured.chain(start, wanted, settings=settings, generator=generator, noise=noise)
        else:
            x = sampler.climb(model, start, wanted, settings=settings, generator=generator, noise=noise)
    buffer.store(slots, x, labels)
    return x, labels


@contextmanager
def _fixed(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, its trained weights without gradients for the time of the block."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def look(samples: Tensor, images: Tensor, *, clamped: bool) -> list[Tensor]:
    """Relative variance of the samples, fraction of their pixels out of range, and whether all are finite."""
    variance = samples.var(0).mean() / images.var(0).mean().clamp_min(1e-12)
    beyond = (samples <= 0) | (samples >= 1) if clamped else (samples < -1) | (samples > 2)
    return [item.detach().float().cpu() for item in (variance, beyond.float().mean(), samples.isfinite().all())]
