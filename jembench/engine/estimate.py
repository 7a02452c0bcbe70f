r"""Estimates: what a run will do and about how long it takes, said before it starts. No number depends on them.

The seconds of a chunk of B examples are, of a model that was measured in this store before, B times the rate that was
kept (:mod:`jembench.store.rates`). Otherwise they follow from what its measurement declares
(:class:`jembench.attacks.passes.Passes`: f forwards, g gradients, n passes one after another, s seconds beside them),

.. math::
    t = B \bigl( (f - g)\, t_f + g\, t_g + s \bigr) + n\, t_0 + t_c,

with the seconds :math:`t_f, t_g` of a row forwards and forth and back, :math:`t_0` of a pass of a single row, and
:math:`t_c` of writing a chunk. The first three are timed: one forward pass and one input gradient of each model that
matters, of its first test images and of one of them, after a warm-up (:func:`calibrated`). A run that is tiny whatever
the model is not worth that and gets a guess.

The seconds of a run are those of its chunks over its workers, each after those that it builds on, with the start of the
workers, and the metrics and the pictures, which no worker shares. Where others use the
machine all are stretched by what this process had to wait for a core so far (:func:`contention`).
"""

from __future__ import annotations

import heapq
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench import data
from jembench.attacks.passes import ModelFacts, Passes
from jembench.engine import bench
from jembench.ground import generators, guard
from jembench.ground.identity import identity
from jembench.ground.numerics import reproducible
from jembench.ground.progress import Show, duration, silent
from jembench.measurements.contract import describe, passes
from jembench.store import rates
from jembench.store.rates import Rate, Rates
from jembench.types import UserError
from jembench.zoo import catalogue

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.engine.bench import Outcome
    from jembench.engine.plan import Job, Plan
    from jembench.evaluators.contract import Evaluator
    from jembench.measurements.contract import Measurement
    from jembench.store.records import Store
    from jembench.zoo.catalogue import ModelSpec

LOG = logging.getLogger("jembench")

ANNOUNCED = 5.0  # seconds: shorter runs are not announced
TINY = 2.0  # seconds, by the guess: a run that is not worth a calibration
TRUSTED = 10.0  # seconds for which the estimate is believed against what is seen
ROWS = 64  # images of a calibration, at most a chunk
REPEATS, SHORT = 5, 0.008  # of a timed pass, as long as they take less than so many seconds together
NEGLIGIBLE = 0.05  # share of the passes of a plan below which another model of it is not calibrated
PROBE = 10, 32  # steps and images of the PGD that says how much a model resists
HARDER = 1.4  # exponent of the share that it leaves right: what a whole battery leaves of the baselines of digits
STEP = 8e-4  # seconds of a step of an attack beside its pass
CHUNK = 8e-3  # seconds to encode and write the records of a chunk
START = 2.5  # seconds until a process has its imports
PICTURE, PICTURES = 0.15, 1.2  # seconds to draw one, and to have what draws them
ASSEMBLY = 2e-5  # seconds of metrics for a row of records, where an evaluator does not declare ``assembly``
GUESS = 2e-5  # seconds of a row of a network for 1,000 numbers of an image, and its factor for a gradient
CROWDED = 3.0  # largest factor by others on the machine
ALONE = 0.05  # share of its time that a process waits for a core on a machine of its own, at most


@dataclass(frozen=True)
class Pace:
    """Seconds that a model takes: of a row forwards, of a row forth and back, of a pass of one row each way."""

    forward: float
    gradient: float
    one_forward: float = 0.0
    one_gradient: float = 0.0

    def seconds(self, taken: Passes, rows: int) -> float:
        """Of a chunk, without writing it."""
        there, back = max(taken.forwards - taken.gradients, 0.0), taken.gradients
        shared = rows * (there * self.forward + back * self.gradient + taken.seconds)
        return shared + self._sequence(taken)

    def _sequence(self, taken: Passes) -> float:
        """What passes one after another take beyond their rows."""
        whole = max(taken.forwards, taken.gradients)
        if not whole:
            return 0.0
        back = min(taken.gradients / whole, 1.0)
        one = (1 - back) * self.one_forward + back * self.one_gradient
        return taken.sequence * (one + (0.0 if taken.calls is None else STEP))


