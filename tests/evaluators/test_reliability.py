"""Planted bugs: each is flagged by its name, and the honest baselines by none.

A battery is run end to end on the first 60 test images of digits, small where its size does not matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import jembench
from jembench import data
from jembench.attacks.defences import Defence
from jembench.choices import batteries, evaluators
from jembench.data.sets import Grid
from jembench.evaluators import reliability
from jembench.evaluators.battery import Battery
from jembench.evaluators.robustness import Robustness
from jembench.zoo import catalogue
from jembench.zoo.references import parse

LIMIT = 60
GRIDS = (Grid("linf", (0.1,), 0.1),)
SMALL: dict[str, Any] = {"steps": 15, "restarts": 1, "attacks": ("square",), "queries": 100, "few": 20, "sigma": 0.0}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Batteries of one ball and few attacks; what is in the returned dictionary overrides them."""
    chosen: dict[str, Any] = {}
    made = batteries.battery

    def battery(*arguments: Any, **options: Any) -> Battery:
        from dataclasses import replace

        whole = made(*arguments, **options)
        noisy = {"copies": 2, "draws": 5, "subset": 20} if whole.copies else {}
        return replace(whole, **{**SMALL, **noisy, "grids": GRIDS, "surrogates": (), "density": False, **chosen})

    monkeypatch.setattr(evaluators, "battery", battery)
    return chosen


def measured(
    model: Any, folder: Path, *, name: str = "planted", limit: int = LIMIT, **options: Any
) -> jembench.api.Result:
    return jembench.evaluate(model, "robustness", name=name, limit=limit, output=folder, **options)


def reasons(result: Any, norm: str = "linf") -> str:
    metric = result.metrics[f"test/{norm}/reliable"]
    assert metric.value == float(metric.reason is None)
    return metric.reason or ""


class Behind(nn.Module):
    """The shipped jem behind something that is done to its input or its logits."""

    def __init__(self, before: Any = lambda x: x, after: Any = lambda f: f) -> None:
        super().__init__()
        self.model = jembench.load("jem")
        self.before, self.after = before, after

    def __deepcopy__(self, memo: Any) -> Behind:
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.model.logits(self.before(x)))


