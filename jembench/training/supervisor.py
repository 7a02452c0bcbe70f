"""The supervisor: notices that a run has diverged, and says what to change before it goes on.

**Diagnosis.** Every iteration gives :class:`Signals`, the same in all processes. A signal that is not finite and a
gradient beyond its bound are divergence at once; the others must be out of bounds in ``PATIENCE`` iterations running:

=====================  ================================================================================
what                   out of bounds
=====================  ================================================================================
energy gap             the mean log p(x) of data and samples differ by more than ``max_gap`` nats
dead network           logits and log densities of a batch differ by less than ``min_spread``: cross-entropy at
                       log K, gap 0, and no gradient that could leave it (finite: no guard on the loss sees it)
dead chains            the samples' variance is below ``min_variance`` of the data's: all chains are one image
saturated chains       more than ``max_saturation`` of the samples' pixels lie on the ends of the range (clamped
                       chains), or far beyond it (others)
=====================  ================================================================================

**Policy.** A diverged run goes back to a healthy snapshot (:func:`target`: further back if it did so a short while
ago), its chains are started afresh, all its draws come from new streams, and the recipe is changed by the next line of
:data:`POLICY`, for good: lower learning rate first (the change that costs nothing), then more SGLD steps, then more
input noise, then an L2 bound on the energies. When the policy is exhausted the run gives up and says what it saw. The
kept model samples as its recipe says, whatever was changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from jembench.models.recipes import Recipe, SupervisorPart

PATIENCE = 10
MARGIN = 20  # a snapshot younger than this at the time of the diagnosis may be sick already


@dataclass(frozen=True)
class Signals:
    """What one iteration shows; NaN where it does not apply.

    Attributes:
        loss: value of the objective.
        gradient: L2 norm of the gradient of the objective in the weights.
        log_px_data: mean log p(x) of the data batch, in nats, up to the model's constant.
        log_px_samples: mean log p(x) of the SGLD samples, in nats, up to the model's constant.
        spread: largest standard deviation over a batch of a logit, or of log p(x).
        variance: mean variance over the samples of a pixel, relative to that of the data.
        saturation: fraction of the samples' pixels that are out of range.
        chains_finite: 1 if every pixel of the samples is finite, else 0.
    """

    loss: float
    gradient: float
    log_px_data: float = math.nan
    log_px_samples: float = math.nan
    spread: float = math.nan
    variance: float = math.nan
    saturation: float = math.nan
    chains_finite: float = 1.0

    @property
    def gap(self) -> float:
        """Mean log p(x) of the data minus that of the samples, in nats."""
        return self.log_px_data - self.log_px_samples


@dataclass(frozen=True)
class Change:
    """A line of the policy.

    Attributes:
        name: words for the change, which people read.
        apply: function from the recipe to the changed recipe.
        chains: whether the change makes sense only for a run with SGLD chains.
    """

    name: str
    apply: Callable[[Recipe], Recipe]
    chains: bool = False


def _lower_rate(recipe: Recipe) -> Recipe:
    part = recipe.optimiser
    return recipe.model_copy(update={"optimiser": part.model_copy(update={"learning_rate": 0.3 * part.learning_rate})})


def _more_steps(recipe: Recipe) -> Recipe:
    assert recipe.sampling is not None
    part = recipe.sampling
    return recipe.model_copy(update={"sampling": part.model_copy(update={"steps": 2 * part.steps})})


def _more_noise(recipe: Recipe) -> Recipe:
    part = recipe.data
    noise = {
        name: None if value is None else value + 0.03
        for name, value in (("noise", part.noise), ("noise_density", part.noise_density))
    }
    return recipe.model_copy(update={"data": part.model_copy(update=noise)})


def _bound_energies(recipe: Recipe) -> Recipe:
    part = recipe.objective
    return recipe.model_copy(update={"objective": part.model_copy(update={"energy_l2": part.energy_l2 + 0.01})})


LOWER = Change("learning rate x 0.3", _lower_rate)

#: What is changed after the first, second, … divergence of a run.
POLICY = (
    LOWER,
    LOWER,
    LOWER,
    Change("SGLD steps x 2", _more_steps, chains=True),
    Change("input noise + 0.03", _more_noise),
    Change("energy L2 + 0.01", _bound_energies, chains=True),
)


def policy(recipe: Recipe) -> tuple[Change, ...]:
    """The lines of the policy that apply to a recipe."""
    return tuple(change for change in POLICY if recipe.contrastive or not change.chains)


def escalated(recipe: Recipe, level: int) -> Recipe:
    """The recipe after ``level`` rollbacks."""
    for change in policy(recipe)[:level]:
        recipe = change.apply(recipe)
    return recipe


class Supervisor:
    """Watches the signals of a run.

    Args:
        limits: bounds of the signals, the ``[supervisor]`` part of the recipe.
        streaks: number of iterations running that each bound has been exceeded, from :meth:`state`; none by default.
    """

    def __init__(self, limits: SupervisorPart, streaks: dict[str, int] | None = None) -> None:
        self.limits = limits
        self.streaks = dict(streaks or {})

    def state(self) -> dict[str, int]:
        """What the next diagnosis depends on, beside the next signals."""
        return dict(self.streaks)

    def reset(self) -> None:
        """Forget what was seen: the run goes on from elsewhere."""
        self.streaks = {}

    def watch(self, signals: Signals) -> str | None:
        """Why the run counts as diverged after this iteration, or None."""
        if reason := self._at_once(signals):
            return reason
        for name, beyond in self._bounds(signals).items():
            self.streaks[name] = self.streaks.get(name, 0) + 1 if beyond else 0
            if self.streaks[name] >= PATIENCE:
                return f"{name} in {PATIENCE} iterations running"
        return None

    def _at_once(self, signals: Signals) -> str | None:
        if not math.isfinite(signals.loss):
            return f"the loss is {signals.loss}"
        if signals.chains_finite < 1:
            return "a sample is not finite"
        if not math.isfinite(signals.gradient):
            return f"the norm of the gradient is {signals.gradient}"
        if signals.gradient > self.limits.max_gradient:
            return f"the norm of the gradient is {signals.gradient:.3g}, beyond {self.limits.max_gradient:g}"
        return None

    def _bounds(self, signals: Signals) -> dict[str, bool]:
        """Comparisons with NaN are False: what does not apply is never out of bounds."""
        limits = self.limits
        return {
            f"exploding energy: the gap is beyond {limits.max_gap:g} nats": abs(signals.gap) > limits.max_gap,
            f"dead network: logits and log p(x) spread by less than {limits.min_spread:g}": (
                signals.spread < limits.min_spread
            ),
            f"dead chains: the samples' variance is below {limits.min_variance:g} of the data's": (
                signals.variance < limits.min_variance
            ),
            f"saturated chains: more than {limits.max_saturation:g} of the pixels are out of range": (
                signals.saturation > limits.max_saturation
            ),
        }


def target(iterations: Sequence[int], diagnosis: int, *, previous: int | None, span: int) -> int:
    """Which snapshot to go back to.

    Args:
        iterations: iterations of the snapshots, in order, the first of the run among them.
        diagnosis: iteration of the diagnosis.
        previous: iteration that the last rollback went back to; None if there was none.
        span: iterations after a rollback in which another divergence is put down to the snapshot it went back to.

    Returns:
        The newest snapshot that is at least ``MARGIN`` iterations older than the diagnosis; within ``span`` of a
        rollback, the newest before its snapshot, which was sick. The first of the run only where a later one would not
        be older, or the run is not older than twice the span: what is left of a long run is not thrown away.
    """
    old = [iteration for iteration in iterations if iteration <= diagnosis - MARGIN] or [iterations[0]]
    if previous is None or diagnosis - previous > span:
        return old[-1]
    earlier = [iteration for iteration in old if iteration < previous] or [iterations[0]]
    if earlier[-1] > iterations[0] or diagnosis <= 2 * span:
        return earlier[-1]
    return next((iteration for iteration in old if iteration > iterations[0]), iterations[0])


def numbers(signals: Signals) -> dict[str, float | None]:
    """The signals for a record: what is not finite becomes None."""
    values = {**asdict(signals), "gap": signals.gap}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
