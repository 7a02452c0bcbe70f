r"""Measurement ``attacked``: one attack on every example, and what its images really do.

The attack crafts; :func:`jembench.attacks.verify.verify` judges, on draws of its own. Where it builds on other
records, their adversarials are starting points (the rungs of a ladder) or candidates (transfer); and with ``carried``
the first of them is the same attack in a smaller ball, whose successes are successes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.attacks.contract import Attack, Crafted, Task
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.attacks.threat import TITLES, Threat, targets
from jembench.types import Batch, Capability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from jembench.attacks.victim import Meter

NEARER = 0.7  # of a radius: where a ball is carried from, as a rule
UNDECLARED = Passes(20, 10)  # of an attack that does not say


@dataclass(frozen=True)
class AttackOutcome:
    """Columns of :meth:`jembench.attacks.verify.Verified.columns`, and what the attack says and costs.

    ``claimed (B,)``: whether the attack says that it succeeded, -1 if it says nothing. ``zero`` and ``broken (B,)``:
    share of its gradients that were 0 everywhere, or not finite; NaN if it takes none. ``queries`` besides ``forwards``
    and ``gradients``: rows that it asked for.

    Attributes:
        attack: the attack that crafts the adversarials.
        threat: the threat model: the ball of the adversarials, and what counts as success.
        draws: fresh draws of a stochastic model behind the verdict.
        carried: whether what the first given record broke counts as broken, where the model is deterministic.
    """

    attack: Attack
    threat: Threat
    draws: int = 1
    carried: bool = False

    name: ClassVar[str] = "attacked"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})
    finite: ClassVar[frozenset[str]] = frozenset()

    @property
    def title(self) -> str:
        """Attack and ball, for people."""
        return f"{self.attack.name} {TITLES[self.threat.norm]} {self.threat.eps:.3g}"

    def passes(self, facts: ModelFacts) -> Passes:
        """Of the attack and of its verdict."""
        declared = getattr(self.attack, "passes", None)
        crafting = UNDECLARED if declared is None else declared(self.threat.norm, self.threat.eps, facts)
        verdict = times(facts.query(), self.draws)
        if not self.carried or facts.stochastic:
            return crafting + verdict
        return times(crafting, facts.survival(self.threat.norm, NEARER * self.threat.eps)) + verdict

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Craft, then verify."""
        import torch

        from jembench.attacks.verify import verify
        from jembench.attacks.victim import Victim

        x, y = batch.images, batch.labels
        target = aimed(self.threat, model, batch, generator)
        attack = self.attack
        victim = Victim(
            model, generator=generator, copies=attack.copies, gradient=attack.gradient, precision=attack.precision
        )
        starts = given_images(batch)
        rows = torch.arange(len(x), device=x.device)
        first = batch.given[0] if batch.given else None
        if self.carried and first is not None and not victim.stochastic:
            rows = torch.from_numpy(first["vote"] == 1).to(x.device).nonzero().squeeze(1)
        stream = ("attack", *torch.randint(2**31, (4,), generator=generator).tolist())
        task = Task(
            x[rows],
            y[rows],
            None if target is None else target[rows],
            self.threat,
            tuple(start[rows] for start in starts),
            generator,
            stream,
        )
        attempt = attack.perturb(victim, task) if len(rows) else Crafted(task.x)
        images = starts[0].clone() if len(rows) < len(x) else x.clone()
        images[rows] = attempt.images.to(images)
        verdict = verify(model, x, y, images, threat=self.threat, target=target, draws=self.draws, generator=generator)
        return {
            **verdict.columns(),
            "claimed": _spread(attempt.claimed, rows, len(x), -1, elsewhere=1).astype(np.int32),
            "zero": _spread(attempt.zero, rows, len(x), np.nan),
            "broken": _spread(attempt.broken, rows, len(x), np.nan),
            "queries": shared(victim.meter.queries, len(x)),
            **metered(len(x), victim.meter, verdict.meter),
        }


def given_images(batch: Batch) -> tuple[Tensor, ...]:
    """The adversarials ``(B, C, H, W)`` of the given records that hold one for every example."""
    x = batch.images
    return tuple(
        x.new_tensor(columns["adversarial"]).reshape(x.shape)
        for columns in batch.given
        if columns is not None and len(columns["adversarial"]) == len(x)
    )


def aimed(threat: Threat, model: Any, batch: Batch, generator: Generator) -> Tensor | None:
    """The classes ``(B,)`` that a targeted threat aims at, by the logits of the model without its defence."""
    from jembench.attacks.victim import Victim

    if threat.goal == "untargeted":
        return None
    logits = Victim(model, generator=generator, gradient="none").answers(batch.images)
    return targets(threat.goal, logits, batch.labels, batch.index)


def metered(rows: int, *meters: Meter) -> dict[str, NDArray[np.int64]]:
    """Columns ``forwards`` and ``gradients (B,)``: the counts of the meters, shared evenly by the examples."""
    return {
        "forwards": shared(sum(meter.forwards for meter in meters), rows),
        "gradients": shared(sum(meter.gradients for meter in meters), rows),
    }


def shared(total: int, rows: int) -> NDArray[np.int64]:
    """A cost of a batch, shared evenly by its examples: whole numbers that sum to ``total``."""
    edges = np.arange(rows + 1, dtype=np.int64) * total // max(rows, 1)
    return np.diff(edges)


def _spread(
    values: Tensor | None, rows: Tensor, count: int, unknown: float, *, elsewhere: float = 0.0
) -> NDArray[np.float32]:
    """Values of the attacked rows among all rows; ``unknown`` where the attack says nothing."""
    column = np.full(count, unknown if values is None else elsewhere, dtype=np.float32)
    if values is not None:
        column[rows.cpu().numpy()] = values.float().cpu().numpy()
    return column
