"""Passes: what a measurement asks of a network, before anybody asks it; estimates of time are made of it.

No number of a result depends on anything here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from jembench.types import Capability

SURVIVAL = 3  # exponent of a radius, see :meth:`ModelFacts.survival`


class Passes(NamedTuple):
    """What an example typically takes.

    Attributes:
        forwards: rows through the network, as the column ``forwards`` counts them.
        gradients: rows back through it, as ``gradients`` counts them.
        calls: passes one after another of a batch, however few of its rows are left: of one row each is a third as
            long as of fifty. ``None`` where all rows go together, so that there are as many as an example has.
        seconds: beside the network, on one core.
    """

    forwards: float = 0.0
    gradients: float = 0.0
    calls: float | None = None
    seconds: float = 0.0

    def __add__(self, other: object) -> Passes:
        """Both, one after the other."""
        if not isinstance(other, Passes):
            return NotImplemented
        return Passes(
            self.forwards + other.forwards,
            self.gradients + other.gradients,
            None if self.calls is None and other.calls is None else self.sequence + other.sequence,
            self.seconds + other.seconds,
        )

    @property
    def sequence(self) -> float:
        """The number of passes one after another."""
        return max(self.forwards, self.gradients) if self.calls is None else self.calls


@dataclass(frozen=True)
class ModelFacts:
    """What the passes of a measurement depend on besides its settings.

    Attributes:
        capabilities: what the model can do.
        normalized: whether its log density is normalised.
        steps: K, the steps of a chain of its training.
        robust: share of images that a short PGD leaves right within the headline radii.
        headlines: norm -> headline radius of the track.
        pixels: numbers in an image.
        stochastic: whether its logits draw noise.
        votes: copies behind a query of a defended model.
        refinement: SGLD steps of its defence.
    """

    capabilities: frozenset[Capability] = frozenset()
    normalized: bool = False
    steps: int = 20
    robust: float = 0.3
    headlines: Mapping[str, float] = field(default_factory=dict)
    pixels: int = 64
    stochastic: bool = False
    votes: int = 1
    refinement: int = 0

    def survival(self, norm: str, eps: float) -> float:
        r"""Share of the images that an attack leaves right, :math:`s^{(\epsilon / \epsilon_0)^3}`.

        s is that at the headline radius :math:`\epsilon_0`. The exponent was fitted on jem and softmax of digits.
        """
        share = self.robust ** ((eps / self.headlines.get(norm, eps)) ** SURVIVAL) if self.robust > 0 else 0.0
        return float(share)

    def query(self, copies: int | None = None, *, gradient: bool = False) -> Passes:
        """Of one query, through the refinement of a defence and back where a gradient is asked for."""
        n = copies or self.votes
        return Passes(n * (self.refinement + 1), n * (self.refinement + gradient))


def times(passes: Passes, number: float) -> Passes:
    """As many of them, one after the other."""
    calls = None if passes.calls is None else passes.calls * number
    return Passes(passes.forwards * number, passes.gradients * number, calls, passes.seconds * number)
