"""Evaluator ``shifts``: closed forms on gauss, the temperature of the clean split, means, and what is missing."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import jembench
from jembench import data
from jembench.api import Result
from jembench.choices import suites
from jembench.data import gauss
from jembench.evaluators.shifts import KINDS, VARIANTS, Shifts, views_of
from jembench.measurements.contract import RecordBatch
from jembench.measurements.logits import Logits
from jembench.measurements.seen import Attacked, Refined, Seen, Shifted
from jembench.metrics import classification
from jembench.metrics.metric import Metric
from jembench.metrics.temperature import fit_temperature

TRACK = data.track("gauss")
N = 200
NAMES = ("accuracy", *(f"{variant}/{kind.name}" for variant in VARIANTS for kind in KINDS))
Columns = dict[str, NDArray[Any]]


def value(metric: Metric) -> float:
    assert metric.value is not None, metric.reason
    return metric.value


def logits(name: str, scale: float = 1.0) -> Columns:
    """Calibrated logits of random strength, times ``scale``, with labels drawn from what they say unscaled."""
    rng = np.random.default_rng(sum(map(ord, name)))
    f = 2 * rng.normal(size=(N, 10))
    p = classification.softmax(f)
    y = np.array([rng.choice(10, p=row) for row in p])
    return {"logits": (scale * f).astype(np.float32), "label": y}


def batches(records: dict[str, Columns], scale: float = 1.0) -> Iterator[RecordBatch]:
    for source in ("validation", "test"):
        yield RecordBatch(Logits(), source, logits(source, scale))
    for name, view in views_of(TRACK).items():
        yield RecordBatch(view, "test", records.get(name, logits(name, scale)))


def judge(records: dict[str, Columns] | None = None, scale: float = 1.0) -> dict[str, Metric]:
    return {metric.id: metric for metric in Shifts().metrics(batches(records or {}, scale), TRACK)}


def test_the_views_are_every_kind_at_every_severity_an_attack_and_a_refinement() -> None:
    views = views_of(data.track("digits"))
    assert len(views) == 5 * 5 + 2
    assert views["attacked"].view == Attacked("linf", data.track("digits").threats[0].headline)
    assert views["refined"].view == Refined()
    for grid in data.track("digits").shifts:
        for severity in range(1, 6):
            assert views[f"{grid.kind}-{severity}"].view == Shifted(grid.kind, grid.amounts[severity - 1])
    assert "attacked" not in views_of(replace(TRACK, threats=()))


def test_accuracy_under_noise_is_the_closed_form(oracle: Result) -> None:
    """Noise a leaves the separation delta sigma / sqrt(sigma^2 + a^2): 3 standard errors of 360 images."""
    t = np.random.default_rng(0).normal(size=(200_000, 10))
    (noise,) = (grid.amounts for grid in TRACK.shifts if grid.kind == "noise")
    for severity, amount in enumerate(noise, start=1):
        separation = gauss.SEPARATION * gauss.SIGMA / np.hypot(gauss.SIGMA, amount)
        truth = (t[:, 0] + separation > t[:, 1:].max(1)).mean()
        found = value(oracle.metrics[f"noise-{severity}/accuracy"])
        assert abs(found - truth) < 3 * math.sqrt(truth * (1 - truth) / 360)


def test_what_does_not_move_the_posterior_moves_no_figure(oracle: Result) -> None:
    """Brightness moves along a pattern that no class uses; contrast shrinks the differences of the logits."""
    clean = {name: value(oracle.metrics[f"test/{name}"]) for name in ("accuracy", "raw/nll", "raw/brier")}
    for severity in range(1, 6):
        for name, expected in clean.items():
            assert value(oracle.metrics[f"brightness-{severity}/{name}"]) == pytest.approx(expected, abs=1e-4)
        assert value(oracle.metrics[f"contrast-{severity}/accuracy"]) == clean["accuracy"]
    drops = [value(oracle.metrics[f"contrast-{severity}/raw/overconfidence"]) for severity in range(1, 6)]
    assert drops == sorted(drops, reverse=True)
    assert drops[-1] < -0.05


def test_overconfidence_is_confidence_less_accuracy_and_holds_0_where_it_is_0() -> None:
    """Of calibrated logits; doubled, they are overconfident, and their temperature twin is not."""
    honest, loud = judge(), judge(scale=2.0)
    for name in ("noise-1", "contrast-5", "refined"):
        low, high = honest[f"{name}/raw/overconfidence"].low, honest[f"{name}/raw/overconfidence"].high
        assert low < 0.05
        assert high > -0.05
        record = logits(name, 2.0)
        confidence = classification.confidence(record["logits"].astype(np.float64)).mean()
        accuracy = (record["logits"].argmax(1) == record["label"]).mean()
        assert value(loud[f"{name}/raw/overconfidence"]) == pytest.approx(confidence - accuracy)
        assert value(loud[f"{name}/raw/overconfidence"]) > 0.1
        for kind in KINDS:
            twin = (found[f"{name}/temperature/{kind.name}"] for found in (honest, loud))
            first, second = (value(metric) for metric in twin)
            assert first == pytest.approx(second, rel=1e-3, abs=1e-4)


def test_the_temperature_is_that_of_the_clean_validation_split() -> None:
    """As a user has it: a shift does not come with labels to fit on."""
    t = fit_temperature(logits("validation", 3.0)["logits"], logits("validation", 3.0)["label"]).temperature
    record = logits("noise-3", 3.0)
    nll = classification.nll(record["logits"].astype(np.float64) / t, record["label"]).mean()
    assert value(judge(scale=3.0)["noise-3/temperature/nll"]) == pytest.approx(nll)
    own = fit_temperature(record["logits"], record["label"]).temperature
    assert abs(own - t) > 1e-3


def test_severities_are_means_over_kinds_without_intervals() -> None:
    found = judge()
    for severity in range(1, 6):
        for name in NAMES:
            parts = [value(found[f"{grid.kind}-{severity}/{name}"]) for grid in TRACK.shifts]
            mean = found[f"severity-{severity}/{name}"]
            assert value(mean) == pytest.approx(np.mean(parts))
            assert (mean.low, mean.high, mean.method, mean.n) == (None, None, "none", {"test": N})


def test_chains_that_diverge_are_a_reason_of_their_own_row() -> None:
    broken = logits("refined")
    broken["logits"][5, 2] = np.nan
    found = judge({"refined": broken})
    reasons = {found[f"refined/{name}"].reason for name in NAMES}
    assert reasons == {f"the logits of 1 of {N} images are not finite: the chains diverge"}
    assert value(found["noise-1/accuracy"]) > 0


def test_the_oracles_refinement_diverges(oracle: Result) -> None:
    """log p is more curved than 2 / a: its own density is too narrow for the paper's steps."""
    assert oracle.metrics["refined/accuracy"].reason == (
        "the logits of 360 of 360 images are not finite: the chains diverge"
    )
    assert oracle.metrics["mean/log_px/refined_auroc"].reason == "log p(x) is NaN on 360 of 360 images"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> str:
    """A suite of this evaluator."""
    monkeypatch.setattr(suites, "DISTANCE", ("shifts",))
    return "distance"


