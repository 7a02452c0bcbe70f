"""A user's own attack: ``file.py:function``.

The function is called as ``function(model, x, y, norm=…, eps=…, generator=…)``, with ``target=…`` where it is to aim
at a class, and returns images, or images and a boolean for each that says whether it claims success. ``model`` maps
images ``(B, C, H, W)`` in [0, 1] to logits and can be differentiated; ``generator`` is a :class:`torch.Generator` for
its draws.

Nothing that it returns is mended: an image outside of the ball goes to verification as it is. Only what is no batch of
images is refused. The hash of the file is part of the attack's identity; of what the file imports it is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.thirdparty import check
from jembench.ground import generators, guard, usercode
from jembench.ground.files import require_file
from jembench.ground.identity import file_sha256
from jembench.types import Norm, UserError

if TYPE_CHECKING:
    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision


@dataclass(frozen=True)
class Plugin:
    """A function of a user.

    Attributes:
        reference: file and name of the function, as ``path/to/file.py:function``.
        sha256: SHA-256 of the file; computed from the file where it is not given.
        norms: norms of the balls that the function serves.
        targeted: whether the function takes ``target=…``.
        white: whether the function uses gradients of the victim.
        gradient: what the attack's gradient sees of a refinement: ``none``, ``straight-through`` or ``full``.
        copies: number of noisy copies behind a query of a stochastic victim; None for the defence's own votes.
    """

    reference: str
    sha256: str = ""
    norms: tuple[Norm, ...] = ("linf", "l2")
    targeted: bool = False
    white: bool = True
    gradient: Gradient = "full"
    copies: int | None = None
    name: str = field(default="", init=False)
    precision: Precision = field(default="fp32", init=False)

    def __post_init__(self) -> None:
        location, _, function = self.reference.rpartition(":")
        if not location.endswith(".py") or not function:
            raise UserError(f"attack {self.reference!r} is not of the form 'file.py:function'")
        object.__setattr__(self, "name", f"{Path(location).name}:{function}")
        object.__setattr__(self, "sha256", self.sha256 or _sha256(location))

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """What the function returns."""
        check(self, task)
        if _sha256(self.reference.rpartition(":")[0]) != self.sha256:
            raise UserError(f"attack {self.reference!r} is not the file that was planned: it has changed since")
        aim = {} if task.target is None else {"target": task.target.clone()}
        own = generators.generator(*task.stream, "plugin")  # not the one that verification draws from
        arguments = {"norm": task.threat.norm, "eps": task.threat.eps, "generator": own, **aim}
        what = f"attack {self.reference!r} failed"
        with guard.guarded(what), usercode.importable(self.reference), generators.forked(*task.stream):
            function = usercode.load(self.reference)
            with torch.enable_grad():
                answer = function(victim, task.x.clone(), task.y.clone(), **arguments)
        return self._read(answer, task)

    def _read(self, answer: Any, task: Task) -> Crafted:
        images, claims = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        shape = tuple(task.x.shape)
        if not isinstance(images, Tensor) or not images.is_floating_point() or tuple(images.shape) != shape:
            raise UserError(f"attack {self.reference!r} returned {_kind(images)}, not images of shape {shape}")
        if claims is not None and (
            not isinstance(claims, Tensor) or claims.dtype != torch.bool or claims.shape != task.y.shape
        ):
            raise UserError(f"attack {self.reference!r} claims {_kind(claims)}, not one boolean for each image")
        return Crafted(images.detach().to(task.x), None if claims is None else claims.detach().to(task.x.device))


def _kind(value: object) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _sha256(location: str) -> str:
    path = Path(location)
    require_file(path)
    return file_sha256(path)