@dataclass(frozen=True)
class Portion:
    """What an evaluator adds to a run, without what those before it need too.

    Attributes:
        model: name of the model.
        evaluator: name of the evaluator.
        chunks: number of its chunks.
        there: number of those that are in the store.
        forwards: number of forward passes of single examples that are still to be done, about.
        gradients: number of input gradients, likewise.
        seconds: what they and its metrics take on one core, about.
    """

    model: str
    evaluator: str
    chunks: int
    there: int
    forwards: float
    gradients: float
    seconds: float

    def __str__(self) -> str:
        """One line."""
        work = f"{_round(self.forwards)} forward and {_round(self.gradients)} gradient passes, " * (
            self.chunks > self.there
        )
        return (
            f"{self.model}, {self.evaluator}: {_plural(self.chunks, 'chunk')}, {self.there} there, "
            f"{work}about {duration(self.seconds)}"
        )


@dataclass(frozen=True)
class Forecast:
    """What a run will do.

    Attributes:
        chunks: number of different chunks that the results need.
        there: number of those that are in the store.
        workers: processes that compute the others.
        seconds: from now to the end, about.
        shares: the same by model and evaluator.
        tail: those of the metrics and the pictures, which come after the last chunk.
        jobs: about how many seconds each chunk takes that is not there, by its key.
    """

    chunks: int
    there: int
    workers: int
    seconds: float
    shares: tuple[Portion, ...] = ()
    tail: float = 0.0
    jobs: Mapping[str, float] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """``412 chunks, 96 there, about 3 min with 2 workers``."""
        return (
            f"{_plural(self.chunks, 'chunk')}, {self.there} there, about {duration(self.seconds)} with "
            f"{_plural(self.workers, 'worker')}"
        )


def estimate(plans: Sequence[Plan], store: Store, *, workers: int, exact: bool = False) -> Forecast:
    """What it will take to have the results of these plans.

    Args:
        plans: what to have.
        store: where records and results are; nothing is written.
        workers: processes that compute chunks.
        exact: whether models are timed whatever a run seems to take, and the start of a process counts too.

    Raises:
        UserError: if a model or its images cannot be loaded, or it fails.
    """
    cold = "torch" not in sys.modules
    every = {job.key: job for plan in plans for job in plan.jobs}
    open_plans = [plan for plan in plans if bench.missing(plan, store)]
    absent = {job.key: job for plan in open_plans for job in plan.jobs if not store.has(job.key)}
    if not open_plans:
        return Forecast(len(every), len(every), workers, 0.0)
    clock = _Clock(open_plans, store, list(absent.values()))
    clock.read()
    guess = sum(clock.seconds(job) for job in absent.values())
    if clock.unknown and (exact or guess > TINY):
        clock.calibrate()
    stretch = contention(min(workers, max(len(absent), 1)))
    seconds = {key: stretch * clock.seconds(job) for key, job in absent.items()}
    whole = _parallel(list(absent.values()), seconds, workers)
    whole += START * bool(absent) * (workers > 1)
    whole += START * (cold if exact else "torch" not in sys.modules)
    counted: set[str] = set()
    alone = contention(1)
    rows = [row for plan in open_plans for row in _shares(plan, clock, absent, seconds, counted, alone)]
    drawn = any(getattr(evaluator, "pictures", {}) for plan in open_plans for evaluator in plan.evaluators)
    tail = sum(own for _, own in rows) + alone * PICTURES * drawn
    there = len(every) - len(absent)
    return Forecast(len(every), there, workers, whole + tail, tuple(share for share, _ in rows), tail, seconds)


def followed(plans: Sequence[Plan], store: Store, *, workers: int, progress: Show) -> list[Outcome]:
    """Have :func:`jembench.engine.bench.run` compute what is missing: said before, timed meanwhile, kept afterwards.

    Args:
        plans: what to have.
        store: where records and results are; gets the rates.
        workers: processes that compute chunks.
        progress: called with (chunks done, chunks to do, name of the next).

    Raises:
        UserError: for bad input of any kind; finished chunks stay.
    """
    if not any(bench.missing(plan, store) for plan in plans):
        return bench.run(plans, store, workers=workers, progress=progress)
    forecast = estimate(plans, store, workers=workers)
    if forecast.seconds > ANNOUNCED and progress is not silent:
        LOG.info("%s", forecast)
    ahead = {"ahead": Ahead(forecast)} if getattr(progress, "timed", False) else {}
    outcomes: list[Outcome] = []
    try:
        outcomes = bench.run(plans, store, workers=workers, progress=progress, **ahead)
    finally:
        learn(plans, store, forecast.jobs, outcomes, workers=workers)
    return outcomes


