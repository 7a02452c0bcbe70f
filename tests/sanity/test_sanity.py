"""Models that are wired wrongly are told by the slip; right ones are not told anything."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import jembench
from jembench import api, data, sanity
from jembench.engine.sanity import checked
from jembench.models.softmax import Softmax
from jembench.sanity.subject import Subject
from jembench.types import UserError
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import ModelRef, parse


class Net(nn.Module):
    """The trained network of softmax behind a change of what enters and what leaves it."""

    def __init__(self, before=lambda x: x, after=lambda f: f):
        super().__init__()
        self.network = jembench.load("softmax").network
        self.before, self.after = before, after

    def forward(self, x):
        return self.after(self.network(self.before(x)))


class InPlace(Net):
    def logits(self, x):
        return self.network(x.sub_(0.01))


class NoGradient(Net):
    @torch.no_grad()
    def forward(self, x):
        return self.network(x)


class Trained(Net):
    """Batch norm that stays in training mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def train(self, mode=True):
        return self

    def forward(self, x):
        return self.network(self.norm(x) * 0.37 + 0.3)


def untrained():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def memorised():
    """Trained on random labels to the end."""
    torch.manual_seed(0)
    images = data.images(data.track("digits"), "train")
    x, y = torch.from_numpy(images.pixels(0, 300)), torch.randint(0, 10, (300,))
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    assert float((network(x).argmax(1) == y).float().mean()) > 0.95
    return network


ORDER = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]

