r"""IGEBM: a class-conditional energy as density, sampler and classifier (Du & Mordatch, arXiv 1903.08689).

The network gives an energy per class, and the density of a class is known up to a constant *of that class*:

.. math::
    \log p(x|y) = -E(x, y) - \log Z_y

Training on p(x|y) alone leaves the Z_y free, so that softmax(-E) is no classifier yet. Bayes' rule needs one number
per class, :math:`b_y = \log p(y) - \log Z_y` up to a common constant:

.. math::
    f(x)[y] = -E(x, y) + b_y, \qquad p(y|x) = \mathrm{softmax}\, f(x), \qquad
    \log p(x) = \mathrm{logsumexp}_y f(x)[y] + \text{const}

:func:`fitted_bias` finds b by maximum likelihood of p(y|x) on validation data, a convex problem; until then b = 0, the
reading of the paper. Samples come from SGLD chains on -E(x, y) for a given class, which need no constant.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from jembench.models import chains
from jembench.models.chains import ChainSampler, EnergyModel
from jembench.models.softmax import network as network_of

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.models.recipes import Recipe
    from jembench.models.residual import ResidualEBM

# On |b|^2 / 2 beside the mean negative log likelihood: moves no b that the data determine, and lets data that can be
# separated, or a class without examples, have an optimum.
RIDGE = 1e-6


class IGEBM(EnergyModel):
    """An energy per class, whose chains climb log p(x|y).

    Args:
        network: maps normalised images to energies, by ``energy(x, y)`` and ``energies(x)``.
        classes: number of classes K.
        sampler: starts and settings of the chains, each of one class, and the persistent ones.
        mean: number, or one per channel, that is subtracted from the [0, 1] pixels.
        std: number, or one per channel, that the pixels are then divided by.
    """

    conditional = True
    network: ResidualEBM
    bias: Tensor

    def __init__(
        self,
        network: ResidualEBM,
        *,
        classes: int,
        sampler: ChainSampler,
        mean: float | tuple[float, ...] = 0.0,
        std: float | tuple[float, ...] = 1.0,
    ) -> None:
        super().__init__(network, sampler=sampler, mean=mean, std=std)
        self.classes = classes
        self.register_buffer("bias", torch.zeros(classes))

    def logits(self, x: Tensor) -> Tensor:
        """f(x) = -E(x, ·) + b, shape ``(B, K)``, of images ``(B, C, H, W)`` in [0, 1]."""
        return self.bias - self.network.energies((x - self.mean) / self.std)

    def log_conditional(self, x: Tensor, labels: Tensor) -> Tensor:
        """log p(x|y) + log Z_y = -E(x, y), shape ``(B,)``, of images ``(B, C, H, W)`` and classes ``labels (B,)``."""
        return -self.network.energy((x - self.mean) / self.std, labels)

    def fit_bias(self, logits_without_bias: Tensor, labels: Tensor) -> None:
        """Set b to :func:`fitted_bias` of ``-E (n, K)`` and the ``labels (n,)`` of validation images."""
        self.bias.copy_(fitted_bias(logits_without_bias, labels))


def fitted_bias(scores: Tensor, labels: Tensor) -> Tensor:
    r"""The b that maximises the likelihood of softmax(s + b), by Newton's method in float64.

    .. math::
        b = \arg\min_b -\tfrac{1}{n} \sum_i \log \mathrm{softmax}(s_i + b)[y_i] + \tfrac{\lambda}{2} \lVert b \rVert^2

    with the ridge of :data:`RIDGE`. The likelihood does not know a common constant, so the ridge makes sum(b) = 0.

    Args:
        scores: negative energies s = -E ``(n, K)`` of validation images.
        labels: classes y ``(n,)`` of the images.

    Returns:
        b, ``(K,)``, of the type and device of ``scores``.

    Raises:
        ValueError: without examples, for scores that are not finite, or labels that are not ``(n,)``.
    """
    if len(scores) == 0 or labels.shape != scores.shape[:1]:
        raise ValueError(f"need scores (n, K) and labels (n,), n > 0, not {tuple(scores.shape)}, {tuple(labels.shape)}")
    if not bool(scores.isfinite().all()):
        raise ValueError("the scores must be finite")
    s, y = scores.detach().cpu().double(), labels.cpu()
    frequency = torch.bincount(y, minlength=s.shape[1]).double() / len(y)

    def loss(b: Tensor) -> Tensor:
        return (s + b).logsumexp(1).mean() - s.gather(1, y[:, None]).mean() - frequency @ b + RIDGE / 2 * b @ b

    b = _start(s, frequency)
    for _ in range(100):
        p = (s + b).softmax(1)
        gradient = p.mean(0) - frequency + RIDGE * b
        step = torch.linalg.solve(torch.diag(p.mean(0) + RIDGE) - p.T @ p / len(p), gradient)
        decrement = gradient @ step
        rate = 1.0
        while decrement > 1e-20 and loss(b - rate * step) > loss(b) - rate / 4 * decrement and rate > 1e-12:
            rate /= 2
        b = b - rate * step
        if decrement < 1e-20:
            break
    return (b - b.mean()).to(scores)


def _start(s: Tensor, frequency: Tensor) -> Tensor:
    """Near the optimum, however far the constants of the classes are apart.

    Newton's method is slow where a softmax is saturated. Sinkhorn's iteration on logarithms is not: each step scales
    the mean probability of every class to its frequency, with a little for classes without examples.
    """
    target = ((frequency + 1e-4) / (1 + 1e-4 * len(frequency))).log()
    b = torch.zeros_like(frequency)
    for _ in range(50):
        b = b + target - (s + b).log_softmax(1).logsumexp(0) + math.log(len(s))
    return b - b.mean()


def from_recipe(recipe: Recipe, track: Track) -> IGEBM:
    """An untrained IGEBM with the chain and the buffer of its ``[sampling]`` part."""
    network = cast("ResidualEBM", network_of(recipe, track))  # a recipe with a network of another family is refused
    part, sampler = recipe.model, chains.from_recipe(recipe, track)
    return IGEBM(network, classes=track.classes, sampler=sampler, mean=part.mean, std=part.std)
