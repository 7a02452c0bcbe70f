r"""Measurement ``samples``: images that a model generates, one for every row of the source ``chains``.

Where they come from is part of every number that is made of them:

- ``fresh`` chains from where the model's chains start (noise, or class Gaussians), as long as those of its training;
- the ``buffer``: the persistent chains of the training as they lie, each at most once, in a fixed random order;
- ``conditional`` chains on log p(x|y), of the classes in turn;
- of an exact sampler (a flow), exact samples.

The temperature of a chain with step a and noise s is :math:`T = s^2 / (2a)` (:mod:`jembench.langevin.sgld`); a given
one sets s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.attacks.passes import ModelFacts, Passes
from jembench.ground import seeding
from jembench.measurements.contract import LATER, costs
from jembench.measurements.logits import logits
from jembench.types import Batch, Capability, Start, capabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from jembench.langevin.sgld import SGLD


@dataclass(frozen=True)
class Samples:
    """Columns ``image (B, D)``, clamped to [0, 1]; ``asked (B,)``, the class asked for or -1; ``confidence (B,)``.

    The confidence is the model's own max p(y|x) of the image, NaN if it is no classifier. Rows beyond the end of a
    buffer are NaN, and not ``there (B,)``. ``steps`` and ``temperature (B,)`` are those of the chain; 0 and NaN where
    none was run.

    Attributes:
        start: where the samples come from: ``fresh`` chains, or the ``buffer`` of the training.
        conditional: whether each row is sampled for a class of its own, the label of the row.
        steps: number of steps of a chain; None for that of the training.
        temperature: temperature T of a chain; None for that of the training.
        classified: whether the class that the model sees is recorded too, ``seen (B,)``, -1 if it is no classifier.
    """

    start: Start = "fresh"
    conditional: bool = False
    steps: int | None = None
    temperature: float | None = None
    classified: bool = field(default=False, metadata=LATER)

    name: ClassVar[str] = "samples"
    version: ClassVar[int] = 2
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def requires(self) -> frozenset[Capability]:
        """A sampler; of the buffer one by chains, of classes one that is a classifier too."""
        abilities: set[Capability] = {"sampler"}
        if self.start == "buffer":
            abilities.add("chain")
        if self.conditional:
            abilities.add("classifier")
        return frozenset(abilities)

    @property
    def title(self) -> str:
        """What people read while the samples are made."""
        return f"samples, {'conditional' if self.conditional else self.start}"

    def passes(self, facts: ModelFacts) -> Passes:
        """A gradient for each step of a chain; a pass for the confidence of a classifier."""
        chained = "chain" in facts.capabilities and self.start != "buffer"
        steps = (facts.steps if self.steps is None else self.steps) * chained
        return Passes(steps + ("classifier" in facts.capabilities), steps)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Draw them, and ask the model what it makes of them."""
        import torch

        count = len(batch.index)
        steps, temperature = 0, np.nan
        there = np.ones(count, dtype=bool)
        y: Tensor | None
        if self.start == "buffer":
            x, y, present = _persistent(model, batch)
            there = present.cpu().numpy()
        elif "chain" in capabilities(model):
            y = classes(model, batch, conditional=self.conditional)
            x = model.sample(count, generator=generator, labels=y, steps=0)
            settings = tempered(model.chain, steps=self.steps, temperature=self.temperature)
            x = model.advance(x, generator=generator, labels=y, settings=settings)
            steps, temperature = settings.steps, settings.temperature
        else:
            y = classes(model, batch, conditional=self.conditional)
            x = model.sample(count, generator=generator, labels=y)
        x = x.detach().clamp(0, 1)
        confidence, predictions = torch.full((count,), torch.nan), torch.full((count,), -1)
        able = "classifier" in capabilities(model)
        if able:
            f = logits(model, x, generator)
            confidence, predictions = f.softmax(1).amax(1), f.argmax(1)
        return {
            "image": x.flatten(1).float().cpu().numpy(),
            "there": there,
            "asked": (torch.full((count,), -1) if y is None else y).cpu().numpy().astype(np.int64),
            "confidence": confidence.float().cpu().numpy(),
            **({"seen": predictions.cpu().numpy().astype(np.int64)} if self.classified else {}),
            "steps": np.full(count, steps, dtype=np.int32),
            "temperature": np.full(count, temperature, dtype=np.float32),
            **costs(count, steps + able, steps),
        }


def classes(model: Any, batch: Batch, *, conditional: bool) -> Tensor | None:
    """The classes ``(B,)`` that samples are drawn for: none, unless they are asked for or the model needs some."""
    return batch.labels if conditional or getattr(model, "conditional", False) else None


def tempered(chain: SGLD, *, steps: int | None, temperature: float | None) -> SGLD:
    """A chain with another length or temperature: s = sqrt(2 a T)."""
    if steps is not None:
        chain = replace(chain, steps=steps)
    if temperature is not None:
        chain = replace(chain, noise=math.sqrt(2 * chain.size * temperature))
    return chain


def _persistent(model: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The persistent chains of these rows, their classes where these mean something, and where there are any."""
    chains, classes = model.persistent()
    order = batch.index.new_tensor(seeding.permutation("buffer", n=len(chains)))
    there = batch.index < len(chains)
    x = chains.new_full((len(there), *chains.shape[1:]), math.nan)
    y = classes.new_full((len(there),), -1)
    slots = order[batch.index[there]].to(chains.device)
    x[there], y[there] = chains[slots], classes[slots]
    return x, y, there
