r"""Training: one loop for every recipe.

The objective is the weighted sum of Grathwohl et al. (ICLR 2020, section 4), minimised by Adam:

.. math::
    L = -w_1 \, \mathbb{E} \log p(y|x)
        - w_2 \, \bigl(\mathbb{E}_{x^+} \log p(x^+) - \mathbb{E}_{x^-} \log p(x^-)\bigr)
        + \lambda \, \mathbb{E} (\log p(x^+)^2 + \log p(x^-)^2)

where x+ are training images, drawn apart from the labelled batch, and x- the ends of SGLD chains from the replay
buffer. The last term bounds the energies (Du & Mordatch, NeurIPS 2019, section 3.3).

Every random draw of iteration i comes from ``seeding.generator(seed, "train", i)``, and a checkpoint holds everything
else (weights, optimiser, buffer, counter): a run that was killed and resumed ends in the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Generator, Tensor
from torch.nn import functional

from jembench import baselines, data, seeding, sgld, store, zoo
from jembench.identity import identity
from jembench.models.jem import JEM
from jembench.models.softmax import Softmax
from jembench.numerics import check_device
from jembench.recipes import Recipe, TrainingPart
from jembench.replay import ReplayBuffer
from jembench.types import UserError

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY = 500


@dataclass(frozen=True)
class Progress:
    """What a training run reports after an iteration.

    Attributes:
        iteration: iterations done.
        total: iterations of the recipe.
        loss: the objective L.
        accuracy: of the labelled batch, 0..1.
        gap: mean log p(x+) minus mean log p(x-), in nats; None for a recipe without log p(x).
    """

    iteration: int
    total: int
    loss: float
    accuracy: float
    gap: float | None


def train(
    recipe: Recipe,
    output: Path,
    *,
    source: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    report: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train ``recipe`` and write ``weights.safetensors`` into the folder ``output``.

    Args:
        recipe: model, objective and sampler.
        output: folder for the weights and, while it runs, the checkpoint.
        source: the file of the recipe, kept beside the weights so that the folder can be evaluated.
        device: a torch device.
        resume: go on from the checkpoint in ``output``.
        report: called after every iteration.

    Returns:
        The path of the weights.

    Raises:
        UserError: if ``output`` holds other work or cannot be written, if there is nothing to resume, or if training
            diverged.
    """
    weights = output / baselines.WEIGHTS
    if weights.exists():
        raise UserError(f"{output} already holds a finished training run: choose another --output")
    if (output / CHECKPOINT).exists() and not resume:
        raise UserError(f"{output} already holds a training run: choose another --output, or go on with --resume")
    check_device(device)
    run = _Run(recipe, torch.device(device))
    if resume:
        run.load(output / CHECKPOINT)
    if source is not None:
        store.write(output / baselines.RECIPE, source.read_bytes())
    while run.iteration < recipe.training.iterations:
        progress = run.iterate()
        if run.iteration % CHECKPOINT_EVERY == 0:
            store.write(output / CHECKPOINT, run.checkpoint())
        report(progress)
    store.write(weights, save(run.final_state()))
    (output / CHECKPOINT).unlink(missing_ok=True)
    return weights