#: model, the check that names the slip, words of the sentence
WRONG = {
    "no weights": (untrained, "chance", "are the weights loaded"),
    "random labels": (memorised, "chance", "is that of chance"),
    "no normalisation": (lambda: Net(lambda x: x * 0.31 + 0.3), "input", "becomes"),
    "-1..1": (lambda: Net(lambda x: (x + 1) / 2), "input", "with --range -1..1"),
    "0..255": (lambda: Net(lambda x: x / 255), "input", "with --range 0..255"),
    "double softmax": (lambda: Net(after=lambda f: f.softmax(1)), "logits", "softmax at its end"),
    "log-softmax": (lambda: Net(after=lambda f: f.log_softmax(1)), "logits", "is 0 for every image"),
    "dropout": (lambda: Net(lambda x: functional.dropout(x, 0.5, training=True)), "twice", "dropout left on?"),
    "batch norm": (Trained, "alone", "batch norm in training mode"),
    "statistics of the batch": (lambda: Net(lambda x: (x - x.mean()) / x.std() * 0.37 + 0.3), "alone", "by the batch"),
    "classes": (lambda: Net(after=lambda f: f[:, ORDER]), "classes", "classes 3, 1, 4, 0, 5, 9, 2, 6, 8, 7"),
    "in place": (InPlace, "in-place", "in place"),
    "no_grad": (NoGradient, "gradient", "torch.no_grad"),
    "detached": (lambda: Net(after=lambda f: f.detach()), "gradient", "no gradient"),
    "rounded": (lambda: Net(lambda x: x.round(decimals=1)), "gradient", "are 0"),
    "infinite": (lambda: Net(after=lambda f: f / 0 * 0), "finite", "128 of 128 images"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_slip_is_named(name):
    build, check, words = WRONG[name]
    torch.manual_seed(0)
    found = api.check(build())
    assert words in found[check]
    assert set(found) == {check}, found


RIGHT = {
    "plain": Net,
    "stretched": lambda: Net(after=lambda f: 3 * f + 1),
    "in [0, 1] but no probabilities": lambda: Net(after=torch.sigmoid),
    "evaluated": lambda: nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(1, affine=False), Net()),
    "wrapped": lambda: jembench.wrap(Net(lambda x: x * 0.4 + 0.3), mean=0.3, std=0.4),
    "half right": lambda: Net(after=lambda f: f.masked_fill(torch.arange(10) > 4, -50.0)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_model_is_told_nothing(name):
    assert jembench.check(RIGHT[name]()) == {}


@pytest.mark.parametrize("name", [*baselines.recipes("digits"), "oracle"])
def test_nothing_is_found_at_the_baselines(name):
    """They are not asked at the start of a run: here they are."""
    track = data.track("gauss" if name == "oracle" else "digits")
    spec = catalogue.resolve(parse(name), track=track.name)
    if "classifier" in spec.capabilities:
        assert checked(spec, track) == {}


@pytest.fixture
def coloured():
    """A subject whose classes are colours, told by a fixed linear network."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(128) % 3
    x = torch.rand((128, 3, 4, 4), generator=generator) * 0.3
    x[torch.arange(128), y] += 0.6
    network = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
    return lambda before: Subject("m", Softmax(nn.Sequential(before, network)), x, y, 3)


class Turned(nn.Module):
    def forward(self, x):
        return x[:, [2, 1, 0]]


def test_colours_in_another_order_are_named(coloured):
    assert "blue, green, red" in sanity.findings(coloured(Turned()))["input"]
    assert sanity.findings(coloured(nn.Identity())) == {}


def test_settings_that_do_harm_are_named():
    """The model normalises by itself, and a user says --mean and --std too."""
    model = jembench.wrap(Net(), mean=0.8, std=0.2)
    assert "without --mean and --std" in api.check(model)["input"]


def test_a_model_of_many_classes_is_judged_by_chance_alone():
    """128 images of 100 classes can be assigned to any order: no order is told from so few."""
    y = torch.arange(128) % 100
    x = torch.rand((128, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    subject = Subject("m", Softmax(nn.Sequential(nn.Flatten(), nn.Linear(16, 100))), x, y, 100)
    assert set(sanity.findings(subject)) == {"chance"}


def test_results_carry_what_was_found_and_keep_it(tmp_path, caplog):
    model = Net(after=lambda f: f.softmax(1))
    first = jembench.evaluate(model, "accuracy", name="soft", limit=20, output=tmp_path)
    (words,) = first.document.warnings
    assert words.startswith("soft: gives probabilities")
    assert sum(words in record.message for record in caplog.records) == 1
    table = first.to_markdown()
    assert "| soft !" in table
    assert f"! {words}" in table
    caplog.clear()
    again = jembench.evaluate(model, "accuracy", name="soft", limit=20, output=tmp_path)
    assert again.document.warnings == first.document.warnings
    assert not again.evaluation.outcome.computed
    assert any(words in record.message for record in caplog.records)


def test_a_second_suite_does_not_ask_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("jembench.engine.sanity.findings", lambda subject: asked.append(subject.name) or {})
    for suite in ("accuracy", "calibration"):
        result = jembench.evaluate(Net(), suite, name="net", limit=20, output=tmp_path)
        assert not result.document.warnings
    assert asked == ["net"]


def test_behind_a_defence_the_bare_model_is_checked(tmp_path):
    model = Net(after=lambda f: f.softmax(1))
    defence = jembench.Defence(steps=0, sigma=0.1, votes=2)
    result = jembench.evaluate(model, "accuracy", name="soft", limit=20, output=tmp_path, defence=defence)
    (words,) = result.document.warnings
    assert words.startswith("soft: gives probabilities")


def test_warnings_move_neither_key_nor_protocol(tmp_path, monkeypatch):
    results = []
    for folder, found in (("a", {}), ("b", {"chance": "is bad"})):
        monkeypatch.setattr("jembench.engine.sanity.findings", lambda subject, found=found: found)
        results.append(jembench.evaluate(Net(), "accuracy", name="n", limit=20, output=tmp_path / folder).document)
    one, other = results
    assert (one.key, one.protocol_hash, one.metrics) == (other.key, other.protocol_hash, other.metrics)
    assert "warnings" not in one.model_dump(mode="json")
    assert other.warnings == ("n: is bad",)


def test_a_golden_result_has_no_warnings(tmp_path):
    ref = ModelRef("object", "soft", module=Net(after=lambda f: f.softmax(1)))
    request = replace(api.Request(models=(ref,), suites=("accuracy",), limit=20, output=tmp_path / "runs"))
    for _ in range(2):  # before anything is computed, and from a result that is there
        with pytest.raises(UserError, match="a golden result has no warnings, this one has: soft: gives probabilities"):
            api.golden(request, tmp_path / "golden")
        assert not (tmp_path / "golden").exists()
        api.measure(request)


def test_a_model_without_logits_is_not_checked():
    """But its samples are."""
    assert api.check("uniform") == {}
    with pytest.raises(UserError, match="gives neither logits nor samples"):
        api.check(Bare())


class Bare:
    normalized = False

    def log_density(self, x):
        return -x.flatten(1).square().sum(1)


class Sampler(Bare):
    low, high = 0.0, 1.0

    def sample(self, n, *, generator, labels=None, start="fresh", steps=None):
        return self.low + (self.high - self.low) * torch.rand((n, 1, 8, 8), generator=generator)


@pytest.mark.parametrize(
    ("ends", "words"),
    [((0, 255), "not in [0, 1]"), ((-1, 1), "not in [0, 1]"), ((0, 16), "not in [0, 1]"), ((math.nan, 1), "NaN")],
)
def test_samples_on_another_scale_are_named(ends, words):
    model = Sampler()
    model.low, model.high = ends
    assert words in api.check(model)["samples"]


@pytest.mark.parametrize("ends", [(0, 1), (0.2, 0.7), (-0.1, 1.1)])
def test_samples_in_the_unit_range_are_right(ends):
    model = Sampler()
    model.low, model.high = ends
    assert api.check(model) == {}


def test_the_order_that_is_named_is_the_one_that_mends():
    found = api.check(Net(after=lambda f: f[:, ORDER]))["classes"]
    order = np.array(ORDER)
    assert ", ".join(map(str, order)) in found
