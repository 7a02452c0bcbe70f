"""Evaluator ``stress``: closed forms of a Gaussian density under attack, along shifts and after a refinement."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

import jembench
from jembench import data
from jembench.api import Result
from jembench.choices import suites
from jembench.evaluators.stress import LIMIT, Stress, pushed, trend_of
from jembench.measurements.contract import RecordBatch
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.seen import Refined, Seen
from jembench.metrics.auroc import auroc
from jembench.metrics.metric import Metric
from jembench.metrics.scores import PAPER

TRACK = data.track("gauss")
PUSHES = ("clean_auroc", "ood_pushed_auroc", "test_pushed_auroc", "both_pushed_auroc")
EPS = TRACK.threats[0].headline  # of linf
Columns = dict[str, NDArray[Any]]


def value(metric: Metric) -> float:
    assert metric.value is not None, metric.reason
    return metric.value


def pixels(source: str, n: int | None = LIMIT) -> NDArray[np.float64]:
    return data.load("gauss", source).pixels(0, n).reshape(-1, 64).astype(np.float64)


class Gaussian:
    """log p(x) = -w |x - 1/2|^2 / 2, not normalised."""

    normalized = False

    def __init__(self, curvature: float = 1.0) -> None:
        self.curvature = curvature

    def log_density(self, x: Tensor) -> Tensor:
        return -self.curvature * (x - 0.5).flatten(1).square().sum(1) / 2


class Classifier:
    def logits(self, x: Tensor) -> Tensor:
        return 20 * x.flatten(1)[:, :10]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> str:
    """A suite of this evaluator."""
    monkeypatch.setattr(suites, "DISTANCE", ("stress",))
    return "distance"


def test_a_pushed_gaussian_has_the_areas_of_its_closed_form(alone: str, tmp_path: Any) -> None:
    """Every pixel moves by eps from 1/2, or to it: the distances are known, and so is every AUROC."""
    found = jembench.evaluate(Gaussian(), alone, track="gauss", output=tmp_path).metrics

    def score(source: str, push: float) -> NDArray[np.float64]:
        far = np.maximum(np.abs(pixels(source) - 0.5) - push, 0)
        return -np.square(far).sum(1)

    for source in ("shifted", "scaled"):
        for name, test, ood in zip(PUSHES, (0, 0, -EPS, -EPS), (0, EPS, 0, EPS), strict=True):
            metric = found[f"{source}/log_px/{name}"]
            assert value(metric) == pytest.approx(auroc(score("test", test), score(source, ood)), abs=2e-3)
            assert metric.n == {"test": LIMIT, source: LIMIT}
    for name in PUSHES:
        parts = [value(found[f"{source}/log_px/{name}"]) for source in ("shifted", "scaled")]
        assert value(found[f"mean/log_px/{name}"]) == pytest.approx(np.mean(parts))
        assert found[f"mean/max_py/{name}"].reason == "the model gives no logits"


def test_a_refined_gaussian_has_the_ranks_it_had(alone: str, tmp_path: Any) -> None:
    """Ten steps of .25 towards the centre shrink all distances alike, and their noise is far below them."""
    found = jembench.evaluate(Gaussian(0.1), alone, track="gauss", output=tmp_path).metrics
    for source in ("shifted", "scaled"):
        whole = auroc(*(-np.square(pixels(name, None) - 0.5).sum(1) for name in ("test", source)))
        refined = found[f"{source}/log_px/refined_auroc"]
        assert value(refined) == pytest.approx(whole, abs=0.02)
        assert refined.n == {"test": 360, source: 360}


def test_an_attack_never_helps_the_defender(oracle: Result) -> None:
    for score in ("log_px", "max_py"):
        for source in ("shifted", "scaled", "mean"):
            clean, ood, test, both = (value(oracle.metrics[f"{source}/{score}/{name}"]) for name in PUSHES)
            assert both <= min(ood, test)
            assert max(ood, test) < clean


def test_clean_is_what_the_evaluator_of_ood_says_on_the_same_images(oracle: Result) -> None:
    frame = oracle.records("ood")
    for score in ("log_px", "max_py"):
        parts = {source: frame[frame["source"] == source][score].to_numpy()[:LIMIT] for source in ("test", "scaled")}
        assert value(oracle.metrics[f"scaled/{score}/clean_auroc"]) == pytest.approx(
            auroc(parts["test"], parts["scaled"]), abs=1e-6
        )


def test_shifts_are_seen_as_their_closed_form_says(oracle: Result) -> None:
    """Contrast shrinks all distances, so log p rises: an AUROC below 1/2, and a trend of 1."""
    assert value(oracle.metrics["noise/log_px/severity_trend"]) == -1
    assert value(oracle.metrics["brightness/log_px/severity_trend"]) == -1
    assert value(oracle.metrics["contrast/log_px/severity_trend"]) == 1
    for severity in range(1, 6):
        assert value(oracle.metrics[f"contrast-{severity}/log_px/shift_auroc"]) < 0.25
        # a pattern that no class uses: p(y|x) does not see brightness at all
        assert value(oracle.metrics[f"brightness-{severity}/max_py/shift_auroc"]) == pytest.approx(0.5, abs=1e-3)
    (amounts,) = (grid.amounts for grid in TRACK.shifts if grid.kind == "noise")
    areas = [value(oracle.metrics[f"noise-{severity}/log_px/shift_auroc"]) for severity in range(1, 6)]
    assert areas == sorted(areas)
    assert len(areas) == len(amounts)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=8))
def test_the_trend_is_kendalls_tau(values: list[int]) -> None:
    found = trend_of([float(x) for x in values])
    expected = stats.kendalltau(range(len(values)), values).statistic
    assert found == pytest.approx(0.0 if np.isnan(expected) else expected)


def test_a_classifier_has_its_confidence_only(alone: str, tmp_path: Any) -> None:
    found = jembench.evaluate(Classifier(), alone, track="gauss", limit=40, output=tmp_path).metrics
    for name, metric in found.items():
        if "/max_py/" in name and "refined" not in name:
            assert metric.value is not None, name
        else:
            assert metric.reason == "the model gives no differentiable log density"  # to score by, or to climb


def test_a_model_without_either_has_reasons_everywhere(alone: str, tmp_path: Any) -> None:
    found = jembench.evaluate("uniform", alone, track="gauss", limit=10, output=tmp_path).metrics
    assert len(found) == len(Stress().metrics([], TRACK))
    for metric in found.values():
        assert metric.value is None
        assert metric.reason in ("the model gives no logits", "the model gives no differentiable log density")


def records(change: dict[tuple[Any, str], Columns]) -> Iterator[RecordBatch]:
    """Records of normal scores, but those in ``change``."""
    rng = np.random.default_rng(0)
    for need in Stress().needs(TRACK):
        n = LIMIT if need.limit else 360
        columns = {
            "logits": rng.normal(size=(n, 10)),
            "log_density": rng.normal(size=n),
            "gradient_norm": rng.uniform(size=n),
        }
        columns |= change.get((need.measurement, need.source), {})
        yield RecordBatch(need.measurement, need.source, columns, need)


def test_what_is_nan_is_a_reason_of_its_own_and_of_the_mean() -> None:
    """Not of other sets, nor one that says that the model cannot."""
    density = np.zeros(360)
    density[[3, 7]] = np.nan
    found = {
        metric.id: metric
        for metric in Stress().metrics(records({(Seen(Refined()), "scaled"): {"log_density": density}}), TRACK)
    }
    reason = "log p(x) is NaN on 2 of 360 images"
    assert found["scaled/log_px/refined_auroc"].reason == found["mean/log_px/refined_auroc"].reason == reason
    assert value(found["shifted/log_px/refined_auroc"]) == pytest.approx(0.5, abs=0.1)
    assert value(found["mean/max_py/refined_auroc"]) == pytest.approx(0.5, abs=0.1)


def test_what_is_nan_at_one_severity_is_the_reason_of_the_trend() -> None:
    view = next(
        need.measurement for need in Stress().needs(TRACK) if "noise 0.06" in getattr(need.measurement, "title", "")
    )
    found = {
        metric.id: metric
        for metric in Stress().metrics(records({(view, "test"): {"log_density": np.full(360, np.nan)}}), TRACK)
    }
    reason = "log p(x) is NaN on 360 of 360 images"
    assert found["noise-3/log_px/shift_auroc"].reason == found["noise/log_px/severity_trend"].reason == reason
    assert value(found["contrast/log_px/severity_trend"]) <= 1
    assert value(found["noise-2/log_px/shift_auroc"]) == pytest.approx(0.5, abs=0.1)


def test_without_threats_nothing_is_pushed_and_all_else_is_there() -> None:
    quiet = replace(TRACK, threats=())
    assert not any(
        isinstance(getattr(need.measurement, "view", None), type(pushed(TRACK, "log_px", inwards=True).view))
        for need in Stress().needs(quiet)
    )
    names = {metric.name for metric in Stress().metrics([], quiet)}
    assert names == {"refined_auroc", "shift_auroc", "severity_trend"}


def test_attacks_are_on_the_first_images_and_the_rest_on_all() -> None:
    limits = {need.limit for need in Stress().needs(TRACK) if need.measurement in (InputGradient(), Seen(Refined()))}
    assert limits == {None}
    attacked = [need for need in Stress().needs(TRACK) if need.limit == LIMIT]
    assert len(attacked) == 2 * 3
    inwards = {need.source: need.measurement.view.inwards for need in attacked}  # type: ignore[attr-defined]
    assert inwards == {"test": False, "shifted": True, "scaled": True}
    assert {score.name for score in PAPER} == {"log_px", "max_py", "mass"}
