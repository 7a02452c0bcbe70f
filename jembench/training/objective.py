r"""The objective: a weighted sum of the three log-likelihoods, and what may be added to it.

.. math::
    L = -w_1 \, \mathbb{E} \log p(y|x) - w_2 \, \mathbb{E} \log p(x) - w_3 \, \mathbb{E} \log p(x|y)
        + \lambda \, \mathbb{E} (f^+{}^2 + f^-{}^2) + \gamma \, \mathbb{E} \lVert \nabla_x f(x^+) \rVert^2
        + \eta \, \mathbb{E} H(p(y|x^+)) + \kappa \, \mathrm{SBECE}

The first line has the paper's three weights (Grathwohl et al., ICLR 2020, section 4). For a model without log Z the
gradient of :math:`-\log p(x)` is that of :math:`-(f(x^+) - f(x^-))`, data against SGLD samples; for a normalised one it
is exact. f is log p(x), or log p(x|y), without its weight: :math:`\lambda` bounds it (Du & Mordatch, NeurIPS 2019,
section 3.3), :math:`\gamma` its slope at the data. :math:`\eta` is entropy minimisation on unlabelled images
(Grandvalet & Bengio, NIPS 2004), :math:`\kappa` the soft-binned calibration error of the labelled batch (Karandikar et
al., NeurIPS 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from jembench.models.recipes import ObjectivePart
from jembench.types import Precision

BINS = 15
SOFTNESS = 0.01  # temperature of the bins' memberships, the paper's

#: What :class:`Objective` reports of a batch beside its loss, in this order.
TERMS = ("nll", "accuracy", "log_px_data", "log_px_samples", "spread")


@dataclass(frozen=True)
class Draws:
    """What one iteration is computed on.

    Attributes:
        x: labelled images ``(B, C, H, W)``.
        y: classes ``(B,)`` of the labelled images.
        positive: images ``(P, C, H, W)`` of the density's stream; None without a density in the objective.
        positive_y: classes ``(P,)`` of the positive images; None unless the objective has log p(x|y).
        negative: ends ``(L, C, H, W)`` of SGLD chains; None for an objective without contrast.
        negative_y: classes ``(L,)`` that the chains were run for; None without chains.
    """

    x: Tensor
    y: Tensor
    positive: Tensor | None = None
    positive_y: Tensor | None = None
    negative: Tensor | None = None
    negative_y: Tensor | None = None


class Objective(nn.Module):
    """The objective of a model; a module, so that torch's DDP can average its gradients.

    Args:
        model: the model in training, with ``log_conditional(x, labels)`` if the weight of log p(x|y) is above 0.
        weights: weights of the terms of the objective.
        precision: precision of the network's passes; ``bf16`` runs them under autocast.
    """

    def __init__(self, model: nn.Module, *, weights: ObjectivePart, precision: Precision = "fp32") -> None:
        super().__init__()
        self.model = model
        self.weights = weights
        self.precision = precision

    def forward(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """The loss, and the terms ``(5,)`` of :data:`TERMS`, detached; NaN where one does not apply."""
        with torch.autocast(draws.x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = draws.x.new_zeros(())
            terms = {name: loss.new_full((), torch.nan) for name in TERMS}
            if self.weights.log_py_x > 0:
                loss = loss + self._classification(draws, terms)
            if self.weights.log_px + self.weights.log_px_y > 0:
                loss = loss + self._density(draws, terms)
        return loss, torch.stack([terms[name].detach().float() for name in TERMS])

    def _classification(self, draws: Draws, terms: dict[str, Tensor]) -> Tensor:
        """-w1 log p(y|x), and what depends on p(y|x)."""
        model: Any = self.model
        weights = self.weights
        f = model.logits(draws.x).float()
        terms["nll"] = functional.cross_entropy(f, draws.y)
        terms["accuracy"] = (f.argmax(1) == draws.y).float().mean()
        terms["spread"] = _spread(f)
        loss = weights.log_py_x * terms["nll"]
        if weights.soft_ece > 0:
            loss = loss + weights.soft_ece * soft_ece(f, draws.y)
        if weights.entropy > 0:
            assert draws.positive is not None
            log_p = model.logits(draws.positive).float().log_softmax(1)
            loss = loss - weights.entropy * (log_p.exp() * log_p).sum(1).mean()
        return loss

    def _density(self, draws: Draws, terms: dict[str, Tensor]) -> Tensor:
        """-w2 log p(x) - w3 log p(x|y), up to log Z by contrast with samples, and the bounds on f."""
        weights = self.weights
        model: Any = self.model
        loss = draws.x.new_zeros(())
        if weights.log_px > 0:
            loss = loss + self._contrast(weights.log_px, lambda x, _: model.log_density(x).float(), draws, terms)
        if weights.log_px_y > 0:
            loss = loss + self._contrast(
                weights.log_px_y, lambda x, y: model.log_conditional(x, y).float(), draws, terms
            )
        return loss

    def _contrast(
        self,
        weight: float,
        log_density: Callable[[Tensor, Tensor | None], Tensor],
        draws: Draws,
        terms: dict[str, Tensor],
    ) -> Tensor:
        """-w f(x+), or -w (f(x+) - f(x-)) where there are samples, and the bounds on f."""
        assert draws.positive is not None
        weights = self.weights
        x = draws.positive.requires_grad_() if weights.gradient_penalty > 0 else draws.positive
        positive = log_density(x, draws.positive_y)
        terms["log_px_data"] = positive.mean()
        terms["spread"] = torch.fmax(terms["spread"], _spread(positive))
        loss = -weight * positive.mean()
        if draws.negative is not None:
            negative = log_density(draws.negative, draws.negative_y)
            terms["log_px_samples"] = negative.mean()
            terms["spread"] = torch.fmax(terms["spread"], _spread(negative))
            loss = loss + weight * negative.mean()
            if weights.energy_l2 > 0:
                loss = loss + weights.energy_l2 * (positive.square().mean() + negative.square().mean())
        if weights.gradient_penalty > 0:
            (slope,) = torch.autograd.grad(positive.sum(), x, create_graph=True)
            loss = loss + weights.gradient_penalty * slope.flatten(1).square().sum(1).mean()
        return loss


def _spread(values: Tensor) -> Tensor:
    """The largest standard deviation over a batch ``(B, ...)``; NaN of a single row."""
    return values.std(0).max() if len(values) > 1 else values.new_full((), torch.nan)


def soft_ece(logits: Tensor, labels: Tensor, *, bins: int = BINS, softness: float = SOFTNESS) -> Tensor:
    r"""The soft-binned calibration error of ``logits (B, K)``, differentiable (Karandikar et al., 2021, section 4).

    Confidence p belongs to bin m of centre c with :math:`u_m(p) = \mathrm{softmax}_m(-(p - c_m)^2 / T)`; the error is
    the root of the mean over bins, weighted by their members, of the squared difference of accuracy and confidence.
    """
    confidence, classes = logits.softmax(1).max(1)
    correct = (classes == labels).to(confidence)
    centres = (torch.arange(bins, device=logits.device) + 0.5) / bins
    members = (-(confidence[:, None] - centres).square() / softness).softmax(1)
    size = members.sum(0).clamp_min(1e-12)
    difference = (members * (correct - confidence)[:, None]).sum(0) / size
    return (size / len(logits) * difference.square()).sum().clamp_min(1e-12).sqrt()
