"""Killed and resumed is uninterrupted; what diverges is noticed, undone and recorded; what cannot go on says so."""

import io
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file, save_file
from torch import Tensor, nn

from jembench import data
from jembench.ground import generators
from jembench.ground.identity import file_sha256
from jembench.langevin.sgld import SGLD
from jembench.langevin.starts import Uniform
from jembench.models.chains import ChainSampler
from jembench.models.jem import JEM
from jembench.models.recipes import Recipe, read_recipe
from jembench.models.small import SmallNet
from jembench.store.history import HISTORY, Epoch, Rollback, read_history
from jembench.training import draws, loop, snapshots
from jembench.training import run as runs
from jembench.training.loop import train
from jembench.training.objective import Draws
from jembench.training.run import Progress
from jembench.training.supervisor import PATIENCE, Signals, policy
from jembench.training.team import Team
from jembench.types import UserError
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import parse
from jembench.zoo.weights import load_weights

JEM_PART = {
    "model": {"kind": "jem", "width": 4},
    "objective": {"log_px": 1.0, "energy_l2": 0.01},
    "sampling": {"steps": 3, "buffer": 64},
}
#: What changes the state of a run: each has something that a snapshot must hold.
RECIPES: dict[str, dict[str, Any]] = {
    "jem": JEM_PART,
    "jem-rich": {
        **JEM_PART,
        "data": {"shift": 1, "labels_per_class": 20},
        "optimiser": {"warmup": 3, "decay": 0.5, "decay_at": [0.5], "sam": 0.05, "adaptive": True, "ema": 0.9},
        "sampling": {"steps": 2, "inner": 2, "buffer": 64, "start": "gaussian", "clamp": True, "restart": 0.2},
        "selection": {"criterion": "nll", "every": 4},
    },
    "igebm": {
        "model": {"kind": "igebm", "network": "residual", "width": 2},
        "objective": {"log_py_x": 0.0, "log_px_y": 1.0, "energy_l2": 0.1},
        "optimiser": {"ema": 0.9},
        "sampling": {"steps": 2, "buffer": 64},
        "selection": {"criterion": "accuracy", "every": 4},
    },
    "glow-cond": {
        "model": {"kind": "glow-cond", "network": "flow", "width": 4, "depth": 1, "scales": 2},
        "objective": {"log_py_x": 1.0, "log_px": 0.1},
        "selection": {"criterion": "likelihood", "every": 4},
    },
    "adversary": {
        "model": {"kind": "softmax", "width": 4},
        "adversary": {"eps": 0.1, "steps": 2, "size": 0.05},
        "optimiser": {"name": "sgd", "learning_rate": 0.05, "clip": 1.0},
        "objective": {"entropy": 0.1, "soft_ece": 0.1},
        "selection": {"criterion": "ece-accuracy", "every": 4, "max_ece": 1.0},
    },
    "softmax": {"model": {"kind": "softmax", "width": 4}},
}


def recipe(name: str = "jem", **changes: dict[str, Any]) -> Recipe:
    """Twelve iterations of a small model; ``changes`` are merged into the parts."""
    content: dict[str, Any] = {
        "track": "digits",
        "about": "a test",
        "training": {"iterations": 12, "batch": 8},
        "supervisor": {"snapshot_every": 5},
        **RECIPES[name],
    }
    for part, values in changes.items():
        content[part] = {**content.get(part, {}), **values}
    return Recipe.model_validate(content)


class Watch:
    """An observer that keeps what it is told, and calls ``act`` first."""

    def __init__(self, act: Callable[[str, int], None] = lambda *_: None) -> None:
        self.act = act
        self.progress: list[Progress] = []
        self.epochs: list[tuple[Epoch, Tensor | None]] = []
        self.events: list[Rollback] = []

    def iterated(self, progress: Progress) -> None:
        self.progress.append(progress)
        self.act("iterated", progress.iteration)

    def validated(self, epoch: Epoch, samples: Tensor | None) -> None:
        self.epochs.append((epoch, samples))
        self.act("validated", epoch.iteration)

    def rolled_back(self, event: Rollback) -> None:
        self.events.append(event)
        self.act("rolled_back", event.iteration)


class Killed(BaseException):
    """What stops a run from outside."""


def at(place: str, iteration: int) -> Watch:
    """An observer at whose ``place`` the run dies."""

    def act(*passing: object) -> None:
        if passing == (place, iteration):
            raise Killed

    return Watch(act)


def interrupt(made: Recipe, folder: Path, place: str, iteration: int, **options: Any) -> None:
    """Train until the run dies."""
    with pytest.raises(Killed):
        train(made, folder, observers=[at(place, iteration)], **options)


def alone(made: Recipe, folder: Path = Path("nowhere")) -> runs.Run:
    """A run in this process that writes nothing by itself."""
    return runs.Run(made, data.track(made.track), torch.device("cpu"), Team(), folder)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """The weights file of an undisturbed run of each of the recipes."""
    folder, known = tmp_path_factory.mktemp("whole"), {}

    def weights(name: str) -> bytes:
        if name not in known:
            known[name] = train(recipe(name), folder / name).read_bytes()
        return known[name]

    return weights


# Resume


