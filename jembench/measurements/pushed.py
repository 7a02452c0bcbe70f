r"""View ``pushed``: images that an adversary makes look in-distribution, or out of it, to a score.

Projected gradient ascent (:func:`jembench.attacks.pgd.climb`) within a ball of the [0, 1] pixel range on

.. math::
    \pm \log p(x) \qquad\text{or}\qquad
    \pm \bigl( f(x)[\hat y] - \mathrm{logsumexp}_{y \ne \hat y} f(x)[y] \bigr),

the second the log odds of :math:`\max_y p(y|x)`, which do not saturate where that does. Upwards for OOD images,
downwards for test images: the attack knows the score that it is judged by. It starts at the image itself, its steps
shrink by half a cosine, and of all iterates the best by the score is kept, the image itself among them: an attack never
helps the defender.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jembench.attacks.passes import ModelFacts, Passes
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from torch import Generator, Tensor

#: The scores that can be attacked, by what the model must be able to do.
ATTACKED: dict[str, Capability] = {"log_px": "density", "max_py": "classifier"}


@dataclass(frozen=True)
class Pushed:
    """An attack on a score.

    Attributes:
        score: name of the score that is attacked, a key of :data:`ATTACKED`.
        inwards: whether the images are moved to score high, as OOD images are, or low, as test images are.
        norm: norm of the ball around each image.
        eps: radius of the ball, in units of the [0, 1] pixel range.
        steps: number of steps of the ascent.
    """

    score: str
    inwards: bool
    norm: str
    eps: float
    steps: int = 20
    kind: str = field(default="pushed", init=False)
    version: int = field(default=1, init=False)

    @property
    def requires(self) -> frozenset[Capability]:
        """The capability of the model that gives the score."""
        return frozenset({ATTACKED[self.score]})

    @property
    def title(self) -> str:
        """Such as ``log_px pushed in``."""
        return f"{self.score} pushed {'in' if self.inwards else 'out'}"

    def passes(self, facts: ModelFacts) -> Passes:
        """A gradient for each step, and a pass at the end."""
        return Passes(self.steps + 1, self.steps)

    def apply(self, model: Any, batch: Batch, generator: Generator) -> tuple[Tensor, int, int]:
        """The best images of the ascent."""
        import torch

        from jembench.attacks.pgd import climb, decayed
        from jembench.attacks.victim import Victim

        x = batch.images
        victim = Victim(model, generator=generator)
        best, highest = x.clone(), torch.full((len(x),), -torch.inf, device=x.device)
        now = highest

        def merit(images: Tensor) -> Tensor:
            nonlocal now
            if self.score == "log_px":
                value = victim.log_density(images)
            else:
                f = victim(images)
                top = f.argmax(1, keepdim=True)
                value = f.gather(1, top).squeeze(1) - f.scatter(1, top, -torch.inf).logsumexp(1)
            value = value if self.inwards else -value
            now = value.detach()
            return value

        def keep(images: Tensor) -> None:
            nonlocal best, highest
            better = now > highest
            best = torch.where(better.reshape(-1, 1, 1, 1), images.detach(), best)
            highest = torch.where(better, now, highest)

        def watch(images: Tensor, gradient: Tensor) -> None:
            keep(images)

        sizes = [self.eps * share for share in decayed(self.steps)]
        end = climb(merit, x, x.clone(), norm=self.norm, eps=self.eps, sizes=sizes, watch=watch)  # type: ignore[arg-type]
        with torch.no_grad():
            merit(end)
            keep(end)
        return best, victim.meter.forwards, victim.meter.gradients
