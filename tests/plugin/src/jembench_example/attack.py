"""An attack: every pixel darker by eps."""

from dataclasses import dataclass, field

from jembench.attacks.contract import Crafted, Task


@dataclass(frozen=True)
class Darken:
    """Every pixel darker by the radius; it asks the victim nothing."""

    name: str = field(default="darken", init=False)
    gradient: str = field(default="full", init=False)
    copies: int | None = field(default=None, init=False)
    precision: str = field(default="fp32", init=False)
    norms: tuple[str, ...] = field(default=("linf",), init=False)
    targeted: bool = field(default=False, init=False)
    white: bool = field(default=False, init=False)

    def perturb(self, victim: object, task: Task) -> Crafted:
        """The darker images."""
        return Crafted((task.x - task.threat.eps).clamp(0, 1))
