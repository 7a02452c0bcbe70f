r"""Measurement ``trajectory``: what happens along a fresh chain, up to twenty times as long as those of the training.

With K the chain's own number of steps, the states at 0, K, 5 K and 20 K steps are kept as images. At the times of
:func:`times` (eight in the first K steps, then every K) the log density is recorded, and the class that the model
itself sees. The chains are those of :mod:`jembench.measurements.samples`, never restarted, and clamped only to be
looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.attacks.passes import ModelFacts, Passes
from jembench.measurements.contract import costs
from jembench.measurements.logits import logits
from jembench.measurements.samples import classes
from jembench.types import Batch, Capability, capabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

MARKS = (0, 1, 5, 20)  # in units of K
FINE = 8  # times within the first K steps


def times(steps: int) -> list[int]:
    """The steps at which a chain of K = ``steps`` is looked at, ascending, each once.

    >>> times(2)
    [0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40]
    """
    within = {round(steps * j / FINE) for j in range(FINE + 1)}
    return sorted(within | {steps * j for j in range(1, MARKS[-1] + 1)})


@dataclass(frozen=True)
class Trajectory:
    """Columns ``image_0``, ``image_1``, ``image_5``, ``image_20 (B, D)``, clamped, at 0, K, 5 K, 20 K steps.

    Further ``steps (B,)``, the chain's K; ``log_density (B, T)`` at the T times of :func:`times`, and ``seen (B, T)``,
    the class with the largest logit, -1 if the model has none. A chain that is not finite any more stays so.
    """

    name: ClassVar[str] = "trajectory"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "long chains"
    requires: ClassVar[frozenset[Capability]] = frozenset({"density", "sampler", "chain"})
    finite: ClassVar[frozenset[str]] = frozenset()

    def passes(self, facts: ModelFacts) -> Passes:
        """A gradient for each of 20 K steps, and two forward passes at each time."""
        steps, looks = MARKS[-1] * facts.steps, 2 * len(times(facts.steps))
        return Passes(steps + looks, steps)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Run the chains from look to look."""
        import torch

        count, steps = len(batch.index), model.chain.steps
        y = classes(model, batch, conditional=False)
        x = model.sample(count, generator=generator, labels=y, steps=0)
        marks: dict[int, Tensor] = {}
        density, predictions, now = [], [], 0
        able = "classifier" in capabilities(model)
        for at in times(steps):
            if at > now:
                x = model.advance(
                    x, generator=generator, labels=y, settings=replace(model.chain, steps=at - now)
                ).detach()
                now = at
            pixels = x.clamp(0, 1)
            marks |= {mark: pixels for mark in MARKS if mark * steps == at}
            with torch.no_grad():
                density.append(model.log_density(pixels))
            predictions.append(logits(model, pixels, generator).argmax(1) if able else torch.full((count,), -1))
        return {
            **{f"image_{mark}": image.flatten(1).float().cpu().numpy() for mark, image in marks.items()},
            "steps": np.full(count, steps, dtype=np.int32),
            "log_density": torch.stack(density, 1).float().cpu().numpy(),
            "seen": torch.stack(predictions, 1).cpu().numpy().astype(np.int32),
            **costs(count, now + 2 * len(density), now),
        }
