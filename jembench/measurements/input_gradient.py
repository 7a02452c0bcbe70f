r"""Measurement ``input_gradient``: log p(x) and the L2 norm of its gradient at every example.

The norm :math:`\lVert \partial \log p(x) / \partial x \rVert_2` is taken over all pixels of the [0, 1] range, in nats
per unit; minus it is the approximate mass of Grathwohl et al. (ICLR 2020, section 5.3.2). It does not depend on the
normalising constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jembench.attacks.passes import ModelFacts, Passes
from jembench.measurements.contract import costs
from jembench.types import Batch, Capability, UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator


@dataclass(frozen=True)
class InputGradient:
    """Columns ``log_density (B,)`` and ``gradient_norm (B,)``."""

    name: ClassVar[str] = "input_gradient"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"density"})
    finite: ClassVar[frozenset[str]] = frozenset()

    def passes(self, facts: ModelFacts) -> Passes:
        """A forward pass and a gradient."""
        return Passes(1, 1)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """One forward pass and one gradient.

        Raises:
            UserError: if the log density is not differentiable in the images.
        """
        import torch

        with torch.enable_grad():
            x = batch.images.detach().requires_grad_()
            density = model.log_density(x)
            gradient = None
            if density.requires_grad:
                (gradient,) = torch.autograd.grad(density.sum(), x, allow_unused=True)
        if gradient is None:
            raise UserError("the model's log density has no gradient at the images: does torch.no_grad hide it?")
        return {
            "log_density": density.detach().float().cpu().numpy(),
            "gradient_norm": gradient.float().flatten(1).norm(dim=1).cpu().numpy(),
            **costs(len(x), 1, 1),
        }
