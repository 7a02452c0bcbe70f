"""Killed and resumed is uninterrupted; the gradient is the contrastive one; what cannot go on says so."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from torch import nn

from jembench import baselines, data, seeding, training, zoo
from jembench.models.jem import JEM
from jembench.recipes import Recipe, read_recipe
from jembench.sgld import SGLD
from jembench.types import UserError

SAMPLING = {"steps": 3, "buffer": 64}
TOML = """
track = "digits"
about = "a test"
[model]
kind = "softmax"
width = 4
[training]
iterations = 12
batch = 8
"""


def recipe(kind="jem", sampling=SAMPLING, **changes):
    """Twelve iterations of a network four wide."""
    settings = {"iterations": 12, "batch": 8, "warmup": 3, "decay": 0.5, "decay_at": [0.5], "shift": 1}
    if kind == "jem":
        settings |= {"log_px": 1.0, "energy_l2": 0.01}
    return Recipe.model_validate(
        {
            "track": "digits",
            "about": "a test",
            "model": {"kind": kind, "width": 4},
            "training": settings | changes,
            "sampling": sampling if kind == "jem" else None,
        }
    )


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 5)


class Killed(Exception):
    """What stops a run from outside."""


def interrupt(made, folder, after, **options):
    """Train until iteration ``after``, where the process dies."""

    def report(progress):
        if progress.iteration == after:
            raise Killed

    with pytest.raises(Killed):
        training.train(made, folder, report=report, **options)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The weights of undisturbed runs."""
    folder = tmp_path_factory.mktemp("whole")
    return {kind: load_file(training.train(recipe(kind), folder / kind)) for kind in ("jem", "softmax")}


def equal(one, other):
    """Bitwise, names and all."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("kind", "deaths"), [("jem", [8]), ("jem", [5, 6, 11]), ("softmax", [7])])
def test_a_run_that_was_killed_and_resumed_ends_in_the_same_weights(tmp_path, uninterrupted, kind, deaths):
    """At a checkpoint, after one, and again and again."""
    seen = []
    for number, after in enumerate(deaths):
        interrupt(recipe(kind), tmp_path, after, resume=number > 0)
        torch.rand(3)  # nothing hangs on the global generator
    path = training.train(recipe(kind), tmp_path, resume=True, report=lambda p: seen.append(p.iteration))
    assert seen == list(range(max(deaths) // 5 * 5 + 1, 13))  # from the last checkpoint, not from the start
    assert equal(load_file(path), uninterrupted[kind])
    assert sorted(item.name for item in tmp_path.iterdir()) == [baselines.WEIGHTS]  # the checkpoint is gone


def test_the_seed_is_all_the_randomness(tmp_path, uninterrupted):
    torch.rand(3)
    before = torch.random.get_rng_state()
    again = load_file(training.train(recipe(), tmp_path / "again"))
    assert equal(again, uninterrupted["jem"])
    assert torch.equal(torch.random.get_rng_state(), before)
    other = load_file(training.train(recipe(seed=1), tmp_path / "other"))
    assert not any(torch.equal(again[name], other[name]) for name in again)


def test_the_chains_travel_with_the_weights(uninterrupted):
    """As many as the buffer has, some of them moved from the noise where they began."""
    chains = uninterrupted["jem"]["chains"]
    fresh = training._Run(recipe(), torch.device("cpu")).buffer.images
    moved = (chains != fresh).flatten(1).any(1).sum().item()
    assert len(chains) == 64
    assert 8 <= moved <= 12 * 8
    model = zoo.build(recipe(), data.track("digits"))
    model.load_state_dict(uninterrupted["jem"])
    start = model.sample(64, generator=seeding.generator("s"), start="buffer", steps=0)
    assert sorted(start.sum((1, 2, 3)).tolist()) == pytest.approx(sorted(chains.clamp(0, 1).sum((1, 2, 3)).tolist()))


def test_a_run_does_not_overwrite_another(tmp_path):
    interrupt(recipe(), tmp_path / "half", 6)
    training.train(recipe("softmax"), tmp_path / "done")
    for name, words in (("half", "a training run: .* or go on with --resume"), ("done", "a finished training run: ")):
        before = {item.name: item.read_bytes() for item in (tmp_path / name).iterdir()}
        with pytest.raises(UserError, match=f"already holds {words}"):
            training.train(recipe(), tmp_path / name)
        assert {item.name: item.read_bytes() for item in (tmp_path / name).iterdir()} == before


def test_the_recipe_lies_beside_the_weights_from_the_start(tmp_path):
    """So that the folder of a run, also of one that was killed, says what it is and can be evaluated."""
    source, folder = tmp_path / "source.toml", tmp_path / "run"
    source.write_text("# by hand\n" + TOML)
    made = read_recipe(source)
    interrupt(made, folder, 6, source=source)
    assert (folder / baselines.RECIPE).read_bytes() == source.read_bytes()
    training.train(made, folder, source=folder / baselines.RECIPE, resume=True)
    assert sorted(item.name for item in folder.iterdir()) == [baselines.RECIPE, baselines.WEIGHTS]
    assert (folder / baselines.RECIPE).read_bytes() == source.read_bytes()
    spec = zoo.resolve(str(folder / baselines.RECIPE), track="digits")
    assert (spec.name, zoo.load(spec).training) == ("run", False)


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="device 'foo' cannot be used: "):
        training.train(recipe(), tmp_path / "new", device="foo")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("after", [None, 4])
def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path, after):
    if after:  # killed before the first one
        interrupt(recipe(), tmp_path, after)
    with pytest.raises(UserError, match="holds no checkpoint to resume"):
        training.train(recipe(), tmp_path, resume=True)


def test_a_checkpoint_is_of_one_recipe(tmp_path):
    interrupt(recipe(), tmp_path, 6)
    with pytest.raises(UserError, match="the checkpoint is of another recipe"):
        training.train(recipe(learning_rate=2e-3), tmp_path, resume=True)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    interrupt(recipe(), tmp_path, 6)
    path = tmp_path / training.CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        training.train(recipe(), tmp_path, resume=True)


@pytest.mark.parametrize("kind", ["jem", "softmax"])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_iteration(tmp_path, kind):
    """JEM's published guard, |loss| > 1e8, lets a NaN pass."""
    with pytest.raises(UserError, match=r"training diverged at iteration [1-9]\d*: the loss is (nan|inf|-inf);"):
        training.train(recipe(kind, learning_rate=1e30, warmup=0), tmp_path)
    assert not (tmp_path / baselines.WEIGHTS).exists()