class Ahead:
    """What is left of a run, called with the key of every chunk that is finished.

    Args:
        forecast: what was estimated; how far it is off so far stretches the rest.
        clock: seconds.
    """

    def __init__(self, forecast: Forecast, clock: Callable[[], float] = time.monotonic) -> None:
        self._forecast, self._clock = forecast, clock
        self._start, self._done = clock(), 0.0
        self._total = sum(forecast.jobs.values())

    def __call__(self, key: str) -> Mapping[str, float]:
        """``left``, in seconds, and the ``share`` of the work that is done."""
        self._done += self._forecast.jobs.get(key, 0.0)
        share = min(self._done / self._total, 1.0) if self._total else 0.0
        whole = self._forecast.seconds - self._forecast.tail
        taken = self._clock() - self._start
        stretch = (taken + TRUSTED) / (share * whole + TRUSTED)
        return {"left": (1 - share) * whole * stretch + self._forecast.tail, "share": share}


def learn(
    plans: Sequence[Plan], store: Store, absent: Iterable[str], outcomes: Iterable[Outcome] = (), *, workers: int = 1
) -> None:
    """Keep the rates of the chunks that were computed now, and of the metrics that were made of them.

    They are those of a machine of one's own: :func:`contention` is taken out of them, as it goes into an estimate.

    Args:
        plans: what was asked for.
        store: gets the rates.
        absent: keys of the chunks that were missing before.
        outcomes: the results, in the order of the plans.
        workers: processes that computed the chunks.
    """
    crowded, alone = contention(workers), contention(1)
    taken: dict[str, dict[str, list[tuple[float, int]]]] = {}
    for job in _jobs(plans, set(absent)):
        with suppress(UserError, KeyError, TypeError):  # a cost that is damaged is said where it counts
            seconds = store.cost(job.key)["seconds"] if store.has(job.key) else None
            if seconds is None:
                continue
            entry = taken.setdefault(job.model.fingerprint, {}).setdefault(_rate_key(job), [])
            entry.append((seconds / crowded, job.stop - job.start))
    fresh = {fingerprint: {key: _rate(each) for key, each in own.items()} for fingerprint, own in taken.items()}
    judged: dict[str, dict[str, Rate]] = {}
    for plan, outcome in zip(plans, outcomes, strict=False):
        rows = {each.name: _rows(plan, each) for each in plan.evaluators}
        own = judged.setdefault(plan.model.fingerprint, {})
        for evaluator in plan.evaluators:
            if evaluator.name in outcome.assembly and rows[evaluator.name]:
                own[_judge_key(evaluator)] = _rate([(outcome.assembly[evaluator.name] / alone, rows[evaluator.name])])
    for fingerprint in fresh.keys() | {name for name, own in judged.items() if own}:
        entries = Rates(measurements=fresh.get(fingerprint, {}), evaluators=judged.get(fingerprint, {}))
        rates.keep(store, fingerprint, entries)