@pytest.mark.parametrize(
    ("name", "deaths"),
    [
        ("jem", [("iterated", 8)]),
        ("jem", [("iterated", 1), ("iterated", 5), ("iterated", 6), ("iterated", 11)]),
        ("jem-rich", [("iterated", 7)]),
        ("jem-rich", [("validated", 4), ("validated", 8), ("iterated", 9), ("iterated", 12)]),
        ("igebm", [("iterated", 6), ("validated", 12)]),
        ("glow-cond", [("iterated", 6), ("iterated", 11)]),
        ("adversary", [("iterated", 7), ("validated", 8)]),
    ],
)
def test_a_run_that_was_killed_and_resumed_ends_in_the_same_weights(
    tmp_path: Path, uninterrupted: Callable[[str], bytes], name: str, deaths: list[tuple[str, int]]
) -> None:
    """At a snapshot, after one, between validation and snapshot, before the end, again and again."""
    last = 0
    for number, (place, iteration) in enumerate(deaths):
        interrupt(recipe(name), tmp_path, place, iteration, resume=number > 0)
        last = max(last, (iteration if place == "iterated" and iteration % 5 == 0 else iteration - 1) // 5 * 5)
        torch.rand(3)  # nothing hangs on the global generator
    watch = Watch()
    path = train(recipe(name), tmp_path, resume=True, observers=[watch])
    assert [progress.iteration for progress in watch.progress] == list(range(last + 1, 13))  # not from the start
    assert path.read_bytes() == uninterrupted(name)
    assert sorted(item.name for item in tmp_path.iterdir()) == [HISTORY, baselines.WEIGHTS]  # the snapshots are gone


def test_a_network_that_drops_units_draws_by_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout draws from the global generator; resumed, the run still ends in the same weights, by its seed alone."""
    trunk = SmallNet.trunk
    monkeypatch.setattr(
        SmallNet, "trunk", lambda net, hidden: trunk(net, nn.functional.dropout(hidden, 0.5, net.training))
    )
    whole = train(recipe("softmax"), tmp_path / "whole").read_bytes()
    torch.rand(3)
    interrupt(recipe("softmax"), tmp_path / "killed", "iterated", 7)
    torch.rand(5)
    assert train(recipe("softmax"), tmp_path / "killed", resume=True).read_bytes() == whole
    other = train(recipe("softmax", training={"iterations": 12, "batch": 8, "seed": 1}), tmp_path / "other")
    assert other.read_bytes() != whole


def test_a_run_that_was_killed_before_its_first_snapshot_begins_anew(tmp_path: Path) -> None:
    (tmp_path / snapshots.FOLDER).mkdir()
    assert train(recipe("softmax"), tmp_path).exists()


def test_another_recipe_in_the_folder_is_not_overwritten(tmp_path: Path) -> None:
    mine, other = tmp_path / baselines.RECIPE, tmp_path / "other.toml"
    mine.write_text("# mine")
    other.write_text("# other")
    with pytest.raises(UserError, match="is another recipe: choose another --output"):
        train(recipe("softmax"), tmp_path, source=other)
    assert mine.read_text() == "# mine"


def test_what_is_frozen_stays_frozen() -> None:
    """Sampling holds the trained weights fixed and thaws no others."""
    run = alone(recipe())
    assert run.buffer is not None
    run.parameters[0].requires_grad_(False)
    draws.continued(run.model, run.buffer, run.settings, generators.generator("samples"))
    assert [p.requires_grad for p in run.parameters] == [False, *[True] * (len(run.parameters) - 1)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("iteration", [0, 5, 10])
def test_a_kill_around_the_writing_of_a_snapshot(
    tmp_path: Path, uninterrupted: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch, when: str, iteration: int
) -> None:
    keep = runs.Run.keep

    def killed(run: runs.Run) -> None:
        if when == "after" or run.iteration != iteration:
            keep(run)
        if run.iteration == iteration:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "keep", killed)
        with pytest.raises(Killed):
            train(recipe("jem-rich"), tmp_path)
    there = when == "after" or iteration > 0
    if not there:
        with pytest.raises(UserError, match="holds no snapshot to resume"):
            train(recipe("jem-rich"), tmp_path, resume=True)
    path = train(recipe("jem-rich"), tmp_path, resume=there)
    assert path.read_bytes() == uninterrupted("jem-rich")


def test_a_kill_at_the_very_end(
    tmp_path: Path, uninterrupted: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is written, the weights are not."""

    def killed(*_: object) -> bytes:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save", killed)
        with pytest.raises(Killed):
            train(recipe(), tmp_path)
    assert (tmp_path / HISTORY).exists()
    assert train(recipe(), tmp_path, resume=True).read_bytes() == uninterrupted("jem")


def test_the_record_of_a_resumed_run_is_that_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """But for its cost."""
    train(recipe("jem-rich"), tmp_path / "whole")
    interrupt(recipe("jem-rich"), tmp_path / "half", "iterated", 9)
    train(recipe("jem-rich"), tmp_path / "half", resume=True)
    one, other = (read_history(tmp_path / name).model_dump() for name in ("whole", "half"))
    for found in (one, other):
        assert found["cost"].pop("seconds") > found["cost"].pop("sampling_seconds") > 0
    assert one == other
    assert one["cost"] == {"gradients": 12 * 8 * 2, "processes": 1}
    assert [epoch["iteration"] for epoch in one["epochs"]] == [4, 8, 12]


DRIVER = '''
"""Import once, then: a process that trains, killed a moment after so many iterations, and another, and another."""
import json, os, signal, sys, time
from pathlib import Path
from jembench import data; from jembench.training import loop as training
from jembench.training import run as runs
from jembench.models.recipes import Recipe

data.load("digits", "validation")
recipe = Recipe.model_validate_json(sys.argv[1])
folder, kills = Path(sys.argv[2]), json.loads(sys.argv[3])


class Tell:
    def iterated(self, progress): os.write(writing, b"i")
    def validated(self, epoch, samples): pass
    def rolled_back(self, event): pass


for iterations, delay in [*kills, (10**9, 0)]:
    resume = (folder / "snapshots").exists()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            training.train(recipe, folder, resume=resume, observers=[Tell()])
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    done = 0
    while done < iterations and os.read(reading, 1):
        done += 1
    if done >= iterations:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    print(json.dumps([done, os.waitstatus_to_exitcode(status)]), flush=True)
'''


def real_kills(folder: Path, count: int, iterations: int, seed: int) -> list[list[int]]:
    """SIGKILL after random numbers of iterations and fractions of one; what each process did and how it ended."""
    made = recipe("jem-rich", training={"iterations": iterations}, supervisor={"snapshot_every": 3})
    draw = random.Random(seed)
    kills = [(draw.randint(1, iterations // (2 * count)), draw.uniform(0, 0.03)) for _ in range(count)]
    run = [sys.executable, "-c", DRIVER, made.model_dump_json(), str(folder / "killed"), json.dumps(kills)]
    lines = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
    assert (folder / "killed" / baselines.WEIGHTS).read_bytes() == train(made, folder / "whole").read_bytes()
    assert sorted(path.name for path in (folder / "killed").iterdir()) == [HISTORY, baselines.WEIGHTS]
    return [json.loads(line) for line in lines]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
def test_three_real_kills(tmp_path: Path) -> None:
    ends = real_kills(tmp_path, 3, 40, seed=0)
    assert [code for _, code in ends] == [-signal.SIGKILL] * 3 + [0]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, 6))
def test_ten_real_kills(tmp_path: Path, seed: int) -> None:
    ends = real_kills(tmp_path, 10, 100, seed=seed)
    assert [code for _, code in ends] == [-signal.SIGKILL] * 10 + [0]


def test_a_damaged_newest_snapshot_costs_time_and_nothing_else(
    tmp_path: Path, uninterrupted: Callable[[str], bytes]
) -> None:
    interrupt(recipe(), tmp_path, "iterated", 11)
    newest = max((tmp_path / snapshots.FOLDER).iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    watch = Watch()
    path = train(recipe(), tmp_path, resume=True, observers=[watch])
    assert watch.progress[0].iteration == 6
    assert path.read_bytes() == uninterrupted("jem")


def test_a_full_disk_stops_the_run_which_can_be_resumed(
    tmp_path: Path, uninterrupted: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); nothing was lost"):
            train(recipe(), tmp_path)
    ring, content = snapshots.reopen(tmp_path / snapshots.FOLDER, 3)
    assert ring.iterations == [0, 5]
    assert snapshots.decode(content)["iteration"] == 5
    assert train(recipe(), tmp_path, resume=True).read_bytes() == uninterrupted("jem")


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_snapshot_holds_the_whole_state(name: str) -> None:
    """Loaded into a run of its own, the same iterations follow, signal for signal."""
    one = alone(recipe(name))
    for _ in range(3):
        one.iterate()
    file = one.state()
    other = alone(recipe(name))
    other.load(snapshots.decode(packed(file)))
    for _ in range(3):
        assert_same(one.iterate().signals, other.iterate().signals)
    assert_equal_states(one.state(), other.state())


def packed(state: dict[str, Any]) -> bytes:
    """As in a file."""
    file = io.BytesIO()
    torch.save({"ring": [], "state": state}, file)
    return file.getvalue()


def assert_same(one: Signals, other: Signals) -> None:
    np.testing.assert_array_equal(list(vars(one).values()), list(vars(other).values()))


def assert_equal_states(one: Any, other: Any, name: str = "") -> None:
    """Bitwise, but for the time it took."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"seconds", "sampling_seconds"}:
            assert_equal_states(one[key], other[key], f"{name}/{key}")
    elif isinstance(one, list | tuple):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal_states(a, b, f"{name}/{number}")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), name
    else:
        assert one == other, name


# Randomness


def test_the_seed_is_all_the_randomness(tmp_path: Path, uninterrupted: Callable[[str], bytes]) -> None:
    torch.rand(3)
    before = torch.random.get_rng_state()
    again = train(recipe(), tmp_path / "again")
    assert again.read_bytes() == uninterrupted("jem")
    assert torch.equal(torch.random.get_rng_state(), before)
    one, other = load(uninterrupted("jem")), load_file(train(recipe(training={"seed": 1}), tmp_path / "other"))
    assert not any(torch.equal(one[name], other[name]) for name in one)


def drawn(run: runs.Run, monkeypatch: pytest.MonkeyPatch) -> list[Draws]:
    """What every iteration of a run will be computed on."""
    seen: list[Draws] = []
    original = run._draws

    def draws(*arguments: Any) -> tuple[Draws, list[Tensor]]:
        found = original(*arguments)
        seen.append(found[0])
        return found

    monkeypatch.setattr(run, "_draws", draws)
    return seen


def test_every_iteration_every_seed_and_every_attempt_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the two streams of one iteration differ too."""
    seen: list[Draws] = []
    for seed, attempts in ((0, 0), (1, 0), (0, 1)):
        run = alone(recipe(training={"seed": seed}))
        run.events = [EVENT] * attempts
        found = drawn(run, monkeypatch)
        run.iterate()
        run.iterate()
        seen += found
    images = [x for draws in seen for x in (draws.x, draws.positive, draws.negative)]
    assert len({x.numpy().tobytes() for x in images if x is not None}) == 18
    assert len({draws.y.numpy().tobytes() for draws in seen}) == 6


EVENT = Rollback(iteration=9, reason="a test", signals={}, back_to=0, change="nothing")


# The gradient


class LinearGaussian(nn.Module):
    """Ten equal logits t'x - |x|^2 / 2: log p(x) is that of N(t, I), up to a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.full((64,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return (flat @ self.t - flat.square().sum(1) / 2)[:, None].expand(-1, 10)


@pytest.mark.parametrize(("log_px", "energy_l2"), [(1.0, 0.0), (0.5, 0.02)])
def test_the_gradient_of_log_px_is_contrastive(
    monkeypatch: pytest.MonkeyPatch, log_px: float, energy_l2: float
) -> None:
    """-w (mean x+ - mean x-) + 2 l (mean log p(x+) x+ + mean log p(x-) x-), with x- held fixed."""
    network = LinearGaussian()
    chains = ChainSampler(Uniform(shape=(1, 8, 8), classes=10), settings=SGLD(steps=3), buffer=64)
    monkeypatch.setattr(catalogue, "build", lambda *_: JEM(network, sampler=chains))
    run = alone(recipe(objective={"log_py_x": 0.0, "log_px": log_px, "energy_l2": energy_l2}))
    t, seen = network.t.detach().clone(), drawn(run, monkeypatch)
    progress = run.iterate()
    (draws,) = seen
    assert draws.positive is not None
    assert draws.negative is not None
    assert not torch.equal(draws.x, draws.positive)
    batches = [x.flatten(1).detach() for x in (draws.positive, draws.negative)]
    density = [x @ t - x.square().sum(1) / 2 + math.log(10) for x in batches]
    expected = -log_px * (batches[0].mean(0) - batches[1].mean(0))
    for x, log_p in zip(batches, density, strict=True):
        expected = expected + 2 * energy_l2 * (log_p[:, None] * x).mean(0)
    assert network.t.grad is not None
    assert torch.allclose(network.t.grad, expected, atol=1e-5)
    assert progress.signals.gradient == pytest.approx(expected.norm().item(), rel=1e-4)
    assert progress.signals.gap == pytest.approx((density[0].mean() - density[1].mean()).item(), abs=1e-4)


def test_the_signals_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    run = alone(recipe(objective={"energy_l2": 0.0}, sampling={"clamp": True}))
    seen = drawn(run, monkeypatch)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    progress = run.iterate()
    (draws,) = seen
    run.model.load_state_dict(before)
    with torch.no_grad():
        f, plus, minus = (run.model.logits(x) for x in (draws.x, draws.positive, draws.negative))
    found, density, other = progress.signals, plus.logsumexp(1), minus.logsumexp(1)
    assert progress.nll == pytest.approx(nn.functional.cross_entropy(f, draws.y).item(), rel=1e-5)
    assert progress.accuracy == (f.argmax(1) == draws.y).float().mean()
    assert found.log_px_data == pytest.approx(density.mean().item(), rel=1e-5)
    assert found.log_px_samples == pytest.approx(other.mean().item(), rel=1e-5)
    assert found.loss == pytest.approx(progress.nll - found.gap, rel=1e-4)
    assert found.spread == pytest.approx(max(f.std(0).max(), density.std(), other.std()).item(), rel=1e-4)
    assert found.variance == pytest.approx((draws.negative.var(0).mean() / draws.positive.var(0).mean()).item())
    assert found.saturation == pytest.approx(((draws.negative == 0) | (draws.negative == 1)).float().mean().item())
    assert found.saturation > 0
    assert found.chains_finite == 1


def test_sampling_stores_its_chains_and_leaves_the_parameters_alone() -> None:
    run = alone(recipe())
    before = run.buffer.images.clone()
    x, y = draws.continued(run.model, run.buffer, run.settings, generators.generator("samples"))
    assert not x.requires_grad
    assert all(p.requires_grad and p.grad is None for p in run.model.parameters())
    changed = (run.buffer.images != before).flatten(2).any(2)
    assert changed.sum(1).tolist() == [1] * 8  # one chain of every lane
    assert torch.equal(run.buffer.images[changed], x)
    assert torch.equal(run.buffer.labels[changed], y)


def test_the_schedule_reaches_the_optimiser() -> None:
    run = alone(recipe(optimiser={"learning_rate": 1e-2, "warmup": 3}))
    for i in range(4):
        run.iterate()
        assert run.optimiser.param_groups[0]["lr"] == runs.learning_rate(run.recipe.optimiser, i, 12)


def test_no_step_is_taken_on_what_is_not_finite() -> None:
    run = alone(recipe("jem-rich"))
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    x = torch.full((8, 1, 8, 8), math.nan)
    draws = Draws(x, torch.zeros(8, dtype=torch.int64), x, None, x, None)
    gradient = run._descend(run.settings, run.parallel(draws)[0], draws)
    assert math.isnan(gradient)
    assert all(torch.equal(before[name], value) for name, value in run.model.named_parameters())
    assert run.average.steps == 0


def test_it_learns_a_handful_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a class: every one is told, with little doubt."""
    whole = data.load("digits", "train")
    first = np.array([int(np.flatnonzero(whole.labels == k)[0]) for k in range(10)])
    few = replace(whole, images=whole.images[first], labels=whole.labels[first])
    monkeypatch.setattr(data, "load", lambda *_, **__: few)
    watch = Watch()
    made = recipe(
        "softmax",
        training={"iterations": 150, "batch": 32},
        optimiser={"learning_rate": 1e-2},
        selection={"every": 150},
    )
    train(made, tmp_path, observers=[watch])
    assert watch.progress[-1].accuracy == 1.0
    assert watch.progress[-1].nll < 0.05 < watch.progress[0].nll
    assert math.isnan(watch.progress[-1].signals.gap)
    assert [samples for _, samples in watch.epochs] == [None]


def test_a_jem_learns_to_tell_digits_from_noise() -> None:
    """Chains that restart and take one step are nearly noise: the gap of log p(x) must open."""
    made = recipe(
        sampling={"steps": 1, "restart": 1.0}, optimiser={"learning_rate": 1e-2}, objective={"energy_l2": 0.0}
    )
    run = alone(made)
    gaps = [run.iterate().signals.gap for _ in range(40)]
    assert abs(gaps[0]) < 0.1
    assert gaps[-1] > 1


# What is written


def test_the_chains_travel_with_the_weights(uninterrupted: Callable[[str], bytes]) -> None:
    """As many as the buffer has, some of them moved from the noise where they began, with their classes."""
    weights = load(uninterrupted("jem"))
    chains, labels = weights["sampler.chains"], weights["sampler.labels"]
    fresh = alone(recipe()).buffer
    moved = (chains != fresh.images.flatten(0, 1)).flatten(1).any(1)
    assert len(chains) == 64
    assert 8 <= moved.sum() <= 12 * 8
    assert torch.equal(labels[~moved], fresh.labels.flatten()[~moved])
    model = catalogue.build(recipe(), data.track("digits"))
    model.load_state_dict(weights)
    start = model.sample(64, generator=generators.generator("s"), start="buffer", steps=0)
    assert sorted(start.sum((1, 2, 3)).tolist()) == pytest.approx(sorted(chains.clamp(0, 1).sum((1, 2, 3)).tolist()))


def test_observers_see_every_iteration_and_validation(tmp_path: Path) -> None:
    watch = Watch()
    train(recipe("jem-rich"), tmp_path, observers=[watch])
    assert [progress.iteration for progress in watch.progress] == list(range(1, 13))
    assert {progress.total for progress in watch.progress} == {12}
    assert all(0 < progress.sampling < 1 for progress in watch.progress)
    assert [epoch.iteration for epoch, _ in watch.epochs] == [4, 8, 12]
    for epoch, samples in watch.epochs:
        assert samples.shape == (8, 1, 8, 8)
        assert 0 <= samples.min() < samples.max() <= 1
        assert {"nll", "accuracy", "auroc_log_px", "train_loss", "train_gap", "train_gradient"} <= set(epoch.values)
    losses = [progress.signals.loss for progress in watch.progress]
    for number, (epoch, _) in enumerate(watch.epochs):
        assert epoch.values["train_loss"] == pytest.approx(np.mean(losses[4 * number : 4 * number + 4]))
    assert [epoch for epoch, _ in watch.epochs] == read_history(tmp_path).epochs


def test_validation_comes_once_an_epoch_by_default() -> None:
    run = alone(recipe(training={"batch": 64}))
    assert run.epoch == round(len(data.load("digits", "train")) / 64)


def test_a_run_does_not_overwrite_another(tmp_path: Path) -> None:
    interrupt(recipe(), tmp_path / "half", "iterated", 6)
    train(recipe("softmax"), tmp_path / "done")
    for name, words in (("half", "a training run: .* or go on with --resume"), ("done", "a finished training run: ")):
        before = {item: item.read_bytes() for item in (tmp_path / name).rglob("*") if item.is_file()}
        with pytest.raises(UserError, match=f"already holds {words}"):
            train(recipe(), tmp_path / name)
        assert {item: item.read_bytes() for item in (tmp_path / name).rglob("*") if item.is_file()} == before


TOML = """
track = "digits"
about = "a test"
[model]
kind = "softmax"
width = 4
[training]
iterations = 12
batch = 8
[supervisor]
snapshot_every = 5
"""


def test_the_recipe_lies_beside_the_weights_from_the_start(tmp_path: Path) -> None:
    """So that the folder of a run, also of one that was killed, says what it is and can be evaluated."""
    source, folder = tmp_path / "source.toml", tmp_path / "run"
    source.write_text("# by hand\n" + TOML)
    made = read_recipe(source)
    interrupt(made, folder, "iterated", 6, source=source)
    assert (folder / baselines.RECIPE).read_bytes() == source.read_bytes()
    train(made, folder, source=folder / baselines.RECIPE, resume=True)
    assert sorted(item.name for item in folder.iterdir()) == [baselines.RECIPE, HISTORY, baselines.WEIGHTS]
    assert (folder / baselines.RECIPE).read_bytes() == source.read_bytes()
    spec = catalogue.resolve(parse(str(folder / baselines.RECIPE)), track="digits")
    assert (spec.name, catalogue.load(spec).training) == ("run", False)


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device 'foo' cannot be used: "):
        train(recipe(), tmp_path / "new", device="foo")
    assert not (tmp_path / "new").exists()


def test_without_a_snapshot_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no snapshot to resume"):
        train(recipe(), tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()


def test_a_snapshot_is_of_one_recipe(tmp_path: Path) -> None:
    interrupt(recipe(), tmp_path, "iterated", 6)
    for other in (recipe(optimiser={"learning_rate": 2e-3}), recipe("softmax")):
        with pytest.raises(UserError, match="holds a run of another recipe or seed: resume with that"):
            train(other, tmp_path, resume=True)


def test_a_run_goes_on_with_the_images_it_began_with(tmp_path: Path, shelf: Callable[..., Path]) -> None:
    """A part of a set is cut otherwise: validation images of the one are training images of the other."""
    here = shelf("cifar10_train", 500)
    there = here.rename(tmp_path / "other")
    here.mkdir()
    shelf("cifar10_train", 600)
    one, other = (data.track("cifar10", folder=folder) for folder in (here, there))
    made = recipe("softmax", training={"batch": 4}).model_copy(update={"track": "cifar10"})
    interrupt(made, tmp_path / "run", "iterated", 6, track=one)
    before = {item: item.read_bytes() for item in (tmp_path / "run").rglob("*") if item.is_file()}
    known = [data.found(track, "train").sha256[:12] for track in (one, other)]
    words = f"holds a run with other training images \\(sha256 {known[0]}, here {known[1]}\\): resume with those"
    with pytest.raises(UserError, match=words) as error:
        train(made, tmp_path / "run", track=other, resume=True)
    assert "\n" not in str(error.value)
    assert {item: item.read_bytes() for item in (tmp_path / "run").rglob("*") if item.is_file()} == before
    whole = train(made, tmp_path / "whole", track=one).read_bytes()
    assert train(made, tmp_path / "run", track=one, resume=True).read_bytes() == whole
    assert read_history(tmp_path / "run").images == data.found(one, "train").sha256
    with pytest.raises(UserError, match=words):  # of a finished one too
        train(made, tmp_path / "run", track=other, resume=True)
    assert train(made, tmp_path / "run", track=one, resume=True).read_bytes() == whole


def test_all_that_a_run_is_given_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone."""
    now = {"training images": "a" * 64, "validation images": "b" * 64, "initial weights": "c" * 64}
    monkeypatch.setattr(runs, "dependencies", lambda *_: dict(now))
    interrupt(recipe("softmax"), tmp_path, "iterated", 6)
    for name in now:
        monkeypatch.setattr(runs, "dependencies", lambda *_, name=name: {**now, name: "d" * 64})
        with pytest.raises(UserError, match=f"holds a run with other {name} .*, here dddddddddddd"):
            train(recipe("softmax"), tmp_path, resume=True)
    monkeypatch.setattr(runs, "dependencies", lambda *_: dict(now))
    assert train(recipe("softmax"), tmp_path, resume=True).exists()


def test_a_snapshot_of_digits_is_what_it_was_and_an_older_one_is_read(tmp_path: Path) -> None:
    """Nothing is added to a run that is given nothing; a snapshot without a word of its images is taken up."""
    run = alone(recipe("softmax"))
    assert run.dependencies == {}
    assert "given" not in run.state()
    run.dependencies = {"training images": "a" * 64}
    state = run.state()
    assert state.pop("given") == run.dependencies
    run.load(state)


def test_a_recipe_that_wants_more_labels_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"class 0 has \d+ labelled training examples, the recipe needs 1000"):
        train(recipe(data={"labels_per_class": 1000}), tmp_path / "new")
    assert not (tmp_path / "new").exists()


# Divergence


def planted(monkeypatch: pytest.MonkeyPatch, fault: Callable[[runs.Run], None], first: int, times: int) -> None:
    """Before iteration ``first`` and all later ones, ``fault``, until there were ``times`` rollbacks."""
    iterate = runs.Run.iterate

    def faulty(run: runs.Run) -> Progress:
        if run.iteration >= first and len(run.events) < times:
            fault(run)
        return iterate(run)

    monkeypatch.setattr(runs.Run, "iterate", faulty)


def once(fault: Callable[[runs.Run], None]) -> Callable[[runs.Run], None]:
    """The fault in its first iteration only."""
    done: list[int] = []
    return lambda run: done.append(run.iteration) or fault(run) if not done else None


def a_nan_in_the_loss(run: runs.Run) -> None:
    original = run._draws

    def draws(*arguments: Any) -> tuple[Draws, list[Tensor]]:
        del run._draws  # type: ignore[method-assign]  # this once
        found, seen = original(*arguments)
        return replace(found, x=found.x * math.nan), seen

    run._draws = draws  # type: ignore[method-assign]


def an_exploding_energy(run: runs.Run) -> None:
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.mul_(8)


def a_dead_buffer(run: runs.Run) -> None:
    run.buffer.images.copy_(run.buffer.images[0, 0].clone())


def a_dead_network(run: runs.Run) -> None:
    with torch.no_grad():
        for parameter in run.model.network.head.parameters():
            parameter.zero_()


def saturated_chains(run: runs.Run) -> None:
    run.buffer.images.uniform_(5, 9, generator=generators.generator("far"))


FAULTS: list[tuple[str, Callable[[runs.Run], None], bool]] = [
    ("the loss is nan", a_nan_in_the_loss, True),
    ("exploding energy", an_exploding_energy, True),
    ("dead network", a_dead_network, False),  # by itself it would recover from this
    ("dead chains", a_dead_buffer, True),
    ("saturated chains", saturated_chains, True),
]


def long(name: str = "jem", **changes: dict[str, Any]) -> Recipe:
    return recipe(
        name,
        **{
            "training": {"iterations": 60},
            "supervisor": {"snapshot_every": 5},
            "sampling": {"restart": 0.0},
            "objective": {"energy_l2": 0.0},
            "selection": {"every": 20},
            **changes,
        },
    )


@pytest.mark.parametrize(("reason", "fault", "only_once"), FAULTS)
def test_a_planted_fault_is_caught_undone_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, fault: Callable[[runs.Run], None], only_once: bool
) -> None:
    planted(monkeypatch, once(fault) if only_once else fault, 30, 1)
    watch = Watch()
    path = train(long(), tmp_path, observers=[watch])
    (event,) = watch.events
    assert 30 < event.iteration <= 50
    assert reason in event.reason
    assert event.back_to <= event.iteration - 20
    assert event.back_to % 5 == 0
    assert event.change == "learning rate x 0.3"
    found = read_history(tmp_path)
    assert found.rollbacks == [event]
    assert (found.iterations, found.epochs[-1].iteration) == (60, 60)
    assert [progress.iteration for progress in watch.progress] == [
        *range(1, event.iteration),
        *range(event.back_to + 1, 61),
    ]
    assert {progress.rollbacks for progress in watch.progress} == {0, 1}
    assert found.cost.gradients == 3 * 8 * (event.iteration + 60 - event.back_to)  # what was in vain was spent too
    assert all(value.isfinite().all() for value in load_file(path).values() if value.is_floating_point())


def test_a_rollback_changes_the_recipe_the_chains_and_the_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = alone(long(supervisor={"snapshot_every": 5, "keep": 9}), tmp_path)
    run.begin(resume=False)
    for _ in range(25):
        run.iterate()
        if run.iteration % 5 == 0:
            run.keep()
    weights = snapshots.decode(run.ring.content(5))["model"]
    run.roll_back("a test", Signals(loss=math.nan, gradient=1.0))
    assert run.iteration == 5
    assert_equal_states(run.model.state_dict(), weights)
    assert run.settings.optimiser.learning_rate == pytest.approx(0.3 * run.recipe.optimiser.learning_rate)
    expected = generators.generator(0, "buffer", 1)
    fresh = runs.ReplayBuffer.fresh(64, run.model.sampler.origin, share=run.share, generator=expected)
    assert torch.equal(run.buffer.images, fresh.images)
    assert run.ring.iterations == [0, 5]
    run.iterate()
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(0.3e-3)


def test_a_model_that_cannot_be_validated_has_diverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finite on the batches, not on the validation data: by an error of a metric, and by a number that is none."""
    measure = runs.Validation.measure
    calls: list[int] = []

    def broken(self: Any, model: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("logits must be finite")
        return {**measure(self, model), **({"gap": math.inf} if len(calls) == 4 else {})}

    monkeypatch.setattr(runs.Validation, "measure", broken)
    watch = Watch()
    train(long(), tmp_path, observers=[watch])
    assert [event.reason for event in watch.events] == [
        "the model cannot be validated: logits must be finite",
        "the model cannot be validated: gap is inf",
    ]
    assert [epoch.iteration for epoch in read_history(tmp_path).epochs] == [20, 40, 60]


def test_an_igebm_whose_bias_cannot_be_fitted_has_diverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, calls = runs.IGEBM.fit_bias, []

    def broken(self: Any, scores: Tensor, labels: Tensor) -> None:
        calls.append(1)
        fit(self, scores * (math.nan if len(calls) == 1 else 1), labels)

    monkeypatch.setattr(runs.IGEBM, "fit_bias", broken)
    train(recipe("igebm"), tmp_path)
    (event,) = read_history(tmp_path).rollbacks
    assert event.reason == "the model cannot be validated: the scores must be finite"


@pytest.mark.parametrize("name", ["jem", "softmax"])
def test_when_the_policy_is_exhausted_the_run_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It names the reason and what was tried; the snapshots are intact, and --resume gives up in the same way."""
    made = recipe(name)
    planted(monkeypatch, a_nan_in_the_loss, 8, 99)
    watch = Watch()
    with pytest.raises(UserError) as error:
        train(made, tmp_path, observers=[watch])
    text = str(error.value)
    assert text.startswith("training diverged at iteration 9: the loss is nan; the supervisor's policy is exhausted (")
    changes = [change.name for change in policy(made)]
    assert [event.change for event in watch.events] == changes
    assert "; ".join(f"at 9 (the loss is nan): {change}" for change in changes) in text
    assert "\n" not in text
    assert not (tmp_path / baselines.WEIGHTS).exists()
    ring, content = snapshots.reopen(tmp_path / snapshots.FOLDER, 3)
    assert {path.name for path in ring.folder.iterdir()} == {f"{number:06d}.pt" for number, _ in ring.entries}
    assert len(snapshots.decode(content)["events"]) == len(changes)
    with pytest.raises(UserError) as again:
        train(made, tmp_path, resume=True)
    assert str(again.value) == text


@pytest.mark.parametrize("rate", [1e30])
def test_a_learning_rate_far_too_high_is_noticed_without_any_help(tmp_path: Path, rate: float) -> None:
    """JEM's published guard, |loss| > 1e8, lets a NaN pass."""
    with pytest.raises(UserError, match=r"training diverged at iteration [1-9]\d*: the (loss|norm of the gradient) is"):
        train(recipe("softmax", optimiser={"learning_rate": rate}), tmp_path)


@pytest.mark.parametrize(
    "deaths",
    [
        [("rolled_back", 31)],
        [("iterated", 33), ("rolled_back", 36), ("iterated", 36)],
        [("iterated", 29), ("iterated", 12), ("validated", 20), ("iterated", 37)],
    ],
)
def test_a_run_with_rollbacks_is_exactly_resumable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: list[tuple[str, int]], troubled: bytes
) -> None:
    """Killed right after a rollback, and later."""
    trouble(monkeypatch)
    for number, (place, iteration) in enumerate(deaths):
        interrupt(long("jem-rich"), tmp_path, place, iteration, resume=number > 0)
    assert train(long("jem-rich"), tmp_path, resume=True).read_bytes() == troubled
    assert [event.iteration for event in read_history(tmp_path).rollbacks] == [31, 36]


def trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NaN at iteration 30 of the first attempt, at iteration 35 of the second."""
    iterate = runs.Run.iterate

    def faulty(run: runs.Run) -> Progress:
        if (run.iteration, len(run.events)) in ((30, 0), (35, 1)):
            a_nan_in_the_loss(run)
        return iterate(run)

    monkeypatch.setattr(runs.Run, "iterate", faulty)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        trouble(patch)
        weights = train(long("jem-rich"), tmp_path_factory.mktemp("troubled") / "run").read_bytes()
    return weights


def shipped() -> list[str]:
    return sorted(
        path.parent.name for path in baselines.recipe_path("jem", track="digits").parents[1].glob("*/recipe.toml")
    )


@pytest.mark.parametrize("name", shipped())
def test_the_shipped_recipes_raise_no_false_alarm(name: str, tmp_path: Path) -> None:
    """At the size of a test."""
    made = read_recipe(baselines.recipe_path(name, track="digits"))
    parts: dict[str, dict[str, Any]] = {
        "model": {"width": 4},
        "training": {"iterations": 60, "batch": 16},
        "selection": {"every": 30},
        "optimiser": {"warmup": 5},
    }
    if made.sampling is not None:
        parts["sampling"] = {"steps": min(made.sampling.steps, 5), "buffer": 64}
    if made.adversary is not None:
        parts["adversary"] = {"steps": 2}
    content = made.model_dump()
    small = Recipe.model_validate({**content, **{part: {**content[part], **parts[part]} for part in parts}})
    run = alone(small)
    for _ in range(60):
        assert run.supervisor.watch(run.iterate().signals) is None
        assert max(run.supervisor.streaks.values(), default=0) < PATIENCE // 2
    assert run.validate() is None


# Which checkpoint is kept


class Best(Watch):
    """Keeps the weights of a run at every validation."""

    def __init__(self) -> None:
        super().__init__()
        self.run: runs.Run | None = None
        self.weights: list[dict[str, Tensor]] = []

    def validated(self, epoch: Epoch, samples: Tensor | None) -> None:
        super().validated(epoch, samples)
        self.weights.append(self.run._weights())


def followed(made: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Best, dict[str, Tensor]]:
    best, begin = Best(), runs.Run.begin

    def noted(run: runs.Run, *, resume: bool) -> None:
        best.run = run
        begin(run, resume=resume)

    monkeypatch.setattr(runs.Run, "begin", noted)
    return best, load_file(train(made, folder, observers=[best]))


@pytest.mark.parametrize("criterion", ["nll", "accuracy", "ece-accuracy"])
def test_the_weights_are_those_of_the_best_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, criterion: str
) -> None:
    """A learning rate that goes up and down, so that the best is not the last."""
    made = recipe(
        "softmax",
        training={"iterations": 60},
        optimiser={"learning_rate": 0.05, "ema": 0.5},
        selection={"criterion": criterion, "every": 3, "max_ece": 0.2},
    )
    best, weights = followed(made, tmp_path, monkeypatch)
    values = [epoch.values for epoch, _ in best.epochs]
    rank: dict[str, Callable[[dict[str, Any]], float]] = {
        "nll": lambda v: -v["nll"],
        "accuracy": lambda v: v["accuracy"],
        "ece-accuracy": lambda v: v["accuracy"] if v["ece"] <= 0.2 else -1,
    }
    merits = [rank[criterion](v) for v in values]
    index = max(range(len(merits)), key=lambda i: (merits[i], i))  # the later of equals
    assert merits[index] > -1 or criterion == "nll"
    chosen = read_history(tmp_path).chosen
    assert (chosen.criterion, chosen.iteration) == (criterion, best.epochs[index][0].iteration)
    assert chosen.value == pytest.approx(abs(merits[index]), rel=1e-12)
    assert_equal_states(weights, best.weights[index])
    if criterion == "nll":
        assert index < len(merits) - 1
        assert not torch.equal(weights["network.head.weight"], best.weights[-1]["network.head.weight"])


def test_the_chosen_weights_have_the_numbers_that_they_were_chosen_by(tmp_path: Path) -> None:
    made = recipe("jem-rich")
    path = train(made, tmp_path)
    found = read_history(tmp_path)
    model = catalogue.build(made, data.track("digits"))
    model.load_state_dict(load_file(path))
    again = alone(made).validation.measure(model.eval())
    kept = next(epoch for epoch in found.epochs if epoch.iteration == found.chosen.iteration)
    assert found.chosen.value == kept.values["nll"]
    assert again == pytest.approx({name: kept.values[name] for name in again}, rel=1e-4, abs=1e-6)


def test_the_bias_of_an_igebm_is_fitted_to_the_weights_that_are_kept(tmp_path: Path) -> None:
    from jembench.models.igebm import fitted_bias

    made = recipe("igebm", optimiser={"learning_rate": 0.05})
    model = catalogue.build(made, data.track("digits"))
    model.load_state_dict(load_file(train(made, tmp_path)))
    validation = alone(made).validation
    with torch.no_grad():
        scores = model.eval().logits(validation.images) - model.bias
    assert torch.allclose(model.bias, fitted_bias(scores, validation.labels), atol=1e-3)


def test_when_no_checkpoint_is_calibrated_the_last_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe("softmax", selection={"criterion": "ece-accuracy", "every": 4, "max_ece": 1e-9})
    best, weights = followed(made, tmp_path, monkeypatch)
    chosen = read_history(tmp_path).chosen
    assert (chosen.iteration, chosen.value) == (12, None)
    assert_equal_states(weights, best.weights[-1])


def test_the_last_is_kept_by_default(tmp_path: Path, uninterrupted: Callable[[str], bytes]) -> None:
    train(recipe("softmax"), tmp_path)
    chosen = read_history(tmp_path).chosen
    assert (chosen.criterion, chosen.iteration, chosen.value) == ("last", 12, None)


def test_a_likelihood_is_recorded_with_its_sign(tmp_path: Path) -> None:
    train(recipe("glow-cond"), tmp_path)
    found = read_history(tmp_path)
    kept = next(epoch for epoch in found.epochs if epoch.iteration == found.chosen.iteration)
    assert found.chosen.value == kept.values["log_px"] == max(epoch.values["log_px"] or 0 for epoch in found.epochs)


# Starts and storage

LIKE_SOFTMAX = {"kind": "softmax", "width": 32}


def test_a_run_starts_with_the_logits_of_the_baseline_that_it_starts_from(tmp_path: Path) -> None:
    """Its weights to the last bit, also where the kind is another; logits to rounding, in another memory layout."""
    source = baselines.folder("digits") / "softmax" / baselines.WEIGHTS
    x = torch.from_numpy(data.load("digits", "test").pixels(0, 8))
    expected = catalogue.load(catalogue.resolve(parse("softmax"), track="digits")).logits(x)
    for name, model in (("softmax", LIKE_SOFTMAX), ("jem", {"width": 32})):
        run = alone(recipe(name, model=model, training={"initial": "softmax"}))
        run.model.eval()
        with torch.no_grad():
            assert torch.allclose(run.model.logits(x), expected, rtol=1e-4, atol=1e-3)
        assert all(torch.equal(run.model.state_dict()[key], value) for key, value in load_file(source).items())
        assert run.initial == file_sha256(source)
    plain = alone(recipe("softmax", model=LIKE_SOFTMAX))
    plain.model.eval()
    with torch.no_grad():
        assert not torch.allclose(plain.model.logits(x), expected, atol=1.0)
    assert plain.initial is None


def test_a_baseline_of_another_network_and_an_unknown_one_are_no_start() -> None:
    with pytest.raises(UserError, match=r"weights are of another network: .* has shape"):
        alone(recipe("softmax", training={"initial": "softmax"}))
    with pytest.raises(UserError, match="unknown model of track digits 'softmaxx'; did you mean 'softmax'"):
        alone(recipe("softmax", training={"initial": "softmaxx"}))


def test_a_run_from_a_baseline_resumes_like_any_other(tmp_path: Path) -> None:
    made = recipe("softmax", model=LIKE_SOFTMAX, training={"initial": "softmax"})
    whole = train(made, tmp_path / "whole").read_bytes()
    interrupt(made, tmp_path / "cut", "iterated", 7)
    assert train(made, tmp_path / "cut", resume=True).read_bytes() == whole
    source = baselines.folder("digits") / "softmax" / baselines.WEIGHTS
    assert read_history(tmp_path / "cut").initial == file_sha256(source)


def test_a_run_goes_on_from_the_baseline_it_started_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are not what they were: the recipe, which has its name, is."""
    made = recipe("softmax", model=LIKE_SOFTMAX, training={"initial": "softmax"})
    interrupt(made, tmp_path / "cut", "iterated", 7)
    train(made, tmp_path / "done")
    shipped = shutil.copytree(baselines.folder("digits"), tmp_path / "baselines" / "digits")
    weights = shipped / "softmax" / baselines.WEIGHTS
    state = load_file(weights)
    save_file({name: value + 1 for name, value in state.items()}, weights)
    monkeypatch.setattr(baselines, "shipped", lambda: tmp_path / "baselines")
    for name in ("cut", "done"):
        with pytest.raises(UserError, match=f"{name} holds a run with other initial weights "):
            train(made, tmp_path / name, resume=True)


@pytest.mark.parametrize("name", ["jem-rich", "softmax"])
def test_weights_of_half_precision_are_half_the_size_and_nearly_the_same_model(tmp_path: Path, name: str) -> None:
    """Chains and statistics too; they load strictly, and the logits agree to 1e-2."""
    full, half = (recipe(name, training={"store": store}) for store in ("fp32", "fp16"))
    paths = [train(made, tmp_path / made.training.store) for made in (full, half)]
    states = [load_file(path) for path in paths]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        if value.is_floating_point():
            assert states[1][key].dtype == torch.float16
            assert torch.equal(states[1][key], value.half())
        else:
            assert torch.equal(states[1][key], value)
    assert paths[1].stat().st_size < 0.6 * paths[0].stat().st_size
    x = torch.from_numpy(data.load("digits", "test").pixels(0, 50))
    logits = []
    for made, path in zip((full, half), paths, strict=True):
        model = catalogue.build(made, data.track("digits"))
        load_weights(model, path)
        model.eval()
        with torch.no_grad():
            logits.append(model.logits(x))
    assert (logits[0] - logits[1]).abs().max() < 1e-2
    assert full.identity != half.identity


@pytest.mark.parametrize("beyond", [7e4, -7e4, float("inf")])
def test_what_half_precision_cannot_hold_stays_as_it_is(beyond: float) -> None:
    """No infinity that was none is shipped; one that was is not hidden."""
    run = alone(recipe("softmax", training={"store": "fp16"}))
    name, value = next(iter(run.model.named_parameters()))
    plain = run.final_state()
    assert {tensor.dtype for tensor in plain.values() if tensor.is_floating_point()} == {torch.float16}
    with torch.no_grad():
        value[(0,) * value.ndim] = beyond
        value[(-1,) * value.ndim] = 65504.0
    run.best = None
    kept = run.final_state()
    assert torch.equal(kept[name].isfinite(), value.isfinite())
    assert torch.equal(kept[name], value.half() if math.isinf(beyond) else value)
    others = {other: tensor.dtype for other, tensor in kept.items() if other != name}
    assert others == {other: tensor.dtype for other, tensor in plain.items() if other != name}


def test_the_record_of_a_run_on_images_of_the_user_has_their_hash(tmp_path: Path, shelf: Callable[..., Path]) -> None:
    track = data.track("cifar10", folder=shelf("cifar10_train", 500))
    made = recipe("softmax", training={"batch": 4, "iterations": 3}).model_copy(update={"track": "cifar10"})
    train(made, tmp_path / "run", track=track)
    assert read_history(tmp_path / "run").images == data.found(track, "train").sha256
    train(recipe("softmax"), tmp_path / "digits")
    assert read_history(tmp_path / "digits").images is None
