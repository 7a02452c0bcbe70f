r"""Measurement ``annealed``: log weights of annealed chains, one a row, from which log Z follows.

A row is a chain, not an image: of the batch only its size, its grey levels and the shape of its images are used. The
domain is the cube of dequantised images, half a cell beyond [0, 1] (:meth:`jembench.langevin.ais.Cube.of_levels`), and
p is what :math:`e^{f(x)}`, f the model's log density, is after normalisation **there**. The base is the uniform
distribution: the shipped energy models are at temperature 1 nearer to it than to any product fitted to images (the path
of jem is .35 long, that of igebm .12), and over the 21 to the oracle of ``gauss`` 4,000 temperatures still leave less
than .4 nat.

- ``forward``: chains from the base to the model: a lower bound of log Z.
- ``reverse``: chains from the model to the base: an upper bound if they start from the model. Those of a model that is
  normalised and draws exact samples do (``exact`` = 1). A sampler that clamps its samples to [0, 1] where the cube goes
  on is not exact, so a draw with a pixel at 0 or 1 does not count as one. An energy model has no exact samples: its
  reverse chains start from the ends of the forward chains, resampled by weight and moved on by ``settle`` steps at
  beta = 1 (``exact`` = 0). The upper bound is then as good as that equilibration: a mode that no forward chain has
  found is missing in both, and starts that share an ancestor are not independent. Training images instead are worse:
  from them a softmax classifier, read as an energy model, gave an "upper" bound 2 nats below the lower one after 200
  steps.

Temperatures and step sizes come from a pilot with chains of its own, before the measured run and from other noise; so
does the number of temperatures, ``rate`` times the squared thermodynamic length. They are kept with the forward records
and used by both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jembench.attacks.passes import ModelFacts, Passes
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator

PILOT = 64  # transitions before the measured run, as a rule
LONG = 5  # ``least`` that a path of a model takes which was not trained as a density


@dataclass(frozen=True)
class ImportanceWeights:
    """Columns ``log_weight_forward (B,)`` or ``log_weight_reverse (B,)`` in nats, and what they rest on.

    Both directions have ``acceptance (B,)``, the share of accepted steps. Forward has the ends ``end (B, D)``, the
    schedule ``betas (B, 65)`` and ``sizes (B, 65)``, and the number of ``temperatures (B,)``, the same in all
    rows of a batch; reverse has ``exact (B,)``, 0 or 1. Reverse reads the forward records as ``batch.whole[0]``.

    Attributes:
        direction: ``forward``, from the base to the model, or ``reverse``, from the model to the base.
        rate: number of temperatures per squared thermodynamic length of the path.
        least: smallest number of temperatures.
        most: largest number of temperatures.
        settle: number of steps at beta = 1 from a resampled start to the start of a reverse chain.
        check: whether a normalised density is measured too, whose log Z is known to be 0; if not, its log weights are
            NaN and cost nothing.
    """

    direction: Literal["forward", "reverse"]
    rate: float = 16
    least: int = 64
    most: int = 4000
    settle: int = 50
    check: bool = False

    name: ClassVar[str] = "annealed"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"density"})
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def title(self) -> str:
        """What people read while the chains are annealed."""
        return f"log Z, {self.direction}"

    def passes(self, facts: ModelFacts) -> Passes:
        """A gradient for each temperature and each step of the pilot, or of what comes before the reverse chains."""
        if facts.normalized and not self.check:
            return Passes()
        number = self.least if "sampler" in facts.capabilities else LONG * self.least
        before = PILOT if self.direction == "forward" else self.settle
        return Passes(before + number + 2, before + number + 2)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Anneal as many chains as the batch has rows."""
        from jembench.measurements import annealing

        skip = model.normalized and not self.check
        if self.direction == "reverse":
            return annealing.reverse(model, batch, generator, settle=self.settle, skip=skip)
        return annealing.forward(model, batch, generator, rate=self.rate, least=self.least, most=self.most, skip=skip)
