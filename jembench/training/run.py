"""A training run: its state, its iteration, and how it is kept, taken up, sent back and validated.

:mod:`jembench.training.loop` drives it. Every random draw of iteration i comes from
``generators.generator(seed, "train", rollbacks, i)``; :meth:`Run.state` holds everything else that the rest of the run
depends on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from jembench import data
from jembench.data.sets import Track
from jembench.ground import generators
from jembench.ground.identity import file_sha256
from jembench.ground.shares import Share
from jembench.langevin.replay import ReplayBuffer
from jembench.models.chains import ChainSampler
from jembench.models.igebm import IGEBM
from jembench.models.recipes import DataPart, Recipe
from jembench.store import provenance
from jembench.store.history import Chosen, Epoch, History, Rollback, TrainingCost
from jembench.training import snapshots, supervisor
from jembench.training.draws import GraphedEnergy, adversarial, continued, look
from jembench.training.objective import TERMS, Draws, Objective
from jembench.training.optimisers import Average, learning_rate, optimiser, sharpened
from jembench.training.streams import Streams
from jembench.training.supervisor import Signals, Supervisor, escalated
from jembench.training.team import Team
from jembench.training.validation import BATCH, Validation, merit
from jembench.types import UserError
from jembench.zoo import baselines, catalogue

SHOWN = 64  # samples that observers get
IMAGES, INITIAL = "training images", "initial weights"  # names of dependencies


@dataclass(frozen=True)
class Progress:
    """What a training run reports after an iteration.

    Attributes:
        iteration: number of iterations done.
        total: number of iterations of the recipe.
        signals: signals of the iteration, by which the supervisor judges it.
        nll: cross-entropy of the labelled batch, in nats; NaN without a labelled batch.
        accuracy: accuracy on the labelled batch, 0..1; NaN without a labelled batch.
        rollbacks: number of rollbacks so far.
        sampling: share of the time so far that went into SGLD, 0..1.
    """

    iteration: int
    total: int
    signals: Signals
    nll: float
    accuracy: float
    rollbacks: int
    sampling: float


@dataclass
class _Best:
    """The checkpoint that would be kept if the run ended now."""

    merit: float
    iteration: int
    state: dict[str, Tensor]


@dataclass
class _Meter:
    """What the run took so far."""

    seconds: float = 0.0
    sampling_seconds: float = 0.0
    gradients: int = 0


@dataclass
class _Means:
    """Sums of what was finite, since the last validation."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, values: dict[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1

    def values(self) -> dict[str, float]:
        return {f"train_{name}": self.sums[name] / self.counts[name] for name in self.sums}


def dependencies(recipe: Recipe, track: Track) -> dict[str, str]:
    """What a run depends on beside its recipe, where jembench does not hold it still: hashes, by what they are of.

    Images that are the user's, and the weights of a baseline that the run starts from.

    Raises:
        UserError: if they are not there.
    """
    sources = {IMAGES: "train", "validation images": "validation"} if track.external else {}
    hashes = {words: data.found(track, name).sha256 for words, name in sources.items()}
    if (reference := recipe.training.initial) is not None:
        hashes[INITIAL] = file_sha256(baselines.recipe_path(reference, track=recipe.track).parent / baselines.WEIGHTS)
    return hashes