class LinearGaussian(nn.Module):
    """Ten equal logits t'x - |x|^2 / 2: log p(x) is that of N(t, I), up to a constant."""

    def __init__(self):
        super().__init__()
        self.t = nn.Parameter(torch.full((64,), 0.25))

    def forward(self, x):
        flat = x.flatten(1)
        return (flat @ self.t - flat.square().sum(1) / 2)[:, None].expand(-1, 10)


@pytest.mark.parametrize(("log_px", "energy_l2"), [(1.0, 0.0), (0.5, 0.02)])
def test_the_gradient_of_log_px_is_contrastive(monkeypatch, log_px, energy_l2):
    """-w (mean x+ - mean x-) + 2 l (mean log p(x+) x+ + mean log p(x-) x-), with x- held fixed."""
    network = LinearGaussian()
    settings = SGLD(steps=3, size=0.25, noise=0.005)
    monkeypatch.setattr(
        zoo, "build", lambda *_, **__: JEM(network, shape=(1, 8, 8), settings=settings, buffer=SAMPLING["buffer"])
    )
    run = training._Run(recipe(log_py_x=0.0, log_px=log_px, energy_l2=energy_l2), torch.device("cpu"))
    batches, t = [], network.t.detach().clone()
    draw, samples = run._draw, run._samples
    monkeypatch.setattr(run, "_draw", lambda generator: batches.append(draw(generator)) or batches[-1])
    monkeypatch.setattr(run, "_samples", lambda generator: batches.append((samples(generator), None)) or batches[-1][0])
    progress = run.iterate()

    labelled, positive, negative = (x.flatten(1) for x, _ in batches)
    assert not torch.equal(labelled, positive)  # two separate draws of the training set
    density = [x @ t - x.square().sum(1) / 2 + np.log(10) for x in (positive, negative)]
    expected = -log_px * (positive.mean(0) - negative.mean(0))
    for x, log_p in zip((positive, negative), density, strict=True):
        expected = expected + 2 * energy_l2 * (log_p[:, None] * x).mean(0)
    assert network.t.grad is not None
    assert torch.allclose(network.t.grad, expected, atol=1e-5)
    assert progress.gap == pytest.approx((density[0].mean() - density[1].mean()).item(), abs=1e-4)


