r"""Losses that an attack climbs, per example, from logits f ``(B, K)`` and labels y ``(B,)``.

- ``ce``: cross-entropy :math:`-\log p(y|x)`; flat where the softmax is saturated;
- ``margin``: :math:`\max_{k \ne y} f_k - f_y` (Carlini & Wagner, S&P 2017, without a bound), never flat;
- ``dlr``: the margin over :math:`f_{\pi_1} - f_{\pi_3}`, the difference of the largest and the third largest logit
  (Croce & Hein, ICML 2020, section 5): unchanged by the scale of the logits.

Towards a target t: ``ce`` is :math:`\log p(t|x)`, ``margin`` :math:`f_t - \max_{k \ne t} f_k`, ``dlr``
:math:`(f_t - f_y) / (f_{\pi_1} - (f_{\pi_3} + f_{\pi_4}) / 2)`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Loss = Literal["ce", "margin", "dlr"]


def margin(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """How far the goal is, ``(B,)``: below 0 where y is not predicted, or where the target is."""
    classes = (y if target is None else target)[:, None]
    other = logits.detach().scatter(1, classes, -math.inf).argmax(1, keepdim=True)
    gap = (logits.gather(1, classes) - logits.gather(1, other)).squeeze(1)
    return gap if target is None else -gap


def loss(name: Loss, logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """The loss ``(B,)`` called ``name``.

    Raises:
        ValueError: for an unknown name, or a DLR of too few classes.
    """
    if name == "ce":
        from torch.nn.functional import cross_entropy

        classes, sign = (y, 1.0) if target is None else (target, -1.0)
        return sign * cross_entropy(logits, classes, reduction="none")
    if name == "margin":
        return -margin(logits, y, target)
    if name == "dlr":
        spread = _spread(logits, targeted=target is not None)
        if target is None:
            return -margin(logits, y) / spread
        f_y, f_t = (logits.gather(1, k[:, None]).squeeze(1) for k in (y, target))
        return (f_t - f_y) / spread
    raise ValueError(f"unknown loss {name!r}")


def _spread(logits: Tensor, *, targeted: bool) -> Tensor:
    count = 4 if targeted else 3
    if logits.shape[1] < count:
        raise ValueError(f"the DLR loss needs at least {count} classes, not {logits.shape[1]}")
    top = logits.topk(count, dim=1).values
    low = top[:, 2:].mean(1)
    return (top[:, 0] - low).clamp_min(1e-12)