def check_dependencies(folder: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise :class:`UserError` if the run in ``folder`` names other :func:`dependencies` than there are now."""
    for name, sha256 in before.items():
        if now.get(name, sha256) != sha256:
            raise UserError(
                f"{folder} holds a run with other {name} (sha256 {sha256[:12]}, here {now[name][:12]}): resume with "
                "those, or choose another --output"
            )


class Run:
    """The state of one training run and its steps."""

    def __init__(
        self, recipe: Recipe, track: Track, device: torch.device, members: Team, snapshot_folder: Path
    ) -> None:
        self.recipe = recipe
        self.track = track
        self.device = device
        self.team = members
        self.seed = recipe.training.seed
        self.iteration = 0
        self.events: list[Rollback] = []
        self.epochs: list[Epoch] = []
        self.best: _Best | None = None
        self.meter = _Meter()
        self.means = _Means()
        self.supervisor = Supervisor(recipe.supervisor)
        self.ring = snapshots.Ring(snapshot_folder, recipe.supervisor.keep)
        self.dependencies = dependencies(recipe, track)
        images = data.images(track, "train")
        self.epoch = recipe.selection.every or max(1, round(len(images) / recipe.training.batch))
        self.share = members.share(recipe.training.batch)
        self.validation = Validation.of(data.images(track, "validation"), images, device=device)
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(generators.generator(self.seed, "weights").get_state())
            self.model: Any = catalogue.build(recipe, track)
        self.initial = catalogue.start_from(self.model, recipe)
        self.streams = Streams(
            images,
            self._data(),
            classes=track.classes,
            share=self.share,
            device=device,
            dequantise=bool(getattr(self.model, "normalized", False)),
        )
        self._prepare()
        self.model.to(device=device, memory_format=torch.channels_last)  # a sixth faster on convolutions
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = optimiser(self.parameters, recipe.optimiser)
        self.average = Average(self.model, decay=recipe.optimiser.ema) if recipe.optimiser.ema > 0 else None
        self.buffer = self._fresh_buffer()
        # On a CPU there is no time between kernels to win, and proximal steps have gradients of other functions.
        split = recipe.sampling is not None and recipe.sampling.inner > 1
        self.energy = GraphedEnergy(self.model) if device.type == "cuda" and not split else None
        self.settings, self.parallel = self._objective()

    def _data(self) -> DataPart:
        """The ``[data]`` part with the seed of its labels."""
        part = self.recipe.data
        return part if part.labels_seed is not None else part.model_copy(update={"labels_seed": self.seed})

    def _prepare(self) -> None:
        """What a model takes from the training images before the first iteration."""
        if hasattr(self.model, "initialise"):
            whole = Share(0, self.share.total, self.share.total)
            first = Streams(
                data.images(self.track, "train"),
                self._data(),
                classes=self.track.classes,
                share=whole,
                device=torch.device("cpu"),
                dequantise=True,
            )
            x, _ = first.of_density(generators.generator(self.seed, "initialise"), with_labels=False)
            self.model.initialise(x)
        if isinstance(sampler := getattr(self.model, "sampler", None), ChainSampler):
            index = self.streams.labelled
            sampler.origin.fit(lambda y: self.streams.pixels(index[self.streams.labels[index] == y]))

    def _fresh_buffer(self) -> ReplayBuffer | None:
        """Chains at their starting points, others after every rollback."""
        if not self.recipe.contrastive:
            return None
        assert self.recipe.sampling is not None
        generator = generators.generator(self.seed, "buffer", len(self.events))
        sampler: ChainSampler = self.model.sampler
        fresh = ReplayBuffer.fresh(self.recipe.sampling.buffer, sampler.origin, share=self.share, generator=generator)
        return ReplayBuffer(fresh.images.to(self.device), fresh.labels.to(self.device), self.share)

    def _objective(self) -> tuple[Recipe, Any]:
        """The recipe as the supervisor has changed it so far, and its objective."""
        settings = escalated(self.recipe, len(self.events))
        module = Objective(self.model, weights=settings.objective, precision=settings.training.precision)
        return settings, self.team.parallel(module)

    def begin(self, *, resume: bool) -> None:
        """Take up the newest snapshot, or make the first."""
        if resume:
            content = None
            if self.team.leads:
                self.ring, content = snapshots.reopen(self.ring.folder, self.ring.keep)
            self.load(snapshots.decode(self.team.broadcast(content)))
        else:
            self.keep()

    def iterate(self) -> Progress:
        """One iteration: draw, sample, descend."""
        start = time.perf_counter()
        settings = self.settings
        generator = generators.generator(self.seed, "train", len(self.events), self.iteration)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(settings.optimiser, self.iteration, settings.training.iterations)
        draws, chain_signals = self._draws(settings, generator)
        self.model.train()
        with generators.forked(self.seed, "network", len(self.events), self.iteration, self.team.rank):  # dropout
            loss, terms = self.parallel(draws)
            gradient = self._descend(settings, loss, draws)
        here = [torch.stack([loss.detach().float(), *terms]).cpu(), torch.stack(chain_signals)]
        means = self.team.mean(torch.cat(here)).tolist()
        values = dict(zip(("loss", *TERMS, "variance", "saturation", "chains_finite"), means, strict=True))
        nll, accuracy = values.pop("nll"), values.pop("accuracy")
        signals = Signals(gradient=gradient, **values)
        self.iteration += 1
        self.meter.seconds += time.perf_counter() - start
        self.means.add({**supervisor.numbers(signals), "accuracy": accuracy if accuracy == accuracy else None})
        return Progress(
            self.iteration,
            settings.training.iterations,
            signals,
            nll,
            accuracy,
            len(self.events),
            self.meter.sampling_seconds / max(self.meter.seconds, 1e-9),
        )

    def _descend(self, settings: Recipe, loss: Tensor, draws: Draws) -> float:
        """One step of the optimiser; the norm of the gradient before any bound. No step on what is not finite."""
        part = settings.optimiser
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if part.sam > 0:
            ascent = [None if p.grad is None else p.grad.clone() for p in self.parameters]
            with sharpened(self.parameters, ascent, rho=part.sam, adaptive=part.adaptive):
                self.optimiser.zero_grad()
                self.parallel(draws)[0].backward()
        bound = part.clip if part.clip is not None else float("inf")
        gradient = torch.nn.utils.clip_grad_norm_(self.parameters, bound).item()
        if gradient == gradient and abs(gradient) != float("inf"):
            self.optimiser.step()
            if self.average is not None:
                self.average.update(self.model)
        return gradient

    def _draws(self, settings: Recipe, generator: Generator) -> tuple[Draws, list[Tensor]]:
        """The batches of an iteration, and what the supervisor wants to know of the samples."""
        objective = settings.objective
        x, y = self.streams.of_labels(generator)
        if settings.adversary is not None:
            x = adversarial(self.model, x, y, settings, generator, self.share.noise_like)
        nothing = [torch.tensor(float("nan")), torch.tensor(float("nan")), torch.tensor(1.0)]
        if objective.log_px + objective.log_px_y + objective.entropy == 0:
            return Draws(x, y), nothing
        positive, positive_y = self.streams.of_density(generator, with_labels=objective.log_px_y > 0)
        if self.buffer is None:
            return Draws(x, y, positive, positive_y), nothing
        start = time.perf_counter()
        negative, negative_y = continued(self.model, self.buffer, settings, generator, energy=self.energy)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.meter.sampling_seconds += time.perf_counter() - start
        assert settings.sampling is not None
        self.meter.gradients += settings.sampling.steps * settings.training.batch
        return Draws(x, y, positive, positive_y, negative, negative_y), look(
            negative, positive, clamped=settings.sampling.clamp
        )

    def validate(self) -> str | None:
        """Measure the model on validation data and keep it if it is the best so far; a reason if it cannot be."""
        start = time.perf_counter()
        values: dict[str, float] = {}
        reason = None
        if self.team.leads:
            try:
                with self._evaluated():
                    values = self.validation.measure(self.model)
            except ValueError as error:
                reason = f"the model cannot be validated: {error}"
            else:
                if wrong := [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]:
                    reason = f"the model cannot be validated: {', '.join(wrong)}"
        values, reason = json.loads(self.team.broadcast(json.dumps([values, reason]).encode()))
        if reason is not None:
            return str(reason)
        means = self.means.values()
        self.means = _Means()
        self.epochs.append(Epoch(iteration=self.iteration, values={**values, **means}))
        value = merit(values, self.recipe.selection)
        if value is not None and (self.best is None or value >= self.best.merit):
            self.best = _Best(value, self.iteration, self._weights())
        self.meter.seconds += time.perf_counter() - start
        return None

    @contextmanager
    def _evaluated(self) -> Iterator[None]:
        """A block in which the model is the one that would be kept now."""
        self.model.eval()
        with self.average.swapped(self.model) if self.average is not None else nullcontext():
            if isinstance(self.model, IGEBM):
                with torch.no_grad():
                    batches = torch.split(self.validation.images, BATCH)
                    scores = torch.cat([self.model.logits(x) for x in batches]) - self.model.bias
                self.model.fit_bias(scores, self.validation.labels)
            yield

    def roll_back(self, reason: str, signals: Signals) -> None:
        """Go back to a healthy snapshot with the next change of the policy.

        Raises:
            UserError: if the policy is exhausted.
        """
        iteration = self.iteration
        changes = supervisor.policy(self.recipe)
        if len(self.events) == len(changes):
            attempts = "; ".join(f"at {event.iteration} ({event.reason}): {event.change}" for event in self.events)
            raise UserError(
                f"training diverged at iteration {iteration}: {reason}; the supervisor's policy is exhausted "
                f"(tried {attempts or 'nothing'}): change the recipe"
            )
        content = None
        if self.team.leads:
            previous = self.events[-1].back_to if self.events else None
            limits = self.recipe.supervisor
            span = limits.keep * limits.snapshot_every
            number = supervisor.target(self.ring.iterations, iteration, previous=previous, span=span)
            content = self.ring.content(number)
        events, meter = self.events, self.meter
        self.load(snapshots.decode(self.team.broadcast(content)))
        event = Rollback(
            iteration=iteration,
            reason=reason,
            signals=supervisor.numbers(signals),
            back_to=self.iteration,
            change=changes[len(events)].name,
        )
        self.events = [*events, event]
        self.meter = meter  # what was in vain was spent too
        self.supervisor.reset()
        self.buffer = self._fresh_buffer()
        self.settings, self.parallel = self._objective()
        self.keep()

    def keep(self) -> None:
        """Write a snapshot, unless the supervisor has doubts."""
        if any(self.supervisor.streaks.values()):
            return
        state = self.state()
        if self.team.leads:
            self.ring.save(state, self.iteration)

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        best = self.best
        return {
            **({"given": self.dependencies} if self.dependencies else {}),
            "recipe": self.recipe.identity,
            "iteration": self.iteration,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else [self.average.steps, self.average.values],
            "buffer": None
            if self.buffer is None
            else [self.team.gather(self.buffer.images), self.team.gather(self.buffer.labels)],
            "best": None if best is None else [best.merit, best.iteration, best.state],
            "supervisor": self.supervisor.state(),
            "events": [event.model_dump_json() for event in self.events],
            "epochs": [epoch.model_dump_json() for epoch in self.epochs],
            "means": [self.means.sums, self.means.counts],
            "meter": asdict(self.meter),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Become what :meth:`state` was.

        Raises:
            UserError: if it is of another recipe, other images or another start.
        """
        if state["recipe"] != self.recipe.identity:
            raise UserError(
                f"{self.ring.folder.parent} holds a run of another recipe or seed: resume with that one, or choose "
                "another --output"
            )
        check_dependencies(self.ring.folder.parent, state.get("given", {}), self.dependencies)  # older ones have none
        self.iteration = state["iteration"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.steps = state["average"][0]
            self.average.values = {name: value.to(self.device) for name, value in state["average"][1].items()}
        if self.buffer is not None:
            images, labels = (self.share.of(part).clone().to(self.device) for part in state["buffer"])
            self.buffer = ReplayBuffer(images, labels, self.share)
        self.best = None if state["best"] is None else _Best(*state["best"])
        self.supervisor = Supervisor(self.recipe.supervisor, state["supervisor"])
        self.events = [Rollback.model_validate_json(text) for text in state["events"]]
        self.epochs = [Epoch.model_validate_json(text) for text in state["epochs"]]
        self.means = _Means(*state["means"])
        self.meter = _Meter(**state["meter"])
        self.settings, self.parallel = self._objective()

    def shown(self) -> Tensor | None:
        """Some of the persistent chains."""
        return None if self.buffer is None else self.buffer.images[:, 0][:SHOWN].detach().cpu().clamp(0, 1)

    def _weights(self) -> dict[str, Tensor]:
        """The weights on the CPU as they would be kept now, with the buffer as the model's persistent chains."""
        if self.buffer is not None:
            sampler: ChainSampler = self.model.sampler
            sampler.chains.copy_(self.team.gather(self.buffer.images).flatten(0, 1))
            sampler.labels.copy_(self.team.gather(self.buffer.labels).flatten())
        half = self.recipe.training.store == "fp16"
        with self._evaluated():
            return {
                name: (_halved(value) if half and value.is_floating_point() else value)
                .detach()
                .cpu()
                .clone()
                .contiguous()
                for name, value in self.model.state_dict().items()
            }

    def final_state(self) -> dict[str, Tensor]:
        """The weights of the chosen checkpoint."""
        if self.best is None:
            self.best = _Best(float("nan"), self.iteration, self._weights())
        return self.best.state

    def history(self) -> History:
        """The record of the run; after :meth:`final_state`."""
        assert self.best is not None
        met = self.best.merit == self.best.merit  # else no checkpoint met the criterion
        nll = self.recipe.selection.criterion == "nll"
        value = -self.best.merit if nll else self.best.merit  # an NLL is maximised as its negative
        return History(
            recipe=self.recipe.identity,
            seed=self.seed,
            iterations=self.iteration,
            parameters=sum(p.numel() for p in self.parameters),
            chosen=Chosen(
                criterion=self.recipe.selection.criterion if met else "last",
                iteration=self.best.iteration,
                value=value if value == value else None,
            ),
            rollbacks=self.events,
            epochs=self.epochs,
            cost=TrainingCost(**asdict(self.meter), processes=self.team.size),
            environment=provenance.environment(str(self.device)),
            initial=self.initial,
            images=self.dependencies.get(IMAGES),
        )


def _halved(value: Tensor) -> Tensor:
    """A tensor in half precision; as it is where a number of it would become an infinity, beyond 65504."""
    half = value.half()
    return half if torch.equal(half.isfinite(), value.isfinite()) else value
