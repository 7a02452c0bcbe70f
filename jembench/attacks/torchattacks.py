"""Any attack of torchattacks (Kim, 2020, arXiv 2010.01950), by the name of its class.

Its options are the arguments of the class. Norm, radius and seed come from the task; a step ``alpha`` that is not given
keeps its share of the radius (PGD's 2/255 of 8/255 is eps / 4 at any eps), since a fixed one could not reach the edge
of a large ball. Everything else, the 10 steps of most attacks too, is torchattacks' own choice.

A class with an argument ``norm`` serves both norms; ``PGDL2`` and ``PGDRSL2`` are L2, others with a radius L-infinity.
A class without one (``CW``, ``DeepFool``, ``EADL1``, ``OnePixel``, …) looks for a near image, or for any: it serves L2,
its images are clipped to [0, 1], which brings them nearer, and the clean image stands in the place of one beyond eps.

Not to be had: ``AutoAttack``, which runs 10 steps where the official one runs 100; ``JSMA``, which takes minutes for a
few small images; ``MultiAttack`` and ``LGV``, which are made of other things than a model.
"""

from __future__ import annotations

import inspect
import io
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.thirdparty import Shielded, borrowed, inside, seed
from jembench.ground import compat
from jembench.types import Norm, UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from jembench.attacks.victim import Victim
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision

Option = str | int | float | bool | None | tuple[int, ...]

REFUSED = {
    "AutoAttack": "it runs 10 steps where the official one runs 100; use 'autoattack'",
    "JSMA": "it takes minutes for a few small images",
    "MultiAttack": "it is made of other attacks; name them one by one",
    "LGV": "it trains models of its own",
}
L2 = ("PGDL2", "PGDRSL2")
RADIUS = ("eps", "max_epsilon")
AIMLESS = ("FAB",)  # it says that it can be targeted, and takes the target for the label
OURS = {"self", "model", *RADIUS, "norm", "seed", "verbose", "n_classes"}  # arguments that are not the user's
NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}


def names() -> list[str]:
    """The classes that can be used."""
    module = compat.torchattacks()
    return sorted(set(module.__all__) - set(REFUSED))


def resolve(name: str) -> str | None:
    """The class that a name means, whatever its case; None if there is none.

    Raises:
        UserError: for one that is refused, with the reason.
    """
    classes = [*REFUSED, *names()]
    match = name if name in classes else next((other for other in classes if other.lower() == name.lower()), None)
    if match in REFUSED:
        raise UserError(f"attack {match!r} of torchattacks is not to be had: {REFUSED[match]}")
    return match


@dataclass(frozen=True)
class Torchattack:
    """One class of torchattacks.

    Attributes:
        name: name of the class.
        options: arguments of the class, by name.
        gradient: what the attack's gradient sees of a refinement: ``none``, ``straight-through`` or ``full``.
        copies: number of noisy copies behind a query of a stochastic victim; None for the defence's own votes.
    """

    name: str
    options: tuple[tuple[str, Option], ...] = ()
    gradient: Gradient = "full"
    copies: int | None = None
    precision: Precision = field(default="fp32", init=False)
    white: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        name = resolve(self.name)
        if name is None:
            raise unknown("attack", self.name, names())
        object.__setattr__(self, "name", name)
        options = [argument for argument in self._arguments() if argument not in OURS]
        for option, _ in self.options:
            if option not in options:
                raise unknown(f"option of attack {name!r}", option, options)
        object.__setattr__(self, "options", tuple(sorted(self.options)))

    @property
    def norms(self) -> tuple[Norm, ...]:
        """Both by an argument, or the one of the class."""
        arguments = self._arguments()
        if "norm" in arguments:
            return ("linf", "l2")
        return ("l2",) if self.name in L2 or self._radius() is None else ("linf",)

    @property
    def targeted(self) -> bool:
        """Whether an instance says so."""
        if self.name in AIMLESS:
            return False
        with redirect_stdout(io.StringIO()):  # it says that it found no device
            instance = self._class()(nn.Identity())
        return "targeted" in instance.supported_mode

    def perturb(self, victim: Victim, task: Task) -> Crafted:
        """What the class gives back; of one without a radius, where it is within eps."""
        with borrowed(self, task):
            attack = self._instance(victim, task)
            labels = task.y
            if task.target is not None:
                attack.set_mode_targeted_by_label(quiet=True)
                labels = task.target
            images: Tensor = attack(task.x.clone(), labels.clone()).detach()
        return Crafted(images) if self._radius() is not None else _near(images, victim, task)

    def _class(self) -> Any:
        return getattr(compat.torchattacks(), self.name)

    def _arguments(self) -> dict[str, Any]:
        """Names of the arguments of the class with their defaults."""
        parameters = inspect.signature(self._class().__init__).parameters
        return {name: parameter.default for name, parameter in parameters.items()}

    def _radius(self) -> str | None:
        return next((name for name in RADIUS if name in self._arguments()), None)

    def _instance(self, victim: Victim, task: Task) -> Any:
        """An instance for the task."""
        arguments, radius = self._arguments(), self._radius()
        model = Shielded(victim)
        options: dict[str, Any] = dict(self.options)
        if radius is not None:
            options[radius] = task.threat.eps
            if "alpha" in arguments and "alpha" not in options:
                options["alpha"] = arguments["alpha"] / arguments[radius] * task.threat.eps
        if "norm" in arguments:
            options["norm"] = NORMS[task.threat.norm]
        if "seed" in arguments:
            options["seed"] = seed(task)
        if "n_classes" in arguments:
            options["n_classes"] = model(task.x[:1]).shape[1]
        attack = self._class()(model, **options)
        attack.set_device(task.x.device)  # it looks for the device of a parameter, and a victim has none
        return attack


def _near(images: Tensor, victim: Victim, task: Task) -> Crafted:
    """The images within eps, claimed where one query agrees; the clean ones for the others."""
    images = images.clamp(0, 1)
    near = inside(task.x, images, task)
    adversarial = torch.where(near.reshape(-1, 1, 1, 1), images, task.x)
    classes = victim.predictions(adversarial)
    successes = classes != task.y if task.target is None else classes == task.target
    return Crafted(adversarial, near & successes)
