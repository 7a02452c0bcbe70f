"""Recipes: how a model is built and trained, read from TOML and validated.

A recipe is data: :func:`jembench.zoo.catalogue.build` makes the model from its ``[model]`` and ``[sampling]`` parts,
:func:`jembench.training.loop.train` trains it by the rest. Unknown keys, impossible values and combinations that cannot
work are refused, with the key that is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from jembench.ground.entry import Entry, read_toml
from jembench.ground.identity import identity
from jembench.models import KINDS, NETWORKS
from jembench.types import Precision, UserError

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Criterion = Literal["last", "accuracy", "nll", "ece-accuracy", "likelihood"]


class ModelPart(Entry):
    """What the weights are loaded into. The options of a network are in :data:`jembench.models.NETWORKS`.

    Attributes:
        kind: kind of the model, a key of :data:`jembench.models.KINDS`.
        network: architecture, a key of :data:`jembench.models.NETWORKS`.
        name: name of an architecture of timm or torchvision; None for other networks.
        width: number of channels, or the widening factor of a wide residual network.
        depth: number of layers of a wide residual network, or of flow steps per scale.
        scales: number of scales of a flow.
        norm: normalisation layers of a wide residual network.
        mean: number that is subtracted from the [0, 1] pixels.
        std: number that the pixels are then divided by.
    """

    kind: str
    network: str = "small"
    name: str | None = None
    width: Positive | None = None
    depth: Positive | None = None
    scales: Positive | None = None
    norm: Literal["none", "batch", "instance", "layer", "act"] | None = None
    mean: float = 0.0
    std: PositiveFloat = 1.0

    def options(self) -> dict[str, int | str]:
        """What the network is made with, beside shape and classes."""
        network = NETWORKS[self.network]
        options = {name: getattr(self, name) for name in (*network.options, *network.optional)}
        return {name: value for name, value in options.items() if value is not None}

    @model_validator(mode="after")
    def _coherent(self) -> ModelPart:
        try:
            kind, network = KINDS[self.kind], NETWORKS[self.network]
        except UserError as error:
            raise ValueError(str(error)) from error
        if network.family != kind.family:
            alternatives = ", ".join(
                name for name, architecture in NETWORKS.items() if architecture.family == kind.family
            )
            raise ValueError(
                f"kind {self.kind!r} cannot be made of network {self.network!r} (of: {alternatives or 'none'})"
            )
        for option in ("name", "width", "depth", "scales", "norm"):
            value = getattr(self, option)
            if value is None and option in network.options:
                raise ValueError(f"network {self.network!r} needs {option!r}")
            if value is not None and option not in (*network.options, *network.optional):
                raise ValueError(f"network {self.network!r} has no option {option!r}")
        return self


class DataPart(Entry):
    """The training streams. Every image also gets Gaussian noise (see :mod:`jembench.training.streams`).

    Attributes:
        labels_per_class: number of examples of a class whose label is known; all by default. The others are used
            without their label.
        labels_seed: seed of the draw of the examples whose label is known; ``training.seed`` by default.
        shift: largest shift of the images of the labelled stream, in pixels each way.
        shift_density: largest shift of the images of the stream of log p(x), in pixels; ``shift`` by default.
        padding: what comes in where an image is moved: ``zero``, or ``reflect``, its mirror image.
        flip: whether images of the labelled stream are mirrored left-right, every second one at random.
        flip_density: whether images of the stream of log p(x) are mirrored left-right; ``flip`` by default.
        noise: standard deviation of the input noise of the labelled stream, in units of the [0, 1] pixel range.
        noise_density: standard deviation of the input noise of the stream of log p(x); ``noise`` by default.
    """

    labels_per_class: Positive | None = None
    labels_seed: Count | None = None
    shift: Count = 0
    shift_density: Count | None = None
    padding: Literal["zero", "reflect"] = "zero"
    flip: bool = False
    flip_density: bool | None = None
    noise: Weight = 0.015
    noise_density: Weight | None = None


class ObjectivePart(Entry):
    """The weights of the objective's terms (see :mod:`jembench.training.objective`)."""

    log_py_x: Weight = 1.0
    log_px: Weight = 0.0
    log_px_y: Weight = 0.0
    energy_l2: Weight = 0.0
    gradient_penalty: Weight = 0.0
    entropy: Weight = 0.0
    soft_ece: Weight = 0.0


