"""Draws: the images that a training run makes before it can take a step, adversarials and SGLD samples.

Both are made with the model in evaluation mode and its weights held fixed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from jembench.attacks.pgd import pgd
from jembench.langevin import sgld
from jembench.langevin.replay import ReplayBuffer
from jembench.models import chains
from jembench.models.chains import ChainSampler, Energy
from jembench.models.recipes import Recipe


def adversarial(model: Any, x: Tensor, y: Tensor, recipe: Recipe, generator: Generator, noise: sgld.Noise) -> Tensor:
    """The labelled batch, moved within the ball of ``[adversary]`` to where the cross-entropy is high.

    Args:
        model: the classifier in training.
        x: labelled images ``(B, C, H, W)``, clamped to [0, 1] first.
        y: classes ``(B,)`` of the images.
        recipe: the recipe, with an ``[adversary]`` part.
        generator: generator of the random starts within the ball.
        noise: function that draws standard normal noise of the shape of its first argument.
    """
    assert recipe.adversary is not None
    with _fixed(model):
        return pgd(
            lambda images: functional.cross_entropy(model.logits(images), y, reduction="none"),
            x.clamp(0, 1),
            **recipe.adversary.model_dump(),
            generator=generator,
            draw=noise,
        )


class GraphedEnergy:
    """The densities of a model as CUDA graphs, for chains that all have one shape.

    A step launches hundreds of kernels, and of small images a GPU is done with one before the processor has launched
    the next; a graph launches all at once. Torch captures a density and its gradient when they are first asked for, and
    replays them on the weights where they lay then: whatever trains these must change them in place.

    Args:
        model: the model whose densities are captured. One that cannot be is run as it is, and a warning says so.
    """

    def __init__(self, model: Energy) -> None:
        self._model = model
        self._graphs: dict[str, Callable[..., Tensor]] = {}

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) up to a constant, ``(B,)``."""
        return self._replayed("log_density", x)

    def log_conditional(self, x: Tensor, labels: Tensor) -> Tensor:
        """log p(x|y) up to a constant per class, ``(B,)``."""
        return self._replayed("log_conditional", x, labels)

    def _replayed(self, name: str, x: Tensor, *labels: Tensor) -> Tensor:
        if name not in self._graphs:
            self._graphs[name] = _graphed(getattr(self._model, name), x, *labels)
        return self._graphs[name](x, *labels)


def _graphed(density: Callable[..., Tensor], x: Tensor, *labels: Tensor) -> Callable[..., Tensor]:
    """``density`` with graphs of its forward and backward pass; itself, if it does what a graph cannot hold."""
    sample = (x.detach().clone().requires_grad_(), *(y.clone() for y in labels))  # a graph keeps them as its buffers
    kind = x.device.type
    # A cast that is cached belongs to the pass that made it: a replay must cast the weights of its own time.
    half = torch.autocast(kind, torch.bfloat16, enabled=torch.is_autocast_enabled(kind), cache_enabled=False)
    try:
        with torch.cuda.device_of(x), half:  # type: ignore[no-untyped-call]
            return cast("Callable[..., Tensor]", torch.cuda.make_graphed_callables(density, sample))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"an SGLD step cannot be captured, chains are run without: {reason}", stacklevel=2)
        return density


def continued(
    model: Any, buffer: ReplayBuffer, recipe: Recipe, generator: Generator, *, energy: Energy | None = None
) -> tuple[Tensor, Tensor]:
    """The ends ``(L, C, H, W)`` of chains from the replay buffer, stored back into it, and their classes ``(L,)``.

    Args:
        model: the model in training, with a sampler by chains.
        buffer: the persistent chains.
        recipe: the recipe, with a ``[sampling]`` part.
        generator: generator of the choice of chains, of the restarts and of the noise.
        energy: object whose densities, those of ``model``, the chains climb; None for the model itself.
    """
    part = recipe.sampling
    assert part is not None
    sampler: ChainSampler = model.sampler
    start, labels, slots = buffer.draw(sampler.origin, restart=part.restart, generator=generator, relabel=part.relabel)
    settings, noise = chains.settings(recipe), buffer.share.noise_like
    targets = labels if recipe.objective.log_px_y > 0 else None
    with _fixed(model):
        x = chains.climb(energy or model, start, targets, settings=settings, generator=generator, noise=noise)
    buffer.store(slots, x, labels)
    return x, labels


@contextmanager
def _fixed(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, its trained weights without gradients for the time of the block."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in weights:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in weights:
            parameter.requires_grad_(True)


def look(samples: Tensor, images: Tensor, *, clamped: bool) -> list[Tensor]:
    """Relative variance of the samples, fraction of their pixels out of range, and whether all are finite."""
    variance = samples.var(0).mean() / images.var(0).mean().clamp_min(1e-12)
    beyond = (samples <= 0) | (samples >= 1) if clamped else (samples < -1) | (samples > 2)
    return [signal.detach().float().cpu() for signal in (variance, beyond.float().mean(), samples.isfinite().all())]
