r"""Defences: wrappers around a model that randomise, or refine, what it is shown.

The defended model of Grathwohl et al. (ICLR 2020, section 5.4) makes ``votes`` noisy copies of an image, moves each by
n SGLD steps on the model's own log p(x), and takes the mean of their logits:

.. math::
    F(x) = \frac1V \sum_{v=1}^V f\bigl(R_n(x + \sigma \xi_v)\bigr), \qquad \xi_v \sim N(0, I).

JEM-0, JEM-1 and JEM-10 are n = 0, 1 and 10; the default noise, step and votes are the paper's, in units of [0, 1].
With n = 0 it is a noise defence, of any classifier: the control that a refinement has to beat, and with one vote the
smoothed classifier of Cohen et al. (ICML 2019) once its votes are counted.

What an attacker's gradient sees of R_n is a choice (:func:`jembench.langevin.sgld.refine`), so it is an argument of
``logits``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jembench.types import UserError, capabilities

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from jembench.langevin.sgld import Gradient


@dataclass(frozen=True)
class Defence:
    """The settings of a defence.

    Attributes:
        steps: number n of SGLD steps; 0 for a defence by input noise alone.
        sigma: standard deviation of the noise on the input, in units of the [0, 1] pixel range.
        votes: number V of copies of the image whose logits are averaged.
        size: step size a of the SGLD steps.
        noise: standard deviation of the noise of an SGLD step, in units of the [0, 1] pixel range.
    """

    steps: int
    sigma: float = 0.015
    votes: int = 5
    size: float = 0.25
    noise: float = 0.005

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UserError(f"a refinement takes at least 0 steps, not {self.steps}")
        if self.votes < 1:
            raise UserError(f"a defence needs at least 1 vote, not {self.votes}")
        if not 0 <= self.sigma <= 10 or not 0 <= self.noise <= 10 or not 0 < self.size <= 1e6:
            raise UserError(f"a defence needs noise of at least 0 and a step above 0, not {self}")

    @classmethod
    def smoothing(cls, sigma: float) -> Defence:
        """One noisy copy: the base of a smoothed classifier."""
        return cls(steps=0, sigma=sigma, votes=1)

    @property
    def title(self) -> str:
        """What it adds to a model's name: ``refine-10``, ``smooth-0.25``."""
        if self.steps == 0 and self.votes == 1:
            return f"smooth-{self.sigma:g}"
        return f"refine-{self.steps}"


class Defended:
    """A classifier behind a defence; stochastic.

    Args:
        base: model behind the defence: a classifier, and a density if the defence takes steps.
        defence: settings of the defence.

    Raises:
        UserError: if the model has no logits, or no density to climb.
    """

    stochastic = True

    def __init__(self, base: Any, defence: Defence) -> None:
        abilities = capabilities(base)
        if "classifier" not in abilities:
            raise UserError("a model without logits cannot be defended")
        if defence.steps > 0 and "density" not in abilities:
            raise UserError("a model without a density cannot be refined: SGLD climbs log p(x)")
        self.base = base
        self.defence = defence

    def logits(
        self, x: Tensor, *, generator: Generator, gradient: Gradient = "full", copies: int | None = None
    ) -> Tensor:
        """Mean logits ``(B, K)`` of the refined copies of ``x (B, C, H, W)``.

        Args:
            x: images ``(B, C, H, W)`` in [0, 1].
            generator: source of the input noise and of the noise of every SGLD step.
            gradient: what the gradient in ``x`` sees of the refinement: ``none``, ``straight-through`` or ``full``.
            copies: number of noisy copies; the defence's own votes by default.
        """
        from jembench.langevin import sgld

        defence, n = self.defence, copies or self.defence.votes
        z = x.repeat(n, *[1] * (x.ndim - 1))
        if defence.sigma > 0:
            z = z + defence.sigma * sgld.noise_like(z, generator)
        if defence.steps > 0:
            chain = sgld.SGLD(defence.steps, defence.size, defence.noise)
            z = sgld.refine(self.base.log_density, z, settings=chain, generator=generator, gradient=gradient)
        f: Tensor = self.base.logits(z)
        return f.reshape(n, len(x), -1).mean(0)

    def to(self, device: str) -> Defended:
        """The same on another device."""
        return Defended(self.base.to(device), self.defence)