class OptimiserPart(Entry):
    """The optimiser (see :mod:`jembench.training.optimisers`).

    Attributes:
        name: name of the optimiser, ``adam`` or ``sgd``.
        learning_rate: learning rate after the warm-up.
        momentum: momentum of ``sgd``; ``adam`` has its own.
        weight_decay: factor of the weights that is added to their gradient (L2).
        warmup: number of iterations over which the learning rate rises linearly.
        decay: factor on the learning rate at every fraction of the run in ``decay_at``.
        decay_at: fractions of the run at which the learning rate is multiplied by ``decay``.
        clip: bound on the norm of the gradient of the weights; None for no bound.
        sam: radius rho of sharpness-aware minimisation, 0 for none.
        adaptive: whether the radius ``sam`` is relative to the size of each weight.
        ema: decay of the moving average of the weights that is evaluated and kept, 0 for none. Statistics of batch
            normalisation are not averaged: they stay those of the last weights.
    """

    name: Literal["adam", "sgd"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    momentum: Fraction = 0.9
    weight_decay: Weight = 0.0
    warmup: Count = 0
    decay: Fraction = 1.0
    decay_at: tuple[Fraction, ...] = ()
    clip: PositiveFloat | None = None
    sam: Weight = 0.0
    adaptive: bool = False
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0


class AdversaryPart(Entry):
    """PGD on the labelled stream (see :mod:`jembench.attacks.pgd`), eps in units of the [0, 1] pixel range."""

    norm: Literal["linf", "l2"] = "linf"
    eps: PositiveFloat
    steps: Positive = 10
    size: PositiveFloat


class SamplingPart(Entry):
    """The SGLD chain (see :mod:`jembench.langevin.sgld`) and the replay buffer (see :mod:`jembench.langevin.replay`).

    Attributes:
        steps: number of gradients of a chain per iteration.
        inner: number of moves per gradient, the further ones through the first layer only (proximal, JEM++).
        size: step size on the gradient of log p(x), in units of the [0, 1] pixel range.
        noise: standard deviation of the noise of a step, in units of the [0, 1] pixel range.
        clip: bound on every element of the gradient; None for no bound.
        clamp: whether images stay in [0, 1].
        precision: precision of the network inside the chain; images are always fp32.
        buffer: number of persistent chains, a multiple of ``training.batch``.
        restart: probability that a chain starts afresh.
        relabel: whether a chain gets a new random class whenever it is continued.
        start: where a fresh chain starts: ``uniform`` noise, or ``gaussian``, a Gaussian per class of the training
            images.
    """

    steps: Positive = 20
    inner: Positive = 1
    size: PositiveFloat = 0.25
    noise: Weight = 0.005
    clip: PositiveFloat | None = None
    clamp: bool = False
    precision: Precision = "fp32"
    buffer: Positive = 1024
    restart: Fraction = 0.05
    relabel: bool = False
    start: Literal["uniform", "gaussian"] = "uniform"


class TrainingPart(Entry):
    """The run.

    Attributes:
        iterations: number of updates of the weights.
        batch: number of images of each stream, and of chains, per iteration, over all processes.
        precision: precision of the network in the training step; weights and updates are always fp32.
        seed: seed of every generator of the run.
        initial: name of the track's baseline whose network the run starts from; None for random weights.
        store: precision in which the weights are kept at the end.
    """

    iterations: Positive
    batch: Annotated[int, Field(ge=2)] = 64
    precision: Precision = "fp32"
    seed: Count = 0
    initial: str | None = None
    store: Literal["fp32", "fp16"] = "fp32"


class SupervisorPart(Entry):
    """When a run counts as diverged, and what is kept to go back to (see :mod:`jembench.training.supervisor`).

    Attributes:
        snapshot_every: number of iterations between snapshots.
        keep: number of snapshots that are kept beside the first.
        max_gap: bound on the mean absolute difference of log p(x) between data and samples, in nats.
        max_gradient: bound on the norm of the gradient of the weights.
        min_spread: the logits and the log densities of a batch must differ by more than this: a dead network's do not.
        min_variance: the variance of a pixel over the samples, relative to that of the data, must exceed this.
        max_saturation: bound on the fraction of the samples' pixels that lie on or beyond the ends of the range.
    """

    snapshot_every: Positive = 100
    keep: Positive = 3
    max_gap: PositiveFloat = 50.0
    max_gradient: PositiveFloat = 1e5
    min_spread: Weight = 1e-5
    min_variance: Weight = 0.02
    max_saturation: Fraction = 0.98


class SelectionPart(Entry):
    """Validation during the run, and which checkpoint is kept (see :mod:`jembench.training.validation`).

    Attributes:
        criterion: ``last``; or the checkpoint with the highest validation ``accuracy``, the lowest ``nll``, the highest
            accuracy among those with an ECE of at most ``max_ece`` (``ece-accuracy``), or the highest ``likelihood``.
        every: number of iterations between validations; one epoch by default.
        max_ece: largest ECE, 0..1, of a checkpoint that the criterion ``ece-accuracy`` may choose.
    """

    criterion: Criterion = "last"
    every: Positive | None = None
    max_ece: PositiveFloat = 0.03


class Recipe(Entry):
    """One ``recipe.toml``.

    Attributes:
        about: one line about the model.
        training: the run; a recipe that is not to be trained may leave it out.
        seeds: number of training seeds behind the published figures; the weights of the first are shipped.
    """

    track: str
    about: str = ""
    seeds: Positive = 1
    model: ModelPart
    data: DataPart = DataPart()
    objective: ObjectivePart = ObjectivePart()
    optimiser: OptimiserPart = OptimiserPart()
    sampling: SamplingPart | None = None
    adversary: AdversaryPart | None = None
    training: TrainingPart = TrainingPart(iterations=1)
    supervisor: SupervisorPart = SupervisorPart()
    selection: SelectionPart = SelectionPart()

    @property
    def identity(self) -> str:
        """Hash of all that a run depends on and that is not a default: a new option leaves it as it was."""
        return identity(self.model_dump(mode="json", exclude_defaults=True, exclude={"about", "seeds"}))

    @property
    def contrastive(self) -> bool:
        """Whether the objective needs SGLD samples."""
        return KINDS[self.model.kind].chains and self.objective.log_px + self.objective.log_px_y > 0

    @model_validator(mode="after")
    def _coherent(self) -> Recipe:
        for problem in _problems(self):
            raise ValueError(problem)
        return self


def _problems(recipe: Recipe) -> list[str]:
    """The combinations that cannot work."""
    kind, network = KINDS[recipe.model.kind], NETWORKS[recipe.model.network]
    objective, sampling, name = recipe.objective, recipe.sampling, recipe.model.kind
    classifier, density = "classifier" in kind.capabilities, kind.chains or kind.normalized
    rules = {
        f"a {name} needs a [sampling] part": kind.chains and sampling is None,
        f"a {name} has no chains: leave out [sampling]": not kind.chains and sampling is not None,
        f"objective.log_px > 0 needs a kind that is trained as a density, not {name!r}": objective.log_px > 0
        and not density,
        f"objective.log_px_y > 0 needs a class-conditional density, not {name!r}": objective.log_px_y > 0
        and not (density and classifier),
        "an igebm is trained by objective.log_px_y alone (and energy_l2, gradient_penalty): its p(y|x) is fitted": (
            name == "igebm" and (objective.log_py_x + objective.log_px + objective.entropy + objective.soft_ece > 0)
        ),
        f"objective.log_py_x > 0 needs a classifier, not {name!r}": objective.log_py_x > 0 and not classifier,
        "objective: entropy and soft_ece need log_py_x > 0": objective.entropy + objective.soft_ece > 0
        and objective.log_py_x == 0,
        "objective.log_px and log_px_y: one of the two, their samples are of different densities": (
            objective.log_px > 0 and objective.log_px_y > 0
        ),
        "objective: every weight is 0": objective.log_py_x + objective.log_px + objective.log_px_y == 0,
        "objective.energy_l2 > 0 needs SGLD samples: a kind with chains, and log_px or log_px_y > 0": (
            objective.energy_l2 > 0 and not recipe.contrastive
        ),
        "objective.gradient_penalty > 0 needs log_px or log_px_y > 0": objective.gradient_penalty > 0
        and objective.log_px + objective.log_px_y == 0,
        "optimiser.adaptive needs optimiser.sam > 0": recipe.optimiser.adaptive and recipe.optimiser.sam == 0,
        "[adversary] needs objective.log_py_x > 0": recipe.adversary is not None and objective.log_py_x == 0,
        f"sampling.inner > 1 needs a network that shows its first layer, not {recipe.model.network!r}": (
            sampling is not None and sampling.inner > 1 and not (network.stem and name == "jem")
        ),
        "sampling.buffer must be a multiple of training.batch": (
            sampling is not None and sampling.buffer % recipe.training.batch != 0
        ),
        f"training.initial needs a kind that is made of one network, not {name!r}": (
            recipe.training.initial is not None and network.family == "flow"
        ),
        "selection.every must not exceed training.iterations": (
            recipe.selection.every is not None and recipe.selection.every > recipe.training.iterations
        ),
        f"selection.criterion = {recipe.selection.criterion!r} needs a classifier, not {name!r}": (
            recipe.selection.criterion in ("accuracy", "nll", "ece-accuracy") and not classifier
        ),
        f"selection.criterion = 'likelihood' needs a normalised density, not {name!r}": (
            recipe.selection.criterion == "likelihood" and not kind.normalized
        ),
    }
    return [problem for problem, holds in rules.items() if holds]


def read_recipe(path: Path, *, track: str | None = None) -> Recipe:
    """The recipe in the TOML file ``path``, of the given track if there is one.

    Raises:
        UserError: if the file cannot be read, is not TOML, is not a recipe, or is of another track.
    """
    recipe = read_toml(path, Recipe, "recipe")
    if track is not None and recipe.track != track:
        raise UserError(f"{path}: is a recipe of track {recipe.track!r}, not {track!r}: use --track {recipe.track}")
    return recipe