class _Run:
    """The state of one training run and its iteration."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        self.device = device
        self.iteration = 0
        track = data.track(recipe.track)
        images = data.load(recipe.track, "train")
        self.images = torch.from_numpy(images.pixels()).to(device)
        self.labels = torch.from_numpy(images.labels).to(device)
        seed = recipe.training.seed
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(seeding.generator(seed, "weights").get_state())
            self.model: Softmax = zoo.build(recipe, track).to(device)
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=recipe.training.learning_rate, weight_decay=recipe.training.weight_decay
        )
        self.buffer: ReplayBuffer | None = None
        if recipe.sampling is not None:
            generator = seeding.generator(seed, "buffer")
            fresh = ReplayBuffer.fresh(recipe.sampling.buffer, track.shape, generator=generator)
            self.buffer = ReplayBuffer(fresh.images.to(device))

    def iterate(self) -> Progress:
        """One iteration: draw, sample, descend."""
        settings = self.recipe.training
        generator = seeding.generator(settings.seed, "train", self.iteration)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(settings, self.iteration)
        x, y = self._draw(generator)
        logits = self.model.logits(x)
        loss = settings.log_py_x * functional.cross_entropy(logits, y)
        gap = None
        if settings.log_px > 0:
            positive = self.model.log_density(self._draw(generator)[0])
            negative = self.model.log_density(self._samples(generator))
            difference = positive.mean() - negative.mean()
            loss = loss - settings.log_px * difference
            loss = loss + settings.energy_l2 * (positive.square().mean() + negative.square().mean())
            gap = difference.item()
        if not torch.isfinite(loss):
            raise UserError(
                f"training diverged at iteration {self.iteration}: the loss is {loss.item()}; "
                "lower training.learning_rate or raise sampling.steps in the recipe"
            )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.iteration += 1
        accuracy = (logits.argmax(1) == y).float().mean().item()
        return Progress(self.iteration, settings.iterations, loss.item(), accuracy, gap)

    def _draw(self, generator: Generator) -> tuple[Tensor, Tensor]:
        """A batch of training images with the recipe's augmentation and noise."""
        settings = self.recipe.training
        index = torch.randint(len(self.images), (settings.batch,), generator=generator).to(self.device)
        x = shifted(self.images[index], settings.shift, generator=generator)
        return x + settings.input_noise * sgld.noise_like(x, generator), self.labels[index]

    def _samples(self, generator: Generator) -> Tensor:
        """The ends of SGLD chains from the replay buffer, stored back into it."""
        assert self.buffer is not None
        assert self.recipe.sampling is not None
        assert isinstance(self.model, JEM)
        start, slots = self.buffer.draw(
            self.recipe.training.batch, restart=self.recipe.sampling.restart, generator=generator
        )
        self.model.requires_grad_(False)
        x = sgld.chain(self.model.log_density, start, settings=self.model.settings, generator=generator)
        self.model.requires_grad_(True)
        self.buffer.store(slots, x)
        return x

    def final_state(self) -> dict[str, Tensor]:
        """The weights on the CPU, with the buffer as the model's persistent chains."""
        if isinstance(self.model, JEM) and self.buffer is not None:
            self.model.chains.copy_(self.buffer.images)
        return {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}

    def checkpoint(self) -> bytes:
        """Everything that the rest of the run depends on."""
        import io

        state: dict[str, Any] = {
            "recipe": identity(self.recipe.model_dump(mode="json")),
            "iteration": self.iteration,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "buffer": None if self.buffer is None else self.buffer.images,
        }
        file = io.BytesIO()
        torch.save(state, file)
        return file.getvalue()

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe."""
        if not path.exists():
            raise UserError(f"{path.parent} holds no checkpoint to resume: leave out --resume")
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise UserError(f"{path}: not a readable checkpoint; remove it to start again") from error
        if state["recipe"] != identity(self.recipe.model_dump(mode="json")):
            raise UserError(
                f"{path}: the checkpoint is of another recipe: resume with that one, or choose another --output"
            )
        self.iteration = state["iteration"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.buffer is not None:
            self.buffer = ReplayBuffer(state["buffer"])


def learning_rate(settings: TrainingPart, iteration: int) -> float:
    """Linear warm-up, then a factor ``decay`` at every fraction in ``decay_at`` of the run."""
    passed = sum(iteration >= fraction * settings.iterations for fraction in settings.decay_at)
    warm = min(1.0, (iteration + 1) / settings.warmup) if settings.warmup else 1.0
    return settings.learning_rate * warm * settings.decay**passed


def shifted(x: Tensor, most: int, *, generator: Generator) -> Tensor:
    """Images ``(B, C, H, W)`` moved by up to ``most`` pixels each way, zeros coming in."""
    if most == 0:
        return x
    count, _, height, width = x.shape
    padded = functional.pad(x, (most,) * 4)
    offset = torch.randint(2 * most + 1, (2, count), generator=generator).to(x.device)
    rows = offset[0][:, None] + torch.arange(height, device=x.device)
    columns = offset[1][:, None] + torch.arange(width, device=x.device)
    index = torch.arange(count, device=x.device)
    return padded.permute(0, 2, 3, 1)[index[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