def contention(workers: int) -> float:
    """By how much work of ours is slower than on a machine of our own; 1 where that is not known.

    With n others that are as busy, a process on c cores waits for one as long as :math:`(n + 1) / c - 1` of the time
    that it runs, which Linux counts; w workers then take :math:`(n + w) / c` times as long. What this process, which is
    young, has seen so far is averaged with the load of the last minute, unless it did not have to wait at all.
    """
    cores = os.cpu_count() or 1
    try:
        ran, waited, _ = map(int, Path("/proc/self/schedstat").read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return max(1.0, workers / cores)
    others = 0.0
    if waited > ALONE * ran:
        others = (cores * (1 + waited / max(ran, 1)) - 1 + max(os.getloadavg()[0] - 1, 0.0)) / 2
    return min(CROWDED, max(1.0, (others + workers) / cores))


class _Clock:
    """Seconds of jobs, by rates, by calibrations, by a guess."""

    def __init__(self, plans: Sequence[Plan], store: Store, jobs: Sequence[Job]) -> None:
        self._store, self._jobs = store, jobs
        self._tracks = {plan.model.track: plan.track for plan in plans}
        self._rates: dict[str, Rates] = {}
        self._keys: dict[tuple[Measurement, str], str] = {}
        self._paces: dict[str, Pace] = {}
        self._facts: dict[str, ModelFacts] = {}
        self._passes: dict[tuple[str, Measurement], Passes] = {}

    def read(self) -> None:
        """Read the rates of all models."""
        for job in self._jobs:
            if job.model.fingerprint not in self._rates:
                self._rates[job.model.fingerprint] = rates.known(self._store, job.model.fingerprint)

    @property
    def unknown(self) -> list[Job]:
        """The jobs that have no rate."""
        return [job for job in self._jobs if self._rate(job) is None]

    def passes(self, job: Job) -> Passes:
        """What an example of a job takes."""
        key = (job.model.fingerprint, job.measurement)
        if key not in self._passes:
            self._passes[key] = passes(job.measurement, self._fact(job.model))
        return self._passes[key]

    def seconds(self, job: Job) -> float:
        """What a job takes on a core of its own."""
        rows = job.stop - job.start
        rate = self._rate(job)
        if rate is not None:
            return rate.seconds * rows + CHUNK
        pace = self._paces.get(job.model.fingerprint) or self._typical(job.model)
        return pace.seconds(self.passes(job), rows) + CHUNK

    def assembly(self, plan: Plan, evaluator: Evaluator) -> float:
        """What the metrics of an evaluator take."""
        own = self._rates.get(plan.model.fingerprint) or rates.known(self._store, plan.model.fingerprint)
        rate = own.evaluators.get(_judge_key(evaluator))
        rows = _rows(plan, evaluator)
        if rate is not None and rate.holds(rows):
            return rate.seconds * rows
        return float(getattr(evaluator, "assembly", ASSEMBLY)) * rows

    def calibrate(self) -> None:
        """Time the models that matter."""
        jobs = self.unknown
        weights: dict[str, float] = {}
        specs: dict[str, ModelSpec] = {}
        for job in jobs:
            taken = self.passes(job)
            specs.setdefault(job.model.fingerprint, job.model)
            weight = (taken.forwards + 2 * taken.gradients) * (job.stop - job.start)
            weights[job.model.fingerprint] = weights.get(job.model.fingerprint, 0.0) + weight
        total = sum(weights.values())
        for fingerprint, weight in weights.items():
            if weight > NEGLIGIBLE * total:
                attacked = any(hasattr(job.measurement, "threat") for job in jobs if job.model == specs[fingerprint])
                spec = specs[fingerprint]
                device = next(job.device for job in jobs if job.model == spec)
                track = self._tracks.get(spec.track) or data.track(spec.track)
                pace, facts = calibrated(spec, track, device=device, attacked=attacked)
                self._facts[fingerprint] = facts
                if pace is not None:
                    self._paces[fingerprint] = pace
        self._passes.clear()

    def _fact(self, spec: ModelSpec) -> ModelFacts:
        if spec.fingerprint not in self._facts:
            self._facts[spec.fingerprint] = _facts(spec, self._tracks.get(spec.track) or data.track(spec.track))
        return self._facts[spec.fingerprint]

    def _typical(self, spec: ModelSpec) -> Pace:
        """The pace of a model that was not timed: the mean of those that were, or a guess by the size of the images."""
        if self._paces:
            every = list(self._paces.values())
            return Pace(*(sum(values) / len(every) for values in zip(*map(_numbers, every), strict=True)))
        row = GUESS * self._fact(spec).pixels / 64
        return Pace(row, 2.5 * row)

    def _rate(self, job: Job) -> Rate | None:
        known = self._rates[job.model.fingerprint].measurements
        if not known:
            return None
        name = (job.measurement, job.device)
        if name not in self._keys:
            self._keys[name] = _rate_key(job)
        rate = known.get(self._keys[name])
        return rate if rate is not None and rate.holds(job.stop - job.start) else None


def _numbers(pace: Pace) -> tuple[float, ...]:
    return pace.forward, pace.gradient, pace.one_forward, pace.one_gradient


def _facts(spec: ModelSpec, track: Track) -> ModelFacts:
    """What is known of a model that is not loaded."""
    pixels = track.shape[0] * track.shape[1] * track.shape[2]
    defence = spec.defence
    return ModelFacts(
        spec.capabilities,
        headlines={grid.norm: grid.headline for grid in track.threats},
        pixels=pixels,
        stochastic=spec.stochastic,
        votes=1 if defence is None else defence.votes,
        refinement=0 if defence is None else defence.steps,
    )


def calibrated(
    spec: ModelSpec,
    track: Track,
    *,
    device: str = "cpu",
    attacked: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Pace | None, ModelFacts]:
    """The pace of a model on this machine, without its defence, None if it has none; the facts about it.

    Args:
        spec: the model.
        track: the track, whose first test images it is shown.
        device: a torch device.
        attacked: whether to see how much of a short attack it resists.
        clock: seconds.

    Raises:
        UserError: if the model or the images cannot be loaded.
    """
    import torch

    bare = spec if spec.defence is None else replace(spec, name=spec.base, defence=None, stochastic=False)
    model = catalogue.load(replace(bare, fingerprint=""), device=device)
    facts = _facts(spec, track)
    steps = getattr(getattr(model, "chain", None), "steps", None)
    facts = replace(
        facts,
        normalized=bool(getattr(model, "normalized", False)),
        steps=steps if isinstance(steps, int) else facts.steps,
    )
    try:
        images = data.images(track, "test")
    except UserError:  # what needs them will say so
        return None, facts
    count = min(ROWS, track.chunk, len(images))
    x = torch.from_numpy(images.pixels(0, count)).to(device)
    try:
        with guard.guarded(f"model {spec.name!r} fails"), reproducible(), generators.forked("estimate"):
            pace = timed(_forward(model, bare), _gradient(model, bare), x, clock=clock)
            if attacked and "classifier" in spec.capabilities and track.threats:
                facts = replace(facts, robust=_robust(model, x, images.labels[:count], track))
    except UserError:  # one that fails does so again in its chunk, which says on what
        return None, facts
    return pace, facts


def timed(forward: Any, gradient: Any, x: Any, *, clock: Callable[[], float] = time.perf_counter) -> Pace:
    """The pace of two functions of images ``x (B, C, H, W)``: of B rows and of one, after a warm-up each.

    What is over at once is timed again and the least counts: what it waits for is :func:`contention`'s to say.
    """

    def seconds(function: Any, images: Any) -> float:
        if function is None:
            return 0.0
        function(images)
        taken: list[float] = []
        while len(taken) < REPEATS and sum(taken) < SHORT:
            start = clock()
            function(images)
            taken.append(clock() - start)
        return min(taken)

    n = len(x)
    times = {}
    for name, function in (("forward", forward), ("gradient", gradient)):
        one, every = seconds(function, x[:1]), seconds(function, x)
        row = max(every - one, 0.0) / max(n - 1, 1)
        times[name] = (row or every / n, max(one - row, 0.0))
    (forward_row, forward_one), (gradient_row, gradient_one) = times["forward"], times["gradient"]
    return Pace(forward_row, gradient_row or 3 * forward_row, forward_one, gradient_one or 3 * forward_one)


def _forward(model: Any, spec: ModelSpec) -> Any:
    """A forward pass without gradients; None of a model that has none."""
    import torch

    from jembench.measurements.logits import logits

    def forward(x: Any) -> None:
        with torch.no_grad():
            if "classifier" in spec.capabilities:
                logits(model, x, torch.Generator()).cpu()  # a GPU says that it is done by handing something over
            elif "density" in spec.capabilities:
                model.log_density(x).cpu()
            else:
                model.embed(x)[0].cpu()

    able = spec.capabilities & {"classifier", "density"} or callable(getattr(model, "embed", None))
    return forward if able else None


def _gradient(model: Any, spec: ModelSpec) -> Any:
    """An input gradient; None of a model that has none."""
    import torch

    from jembench.measurements.logits import logits

    if not spec.capabilities & {"classifier", "density"}:
        return None

    def gradient(x: Any) -> None:
        with torch.enable_grad():
            z = x.clone().requires_grad_()
            dense = "density" in spec.capabilities
            total = model.log_density(z).sum() if dense else model.logits(z).logsumexp(1).sum()
            if total.requires_grad:
                (slope,) = torch.autograd.grad(total, z, allow_unused=True)
                _ = None if slope is None else slope.cpu()

    if "density" in spec.capabilities or not getattr(model, "stochastic", False):
        return gradient
    return lambda x: logits(model, x, torch.Generator())


def _robust(model: Any, x: Any, labels: Any, track: Track) -> float:
    """Portion of images that a short PGD leaves right within the first headline radius."""
    import torch

    from jembench.attacks.pgd import pgd

    steps, count = PROBE
    grid = track.threats[0]
    x, y = x[:count], torch.from_numpy(labels[:count]).to(x.device)
    if getattr(model, "stochastic", False):
        return ModelFacts().robust
    generator = generators.generator("estimate")

    def loss(z: Any) -> Any:
        return torch.nn.functional.cross_entropy(model.logits(z), y, reduction="none")

    end = pgd(loss, x, norm=grid.norm, eps=grid.headline, steps=steps, size=grid.headline / 4, generator=generator)
    with torch.no_grad():
        right = float((model.logits(end).argmax(1) == y).float().mean())
    return math.pow(right, HARDER)


def _parallel(jobs: Sequence[Job], seconds: Mapping[str, float], workers: int) -> float:
    """Seconds until the last job ends, if whoever is free takes the next once those that it builds on are there."""
    ends: dict[str, float] = {}
    free = [0.0] * workers
    for job in jobs:  # each after those that it builds on
        ready = max((ends[key] for key in job.before if key in ends), default=0.0)
        ends[job.key] = max(heapq.heappop(free), ready) + seconds[job.key]
        heapq.heappush(free, ends[job.key])
    return max(free)


def _shares(
    plan: Plan,
    clock: _Clock,
    absent: Mapping[str, Job],
    seconds: Mapping[str, float],
    counted: set[str],
    alone: float,
) -> Iterator[tuple[Portion, float]]:
    """The shares of a plan, each with the seconds that no worker shares; what is counted once is not again."""
    parts = dict(plan.parts)
    for evaluator in plan.evaluators:
        chunks, there, forwards, gradients, total = 0, 0, 0.0, 0.0, 0.0
        for need in _needs(evaluator.needs(plan.track)):
            for job in parts.get(need, ()):
                if job.key in counted:
                    continue
                counted.add(job.key)
                chunks += 1
                if job.key not in absent:
                    there += 1
                    continue
                taken, rows = clock.passes(job), job.stop - job.start
                forwards, gradients = forwards + rows * taken.forwards, gradients + rows * taken.gradients
                total += seconds[job.key]
        own = alone * (clock.assembly(plan, evaluator) + PICTURE * len(getattr(evaluator, "pictures", {})))
        yield Portion(plan.model.name, evaluator.name, chunks, there, forwards, gradients, total + own), own


def _needs(needs: Iterable[Any]) -> Iterator[Any]:
    """Needs, each after those that it builds on."""
    for need in needs:
        yield from _needs((*need.given, *need.whole))
        yield need


def _rows(plan: Plan, evaluator: Evaluator) -> int:
    """The number of rows of records that an evaluator reads, of those that build on no others."""
    needs = {need for need in evaluator.needs(plan.track) if not need.given}
    return sum(job.stop - job.start for need, jobs in plan.parts if need in needs for job in jobs)


def _jobs(plans: Iterable[Plan], keys: set[str]) -> Iterator[Job]:
    """The jobs of these keys, each once."""
    yield from {job.key: job for plan in plans for job in plan.jobs if job.key in keys}.values()


def _rate_key(job: Job) -> str:
    return identity([describe(job.measurement), job.device.partition(":")[0]])[:16]


def _judge_key(evaluator: Evaluator) -> str:
    return identity(describe(evaluator))[:16]


def _rate(taken: Sequence[tuple[float, int]]) -> Rate:
    rows = sum(count for _, count in taken)
    return Rate(seconds=sum(seconds for seconds, _ in taken) / rows, rows=rows / len(taken))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _round(number: float) -> str:
    """To two digits: ``41,000``."""
    return f"{float(f'{number:.2g}'):,.0f}"