def test_every_iteration_and_every_seed_draws_anew(monkeypatch):
    """And two draws of one iteration differ too: labelled and unlabelled batch."""
    batches = []
    for seed in (0, 1):
        run = training._Run(recipe(seed=seed), torch.device("cpu"))
        draw = run._draw
        monkeypatch.setattr(run, "_draw", lambda g, draw=draw: batches.append(draw(g)) or batches[-1])
        run.iterate()
        run.iterate()
    assert len({x.numpy().tobytes() for x, _ in batches}) == 8
    assert len({y.numpy().tobytes() for _, y in batches}) == 8


def test_sampling_stores_its_chains_and_leaves_the_parameters_alone():
    run = training._Run(recipe(), torch.device("cpu"))
    before = run.buffer.images.clone()
    x = run._samples(seeding.generator("samples"))
    assert not x.requires_grad
    assert all(p.requires_grad and p.grad is None for p in run.model.parameters())
    changed = (run.buffer.images != before).flatten(1).any(1)
    assert changed.sum() == 8
    assert sorted(run.buffer.images[changed].flatten(1).tolist()) == sorted(x.flatten(1).tolist())


def test_the_learning_rate_warms_up_then_falls_by_its_factor():
    settings = recipe(iterations=100, learning_rate=1.0, warmup=10, decay=0.3, decay_at=[0.6, 0.85]).training
    rates = [training.learning_rate(settings, i) for i in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:60] == [1.0] * 50
    assert rates[60:85] == pytest.approx([0.3] * 25)
    assert rates[85:] == pytest.approx([0.09] * 15)
    flat = recipe(learning_rate=0.5, warmup=0, decay_at=[]).training
    assert {training.learning_rate(flat, i) for i in range(12)} == {0.5}


def test_the_schedule_reaches_the_optimiser():
    run = training._Run(recipe(learning_rate=1e-2), torch.device("cpu"))
    for i in range(4):
        run.iterate()
        assert run.optimiser.param_groups[0]["lr"] == training.learning_rate(run.recipe.training, i)


def test_shifted_moves_whole_images_by_whole_pixels_with_zeros_coming_in():
    """Each is one of the nine moves of its own image, and each move comes equally often."""
    x = 1 + torch.rand((1800, 2, 4, 6), generator=seeding.generator("x"))
    moved = training.shifted(x, 1, generator=seeding.generator("shift"))
    wide = nn.functional.pad(x, (1, 1, 1, 1))
    moves = torch.stack([wide[:, :, r : r + 4, c : c + 6] for r in range(3) for c in range(3)])
    same = (moves == moved).flatten(2).all(2)  # (9, 1800)
    assert (same.sum(0) == 1).all()
    assert stats.chisquare(same.sum(1).numpy()).pvalue > 0.01


def test_shifted_by_nothing_is_the_image_and_draws_nothing():
    generator = seeding.generator("shift")
    before = generator.get_state()
    x = torch.rand((2, 1, 4, 4))
    assert training.shifted(x, 0, generator=generator) is x
    assert torch.equal(generator.get_state(), before)


def test_it_learns_a_handful_of_images(tmp_path, monkeypatch):
    """One a class: every one is told, with little doubt."""
    whole = data.load("digits", "train")
    first = np.array([int(np.flatnonzero(whole.labels == k)[0]) for k in range(10)])
    few = replace(whole, images=whole.images[first], labels=whole.labels[first])
    monkeypatch.setattr(data, "load", lambda *_: few)
    seen = []
    made = recipe("softmax", iterations=150, batch=32, learning_rate=1e-2, shift=0, decay_at=[])
    training.train(made, tmp_path, report=seen.append)
    assert seen[-1].accuracy == 1.0
    assert seen[-1].loss < 0.05 < seen[0].loss
    assert seen[-1].gap is None


def test_a_jem_learns_to_tell_digits_from_noise():
    """Chains that restart and take one step are nearly noise: the gap of log p(x) must open."""
    made = recipe(sampling={"steps": 1, "buffer": 64, "restart": 1.0}, learning_rate=1e-2, warmup=0, energy_l2=0.0)
    run = training._Run(made, torch.device("cpu"))
    gaps = [run.iterate().gap for _ in range(40)]
    assert abs(gaps[0]) < 0.1
    assert gaps[-1] > 1
