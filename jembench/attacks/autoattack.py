"""AutoAttack (Croce & Hein, ICML 2020, arXiv 2003.01690), by pyautoattack.

``standard`` runs APGD on the cross-entropy, targeted APGD on the DLR loss, targeted FAB (9 classes each) and Square
with 5,000 queries, in turn, each on the examples that the ones before it left: for a deterministic model. ``rand`` runs
APGD on cross-entropy and DLR with the mean gradient of 20 draws: for a stochastic one, here with one noisy copy behind
every draw.

The images of a task are one batch, and pyautoattack gets one seed, from the task's stream: so the images are those of a
bare pyautoattack with the same seed, batch and number of threads, to the last bit.

With fewer than 10 classes, K - 1 of them are targets. The targeted DLR loss needs 4 classes and the plain one 3: where
there are fewer, the attacks on it are left out.

:class:`Square` alone (Andriushchenko et al., ECCV 2020, arXiv 1912.00049) is a black-box attack: random squares are
kept where they lower the margin. It stops at the first query that is misclassified; of a stochastic victim, that may be
luck.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.losses import margin
from jembench.types import Norm, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision

Version = Literal["standard", "rand"]

NORMS: dict[str, str] = {"linf": "Linf", "l2": "L2"}
NEEDS = {"apgd-t": 4, "apgd-dlr": 3}  # classes, by the DLR loss


@dataclass(frozen=True)
class AutoAttack:
    """The ensemble.

    Attributes:
        version: ``standard`` for a deterministic victim, ``rand`` for a stochastic one.
        gradient: what the attack's gradient sees of a refinement: ``none``, ``straight-through`` or ``full``.
        name: ``autoattack`` or ``autoattack-rand``.
    """

    version: Version = "standard"
    gradient: Gradient = "full"
    name: str = field(default="", init=False)
    copies: int | None = field(default=None, init=False)
    precision: Precision = field(default="fp32", init=False)
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=False, init=False)
    white: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.version not in ("standard", "rand"):
            raise UserError(f"AutoAttack has the versions standard and rand, not {self.version!r}")
        rand = self.version == "rand"
        object.__setattr__(self, "name", "autoattack-rand" if rand else "autoattack")
        object.__setattr__(self, "copies", 1 if rand else None)  # rand averages over draws of its own

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The adversarials of the first attack that broke each example; the clean image where none did."""
        from jembench.attacks.thirdparty import borrowed, check

        check(self, task)
        if victim.stochastic != (self.version == "rand"):
            kind, right = ("stochastic", "autoattack-rand") if victim.stochastic else ("deterministic", "autoattack")
            raise UserError(f"attack {self.name!r} is not for a {kind} model: use {right!r}")
        with borrowed(self, task):
            attack = self._built(victim, task)
            images, predictions = attack.run_standard_evaluation(task.x.clone(), task.y.clone(), batch_size=len(task.x))
            return Crafted(images.detach(), predictions != task.y)

    def _built(self, victim: Victim, task: Task) -> Any:
        from jembench.attacks.thirdparty import Shielded, seed

        model, norm = Shielded(victim), NORMS[task.threat.norm]
        arguments = {"eps": task.threat.eps, "norm": norm, "seed": seed(task), "version": self.version}
        attack = import_module("pyautoattack").AutoAttack(model, device=task.x.device, **arguments)
        classes = model(task.x[:1]).shape[1]
        if classes < 10:
            attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = classes - 1
        attack.attacks_to_run = [part for part in attack.attacks_to_run if NEEDS.get(part, 0) <= classes]
        return attack


STANDARD, RAND = partial(AutoAttack, version="standard"), partial(AutoAttack, version="rand")


@dataclass(frozen=True)
class Square:
    """The black-box part.

    Attributes:
        queries: largest number of queries for an image.
        copies: number of noisy copies behind a query of a stochastic victim; None for the defence's own votes.
    """

    queries: int = 1000
    copies: int | None = None
    name: str = field(default="square", init=False)
    gradient: Gradient = field(default="full", init=False)
    precision: Precision = field(default="fp32", init=False)
    norms: tuple[Norm, ...] = field(default=("linf", "l2"), init=False)
    targeted: bool = field(default=True, init=False)
    white: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise UserError(f"attack 'square' needs at least 1 query, not {self.queries}")

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """The images of the lowest margin that its queries have seen."""
        import torch

        from jembench.attacks.thirdparty import Shielded, borrowed, check, seed

        check(self, task)
        classes = task.y if task.target is None else task.target
        with borrowed(self, task):
            attack = _square()(
                Shielded(victim),
                norm=NORMS[task.threat.norm],
                n_queries=self.queries,
                eps=task.threat.eps,
                targeted=task.target is not None,
                device=task.x.device,
            )
            attack.init_hyperparam(task.x)
            images = task.x.clone()
            rows = _misses(victim, task, images)
            if len(rows):
                torch.manual_seed(seed(task))
                # Its method `perturb` would ask a stochastic victim once more, and forget what is not broken twice.
                _, images[rows] = attack.attack_single_run(task.x[rows].clone(), classes[rows].clone())
            claims = torch.ones_like(task.y, dtype=torch.bool)
            claims[_misses(victim, task, images)] = False
            return Crafted(images.detach(), claims)


def _square() -> Any:
    """pyautoattack's attack, where a margin of exactly 0 is a success: its own loop ends in an error there."""
    kind: Any = import_module("pyautoattack.square").SquareAttack

    class ZeroMarginSquare(kind):  # type: ignore[misc]
        def margin_and_loss(self, x: Tensor, y: Tensor) -> Any:
            margins, losses = super().margin_and_loss(x, y)
            return margins.where(margins > 0, margins.nan_to_num(0.0).clamp_max(-1e-12)), losses

    return ZeroMarginSquare


def _misses(victim: Victim, task: Task, images: Tensor) -> Tensor:
    """The rows that one query does not show to be broken."""
    import torch

    with torch.no_grad():
        return (~(margin(victim(images), task.y, task.target) < 0)).nonzero().squeeze(1)
