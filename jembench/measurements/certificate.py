r"""Measurement ``certificate``: in which L2 ball can nobody change the class of the smoothed model?

Randomised smoothing (Cohen et al., ICML 2019, algorithm 2) of any classifier: ``selection`` noisy draws choose the
class by majority, ``draws`` fresh ones bound its probability from below, and :mod:`jembench.metrics.certification`
turns the bound into a radius, in units of the [0, 1] pixel range. It is wrong with probability at most ``alpha`` an
example. The noise is not clamped to [0, 1]: the theorem is about Gaussian noise.

The certificate is of the smoothed classifier, not of the model itself. A model behind a defence that is nothing but
noise is that smoothed classifier already, so its base is smoothed, by the same noise; any other stochastic model is
smoothed with its own noise inside, anew in every draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.attacks.defences import Defended
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.measurements.attacked import metered
from jembench.metrics import certification
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from jembench.attacks.victim import Victim

ROWS = 2000  # of a pass through the network, where an image has as many draws


@dataclass(frozen=True)
class Certificate:
    """Columns ``predicted (B,)``, the class; ``radius (B,)``, 0 where it abstains; ``abstained (B,)``.

    Attributes:
        sigma: standard deviation of the noise, in units of the [0, 1] pixel range.
        selection: draws that choose the class.
        draws: further draws that bound its probability.
        alpha: probability of a wrong certificate.
    """

    sigma: float
    selection: int = 100
    draws: int = 1000
    alpha: float = 0.001

    name: ClassVar[str] = "certificate"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if not self.sigma > 0 or self.selection < 1 or self.draws < 1 or not 0 < self.alpha < 1:
            raise ValueError(f"a certificate needs noise, draws and alpha in (0, 1), not {self}")

    @property
    def title(self) -> str:
        """The smoothed classifier, for people."""
        return f"certificate sigma {self.sigma:.3g}"

    def passes(self, facts: ModelFacts) -> Passes:
        """A query for each draw."""
        return times(facts.query(), self.selection + self.draws)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Choose, then bound.

        Raises:
            ValueError: for a noise defence of another sigma.
        """
        from jembench.attacks.victim import Victim

        x = batch.images
        victim = Victim(self._smoothed(model), generator=generator)
        classes = self._counts(victim, x, self.selection, generator).argmax(1)
        counts = self._counts(victim, x, self.draws, generator).gather(1, classes[:, None]).squeeze(1)
        radius = certification.radii(counts.cpu().numpy(), self.draws, sigma=self.sigma, alpha=self.alpha)
        return {
            "predicted": classes.cpu().numpy(),
            "radius": radius,
            "abstained": (radius == 0).astype(np.int32),
            **metered(len(x), victim.meter),
        }

    def _smoothed(self, model: Any) -> Any:
        """The model that is smoothed: without a defence that is nothing but this noise."""
        if not isinstance(model, Defended) or model.defence.steps > 0 or model.defence.votes > 1:
            return model
        if model.defence.sigma != self.sigma:
            raise ValueError(
                f"the defence is noise of sigma {model.defence.sigma:g}: it has no certificate of sigma {self.sigma:g}"
            )
        return model.base

    def _counts(self, victim: Victim, x: Tensor, draws: int, generator: Generator) -> Tensor:
        """How many of the noisy draws are of each class, ``(B, K)``; one whose logits are NaN is of none."""
        from jembench.langevin import sgld

        counts: Tensor | None = None
        remainder = draws
        while remainder > 0:
            n = min(remainder, max(1, ROWS // len(x)))
            z = x.repeat(n, *[1] * (x.ndim - 1))
            f = victim.answers(z + self.sigma * sgld.noise_like(z, generator))
            votes = f.new_zeros(f.shape).long().scatter(1, f.argmax(1, keepdim=True), 1)
            votes[f.isnan().any(1)] = 0
            tally = votes.reshape(n, len(x), -1).sum(0)
            counts = tally if counts is None else counts + tally
            remainder -= n
        assert counts is not None
        return counts
