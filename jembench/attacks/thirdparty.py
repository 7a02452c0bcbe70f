"""What every adapter to somebody else's attack needs: a place to run it and a victim, neither of which it can spoil.

Released attacks seed and draw from the global generators, print, warn, log, configure logging, switch tracing off and
leave gradients on the parameters of the model. In :func:`borrowed` all of that ends with the attack, and a failure is
one line. A :class:`Shielded` victim passes gradients to images only.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from jembench.attacks.threat import TITLES, TOLERANCE, distance
from jembench.ground import generators, seeding
from jembench.ground.guard import guarded
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.attacks.contract import Attack, Task
    from jembench.attacks.victim import Victim


def check(attack: Attack, task: Task) -> None:
    """Refuse a task that an attack cannot serve.

    Raises:
        UserError: if the norm or the goal is not among what it can do, or the images are not in [0, 1].
    """
    if task.threat.norm not in attack.norms:
        can = ", ".join(TITLES[norm] for norm in attack.norms)
        raise UserError(f"attack {attack.name!r} serves {can}, not {TITLES[task.threat.norm]}")
    if task.target is not None and not attack.targeted:
        raise UserError(f"attack {attack.name!r} cannot aim at a class: use it with the goal 'untargeted'")
    if not bool(((task.x >= 0) & (task.x <= 1)).all()):
        raise UserError(f"attack {attack.name!r} was given images outside of [0, 1]")


def seed(task: Task) -> int:
    """The integer that seeds somebody else's attack, from the stream of the task."""
    return int(seeding.integers(*task.stream, "seed", count=1, high=2**31)[0])


@contextmanager
def borrowed(attack: Attack, task: Task) -> Iterator[None]:
    """Run somebody else's code on a task that it can serve: seeded, silent, and leaving everything as it was.

    Raises:
        UserError: as :func:`check`, or naming the attack, for any failure inside.
    """
    check(attack, task)
    trace, root = sys.gettrace(), logging.getLogger()
    handlers, level = root.handlers[:], logging.root.manager.disable
    logging.disable()
    try:
        with (
            generators.forked(*task.stream),
            guarded(f"attack {attack.name!r} failed"),
            redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
            torch.enable_grad(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.settrace(trace)  # pyautoattack sets it to None, which would end a debugger or a measurement of coverage
        root.handlers[:] = handlers  # logging.info of a library installs one
        logging.disable(level)


def inside(x: Tensor, images: Tensor, task: Task) -> Tensor:
    """Whether images are in the ball of the task, ``(B,)``; one that is not finite is not."""
    eps = task.threat.eps
    return distance((images - x).double(), task.threat.norm) <= eps + TOLERANCE * (1 + eps)


class Shielded(nn.Module):
    """A victim whose backward pass ends at the images."""

    def __init__(self, victim: Victim) -> None:
        super().__init__()
        self._victim = victim
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, C, H, W)``; one query."""
        if torch.is_grad_enabled() and x.requires_grad:
            logits: Tensor = _ToImages.apply(x, self._victim)
            return logits
        with torch.no_grad():
            return _without_nan(self._victim.forward(x))


def _without_nan(logits: Tensor) -> Tensor:
    """Logits with ties in place of NaN: a margin of 0 is a success to every attack, where NaN would be neither."""
    return torch.where(logits.isnan().any(1, keepdim=True), torch.zeros_like(logits), logits)


class _ToImages(torch.autograd.Function):
    """The victim as one operation: ``autograd.grad`` of its images alone, also where the caller asks for everything."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, victim: Victim) -> Tensor:
        with torch.enable_grad():
            ctx.images = x.detach().requires_grad_()
            ctx.logits = victim(ctx.images)
        result = _without_nan(ctx.logits.detach())  # a copy: attacks write into the logits that they are given
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Kept, since attacks ask once for every class.
        (gradient,) = torch.autograd.grad(ctx.logits, ctx.images, gradients[0], retain_graph=True)
        return gradient, None