class Lost(torch.autograd.Function):
    """The identity, with a gradient that is not a number."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.nan


@pytest.mark.parametrize(
    ("before", "after", "flag"),
    [
        (lambda x: (x * 16).round() / 16, lambda f: f, "zero gradients"),
        (lambda x: x, lambda f: f * 1e4, "zero gradients"),
        (lambda x: x + 0.05 * torch.sin(1e4 * x), lambda f: f, "shattered gradients"),
        (Lost.apply, lambda f: f, "NaN gradients"),
    ],
    ids=["quantised", "scaled logits", "shattered", "NaN"],
)
def test_models_whose_gradients_lie(before: Any, after: Any, flag: str, tmp_path: Path, small: dict[str, Any]) -> None:
    assert flag in reasons(measured(Behind(before, after), tmp_path))


ATTACKS = '''
import torch


def climbed(model, x, y, eps, steps=10, low=0):
    """Plain PGD."""
    adversarial = x.clone()
    for _ in range(steps):
        adversarial.requires_grad_()
        value = torch.nn.functional.cross_entropy(model(adversarial), y, reduction="sum")
        (gradient,) = torch.autograd.grad(value, adversarial)
        adversarial = adversarial.detach() + eps / 4 * gradient.sign()
        adversarial = (x + (adversarial - x).clamp(-eps, eps)).clamp(low, 1).detach()
    return adversarial


def honest(model, x, y, *, norm, eps, generator):
    return climbed(model, x, y, eps)


def half(model, x, y, *, norm, eps, generator):
    """Works on 2 x - 1, and applies eps there."""
    scaled = climbed(lambda z: model((z + 1) / 2), 2 * x - 1, y, eps, low=-1)
    return (scaled + 1) / 2


def outside(model, x, y, *, norm, eps, generator):
    return climbed(model, x, y, eps + 1e-3)


def lucky(model, x, y, *, norm, eps, generator):
    """Asks a stochastic model again and again until one draw is wrong."""
    best, claimed = x.clone(), torch.zeros(len(x), dtype=torch.bool)
    for _ in range(60):
        shown = (x + eps * (2 * torch.rand(x.shape, generator=generator) - 1)).clamp(0, 1)
        with torch.no_grad():
            wrong = (model(shown).argmax(1) != y) & ~claimed
        best[wrong], claimed = shown[wrong], claimed | wrong
    return best, claimed
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Any:
    path = tmp_path / "attacks.py"
    path.write_text(ATTACKS)
    return lambda name: f"{path}:{name}"


@pytest.mark.parametrize(
    ("name", "flag"), [("half", "unused budget"), ("outside", "leaves the ball"), ("honest", "")], ids=str
)
def test_attacks_that_are_wrong(name: str, flag: str, plugin: Any, tmp_path: Path, small: dict[str, Any]) -> None:
    small["attacks"] = (plugin(name),)
    found = reasons(measured("softmax-adv", tmp_path, name=None))
    assert (flag in found) if flag else found == ""


def test_an_attack_that_leaves_the_ball_breaks_nothing(plugin: Any, tmp_path: Path, small: dict[str, Any]) -> None:
    """What it shows is out of bounds, so its figure is that of the clean images."""
    small["attacks"] = (plugin("outside"),)
    result = measured("softmax", tmp_path, name=None)
    (own,) = [m for m in result.metrics.values() if m.name == "robust_accuracy" and "outside" in m.variant]
    assert own.value == result.metrics["test/clean/robust_accuracy"].value


class Jittered:
    """jem with noise on its logits: one draw in many is wrong, the vote never."""

    stochastic = True

    def __init__(self) -> None:
        self.model = jembench.load("jem")

    def __deepcopy__(self, memo: Any) -> Jittered:
        return self

    def logits(self, x: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
        f = self.model.logits(x)
        return f + 2.5 * torch.randn(f.shape, generator=generator)


def test_an_attack_that_lives_on_luck(plugin: Any, tmp_path: Path, small: dict[str, Any]) -> None:
    small["attacks"] = (plugin("lucky"),)
    small["draws"] = 25
    small["grids"] = (Grid("linf", (0.02,), 0.02),)
    result = measured(Jittered(), tmp_path)
    assert "lucky claims" in reasons(result)
    (held,) = [m for m in result.metrics.values() if m.name == "claims_held" and "lucky" in m.variant]
    assert held.value < 0.5
    (own,) = [m for m in result.metrics.values() if m.name == "robust_accuracy" and "lucky" in m.variant]
    assert own.value > 0.85  # judged on fresh draws, it breaks next to nothing


def test_a_defence_that_is_only_noise_gains_nothing(tmp_path: Path, small: dict[str, Any]) -> None:
    result = measured("softmax", tmp_path, name=None, defence=Defence(0))
    gain = result.metrics["test/linf-0.1/gain"]
    assert gain.reason == "no gain"
    assert gain.low <= gain.value <= gain.high
    assert reasons(result) == ""
    assert "no gain" in result.to_markdown()


@pytest.mark.parametrize("name", ["softmax", "jem", "softmax-adv", "glow-cond"])
def test_honest_baselines_are_reliable(name: str, tmp_path: Path, small: dict[str, Any]) -> None:
    assert reasons(measured(name, tmp_path, name=None)) == ""


@pytest.mark.parametrize(
    ("name", "defence"), [("softmax", Defence(1)), ("jem", Defence(1)), ("jem", Defence.smoothing(0.25))], ids=str
)
def test_honest_defences_are_reliable(name: str, defence: Defence, tmp_path: Path, small: dict[str, Any]) -> None:
    """Also heavy noise, where half of the draws at a boundary are luck."""
    small["attacks"] = ("square", "spsa")
    limit = 60 if defence.steps == 0 else 20
    assert reasons(measured(name, tmp_path, name=None, limit=limit, defence=defence)) == ""


def test_gradients_that_are_all_zero_are_flagged_and_half_of_them_are_not() -> None:
    """With the cross-entropy saturated the restarts by margin still see; without an image left there is no doubt."""
    known = parts()
    for share, left, flagged in ((1.0, 20, True), (0.5, 20, False), (1.0, 0, False)):
        records = {known["pgd"]: columns(60, left, zero=np.full(60, share), broken=np.zeros(60))}
        found = reliability.problems(records, "linf", stochastic=True)
        assert any(reason.startswith("zero gradients") for reason in found) == flagged


def test_weaker_needs_points_and_a_test() -> None:
    strong, weak = np.zeros(100, int), np.zeros(100, int)
    weak[:3] = 1
    assert not reliability.weaker(weak, strong)  # 3 points, p = 1/8
    weak[:10] = 1
    assert reliability.weaker(weak, strong)  # p = 2^-10
    strong[90:] = 1
    assert not reliability.weaker(weak, strong)  # ten more, ten fewer


def parts() -> dict[str, Any]:
    spec = catalogue.resolve(parse("softmax"), track="digits")
    track = data.track("digits")
    battery = Battery(GRIDS, **{**SMALL, "attacks": ("square", "hopskipjump")}, surrogates=batteries.surrogates(track))
    assert spec.name == "softmax"
    return {(part.name if not part.check else f"check {part.name}"): part for part in battery.parts(track)}


def columns(n: int, left: int, **others: Any) -> dict[str, np.ndarray]:
    """Records of an attack that leaves the last ``left`` of n images."""
    vote = (np.arange(n) >= n - left).astype(np.int32)
    made = {
        "vote": vote,
        "valid": np.ones(n, np.int32),
        "excess": np.zeros(n),
        "distance": np.full(n, 0.1),
        "claimed": 1 - vote,
        "zero": np.zeros(n),
        "broken": np.zeros(n),
    }
    return {**made, **others}


@pytest.mark.parametrize(
    ("name", "change", "flag"),
    [
        ("check many", {"left": 30}, "more steps are weaker"),
        ("check wide", {"left": 30}, "more eps is weaker"),
        ("check unbounded", {"left": 1}, "unbounded eps"),
        ("square", {"left": 5}, "black-box is stronger"),
        ("transfer", {"left": 2}, "black-box is stronger"),
    ],
)
def test_flags_on_records_made_by_hand(name: str, change: dict[str, int], flag: str) -> None:
    known = parts()
    good = {
        "pgd": columns(60, 20),
        "square": columns(60, 40),
        "transfer": columns(60, 40),
        "hopskipjump": columns(50, 40),
        "check few": columns(60, 22, distance=np.full(60, 0.1)),
        "check many": columns(60, 20),
        "check wide": columns(60, 5, distance=np.full(60, 0.2)),
        "check unbounded": columns(60, 0),
    }
    records = {known[key]: value for key, value in good.items()}
    assert reliability.problems(records, "linf", stochastic=False) == []
    records[known[name]] = columns(60, **change, distance=np.full(60, 0.2))
    found = reliability.problems(records, "linf", stochastic=False)
    assert found
    assert all(reason.startswith(flag) for reason in found)


def test_columns_are_what_scalars_give() -> None:
    evaluator = Robustness(Battery(GRIDS))
    assert "linf-0.1/worst" in evaluator.columns
    assert "linf-0.1/pgd" in evaluator.columns
    assert len(set(evaluator.columns)) == len(evaluator.columns)