class Classifier:
    def logits(self, x: Tensor) -> Tensor:
        return 20 * x.flatten(1)[:, :10]


class Density:
    normalized = False

    def log_density(self, x: Tensor) -> Tensor:
        return -x.flatten(1).square().sum(1)


def test_a_classifier_has_all_but_the_refinement(alone: str, tmp_path: Any) -> None:
    found = jembench.evaluate(Classifier(), alone, track="gauss", limit=30, output=tmp_path).metrics
    assert {found[f"refined/{name}"].reason for name in NAMES} == {"the model gives no differentiable log density"}
    assert all(metric.value is not None for name, metric in found.items() if not name.startswith("refined/"))
    whole = {f"{name}/{figure}" for name in views_of(TRACK) for figure in NAMES}
    assert whole <= set(found)


@pytest.mark.parametrize("model", ["glow", Density()])
def test_a_density_alone_has_no_calibration(alone: str, model: Any, tmp_path: Any) -> None:
    track = "digits" if model == "glow" else "gauss"
    found = jembench.evaluate(model, alone, track=track, limit=10, output=tmp_path).metrics
    assert {metric.reason for metric in found.values()} == {"the model gives no logits"}
    assert len(found) == len(NAMES) * (len(views_of(data.track(track))) + 5)


def test_an_attacked_model_is_the_one_that_is_attacked(alone: str, tmp_path: Any) -> None:
    """A linear model: every image within eps of its boundary falls, and the attacked accuracy is its margin's law."""
    found = jembench.evaluate(Classifier(), alone, track="gauss", output=tmp_path).metrics
    images = data.load("gauss", "test")
    x = images.pixels().reshape(-1, 64)[:, :10]
    margin = x[range(len(x)), images.labels] - np.where(np.eye(10)[images.labels] > 0, -np.inf, x).max(1)
    eps = TRACK.threats[0].headline
    # PGD may miss what is hardly within reach
    bounds = [(margin > 2 * eps * share).mean() for share in (1.0, 0.9)]
    assert bounds[0] - 1e-9 <= value(found["attacked/accuracy"]) <= bounds[1] + 1e-9


def test_the_record_of_an_image_that_was_shifted_is_of_its_own_view() -> None:
    """Every view is another measurement: none can stand for another."""
    views = list(views_of(TRACK).values())
    assert len({Seen(view.view) for view in views}) == len(views)
    moved = logits("noise-2")
    moved["logits"] = torch.nn.functional.one_hot(torch.from_numpy(moved["label"]), 10).numpy() * np.float32(9)
    found = judge({"noise-2": moved})
    assert value(found["noise-2/accuracy"]) == 1
    assert value(found["noise-1/accuracy"]) < 0.9
