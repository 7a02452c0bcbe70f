"""Measurement ``seen``: what a model says of images after something was done to them.

A **view** is what is done: a shift (:mod:`jembench.data.shifts`), a refinement by the model's own SGLD, an attack. One
record holds everything that the model can say of the same viewed images, so that accuracy, calibration, scores and
estimators under a shift are joint, and the view is made once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from jembench.attacks.contract import Task
from jembench.attacks.ladder import Rung
from jembench.attacks.passes import ModelFacts, Passes
from jembench.attacks.threat import Threat
from jembench.measurements.attacked import shared
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.types import Batch, Capability, UserError, capabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor


class View(Protocol):
    """A frozen dataclass; its fields, ``kind`` and ``version`` among them, are its identity."""

    @property
    def kind(self) -> str:
        """Name of the view."""
        ...

    @property
    def version(self) -> int:
        """Raised by every change that moves its images."""
        ...

    @property
    def requires(self) -> frozenset[Capability]:
        """The capabilities that a model needs for the view."""
        ...

    @property
    def title(self) -> str:
        """What people read while the view is made."""
        ...

    def passes(self, facts: ModelFacts) -> Passes:
        """What an image typically takes."""
        ...

    def apply(self, model: Any, batch: Batch, generator: Generator) -> tuple[Tensor, int, int]:
        """The viewed images ``(B, C, H, W)`` in [0, 1], and the forward passes and gradients of all of them."""
        ...


@dataclass(frozen=True)
class Shifted:
    """A shift of a kind by an amount.

    Attributes:
        shift: name of the kind of shift, see :mod:`jembench.data.shifts`.
        amount: strength of the shift, in the unit of its kind.
    """

    shift: str
    amount: float
    kind: str = field(default="shift", init=False)
    version: int = field(default=1, init=False)
    requires: ClassVar[frozenset[Capability]] = frozenset()

    @property
    def title(self) -> str:
        """Such as ``blur 0.5``."""
        return f"{self.shift} {self.amount:g}"

    def passes(self, facts: ModelFacts) -> Passes:
        """None."""
        return Passes()

    def apply(self, model: Any, batch: Batch, generator: Generator) -> tuple[Tensor, int, int]:
        """The shifted images."""
        from jembench.data.shifts import shift

        return shift(self.shift, batch.images, self.amount, generator=generator), 0, 0


@dataclass(frozen=True)
class Refined:
    """SGLD steps on the model's own log p(x), clamped to [0, 1] at the end; the defaults are the paper's defence.

    Attributes:
        steps: number of SGLD steps.
        size: step a, the factor of the gradient.
        noise: standard deviation s of the noise of a step, in units of the [0, 1] pixel range.
    """

    steps: int = 10
    size: float = 0.25
    noise: float = 0.005
    kind: str = field(default="refined", init=False)
    version: int = field(default=1, init=False)
    requires: ClassVar[frozenset[Capability]] = frozenset({"density"})

    @property
    def title(self) -> str:
        """Such as ``refined 10``."""
        return f"refined {self.steps}"

    def passes(self, facts: ModelFacts) -> Passes:
        """A gradient for each step."""
        return Passes(self.steps, self.steps)

    def apply(self, model: Any, batch: Batch, generator: Generator) -> tuple[Tensor, int, int]:
        """The ends of the chains."""
        from jembench.langevin import sgld

        settings = sgld.SGLD(self.steps, self.size, self.noise)
        end = sgld.chain(model.log_density, batch.images, settings=settings, generator=generator).clamp(0, 1)
        passes = self.steps * len(batch.images)
        return end, passes, passes


@dataclass(frozen=True)
class Attacked:
    """PGD on the label within a ball, the most confident mistake of it (:class:`jembench.attacks.ladder.Rung`).

    Attributes:
        norm: norm of the ball around each image.
        eps: radius of the ball, in units of the [0, 1] pixel range.
        steps: number of steps of PGD.
    """

    norm: str
    eps: float
    steps: int = 20
    kind: str = field(default="attacked", init=False)
    version: int = field(default=1, init=False)
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier"})

    @property
    def title(self) -> str:
        """Such as ``attacked linf 0.1``."""
        return f"attacked {self.norm} {self.eps:g}"

    def passes(self, facts: ModelFacts) -> Passes:
        """A gradient for each step, and a pass at both ends."""
        return Passes(self.steps + 2, self.steps)

    def apply(self, model: Any, batch: Batch, generator: Generator) -> tuple[Tensor, int, int]:
        """The adversarials; images without a success are the nearest to one."""
        from jembench.attacks.victim import Victim

        victim = Victim(model, generator=generator)
        rung = Rung(steps=self.steps, restarts=1, losses=("ce",), confident=True)
        threat = Threat(self.norm, self.eps)  # type: ignore[arg-type]
        stream = ("seen", *batch.index[:1].tolist())
        task = Task(batch.images, batch.labels, None, threat, (), generator, stream)
        images = rung.perturb(victim, task).images
        return images, victim.meter.forwards, victim.meter.gradients


@dataclass(frozen=True)
class Seen:
    """Of the viewed images ``logits (B, K)``, and ``log_density`` and ``gradient_norm (B,)``, as far as the model can.

    Attributes:
        view: what is done to the images before the model sees them.
        keep: whether the viewed images are recorded too, ``image (B, D)``.
    """

    view: View
    keep: bool = False

    name: ClassVar[str] = "seen"
    version: ClassVar[int] = 1
    costly: ClassVar[bool] = True

    @property
    def finite(self) -> frozenset[str]:
        """The logits, but of images at the end of a chain, which may diverge."""
        return frozenset() if isinstance(self.view, Refined) else frozenset({"logits"})

    @property
    def requires(self) -> frozenset[Capability]:
        """The capabilities that a model needs for the view."""
        return self.view.requires

    @property
    def title(self) -> str:
        """What people read while the view is made."""
        return self.view.title

    def passes(self, facts: ModelFacts) -> Passes:
        """Those of the view, and of what the model says of its images."""
        declared = getattr(self.view, "passes", None)
        view = Passes() if declared is None else declared(facts)
        able, dense = "classifier" in facts.capabilities, "density" in facts.capabilities
        return view + Passes(able + dense, dense)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """View, then look."""
        images, forwards, gradients = self.view.apply(model, batch, generator)
        batch = replace(batch, images=images.detach())
        able, count = capabilities(model), len(images)
        columns: dict[str, NDArray[Any]] = {}
        if "classifier" in able:
            columns["logits"] = Logits().columns(model, batch, generator)["logits"]
            forwards += count
        if "density" in able:
            try:
                density = InputGradient().columns(model, batch, generator)
            except UserError:  # a density that has no gradient at the images is none: see foreign.abilities
                density = {}
            columns |= {name: density[name] for name in ("log_density", "gradient_norm") if density}
            forwards, gradients = forwards + count * bool(density), gradients + count * bool(density)
        if self.keep:
            columns["image"] = batch.images.flatten(1).float().cpu().numpy()
        return {**columns, "forwards": shared(forwards, count), "gradients": shared(gradients, count)}
