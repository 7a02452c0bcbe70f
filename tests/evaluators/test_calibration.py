"""Evaluator ``calibration``: hand-made records, its temperature, and the oracle, which is calibrated."""

import numpy as np
import pytest

from jembench import data
from jembench.api import Result
from jembench.data import gauss
from jembench.evaluators.calibration import KINDS, VARIANTS, Calibration
from jembench.evaluators.contract import Metric, RecordBatch
from jembench.evaluators.logits import Logits

TRACK = data.track("gauss")
NAMES = [kind.name for kind in KINDS]


def simulated(n: int, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(f), and logits ``scale * f``."""
    rng = np.random.default_rng(seed)
    f = rng.normal(size=(n, 10)) * 2
    p = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, 9)
    return (scale * f).astype(np.float32), labels


def records(scale: float, *, cut: int = 0, n: int = 2000) -> list[RecordBatch]:
    result = []
    for seed, source in enumerate(("validation", "test")):
        logits, labels = simulated(n, scale, seed)
        cuts = [cut] if cut else []
        for f, y in zip(np.split(logits, cuts), np.split(labels, cuts), strict=True):
            result.append(RecordBatch(Logits(), source, {"logits": f, "label": y}))
    return result


def by_id(found: list[Metric]) -> dict[str, Metric]:
    return {metric.id: metric for metric in found}


def value(found: dict[str, Metric], name: str) -> float:
    number = found[name].value
    assert number is not None
    return number


def test_temperature_undoes_overconfidence() -> None:
    """Logits three times too large: T is 3, and the scaled twin is as good as the truth itself."""
    scaled, true = by_id(Calibration().metrics(records(3.0), TRACK)), by_id(Calibration().metrics(records(1.0), TRACK))
    assert value(scaled, "validation/temperature") == pytest.approx(3 * value(true, "validation/temperature"), rel=1e-6)
    assert value(scaled, "validation/temperature") == pytest.approx(3.0, rel=0.1)
    for name in ("nll", "brier", "ece15", "ece20", "squared_ece15"):
        assert value(scaled, f"test/temperature/{name}") < value(scaled, f"test/raw/{name}")
        assert value(scaled, f"test/temperature/{name}") == pytest.approx(
            value(true, f"test/temperature/{name}"), abs=1e-6
        )


def test_the_temperature_says_how_it_was_found() -> None:
    """By maximum likelihood, or where the validation split has no error by Platt's targets."""
    sure = np.eye(10, dtype=np.float32)[np.arange(20) % 10]
    validation = RecordBatch(Logits(), "validation", {"logits": sure, "label": sure.argmax(axis=1)})
    for batches, method in (
        (records(1.0, n=200), "maximum likelihood"),
        ([validation, *records(1.0, n=200)[1:]], "Platt targets"),
    ):
        assert by_id(Calibration().metrics(batches, TRACK))["validation/temperature"].method == method


def test_every_number_has_its_source_n_and_direction() -> None:
    found = by_id(Calibration().metrics(records(1.0, n=200), TRACK))
    assert set(found) == {f"test/{v}/{name}" for v in VARIANTS for name in NAMES} | {"validation/temperature"}
    assert found["test/raw/nll"].n == {"test": 200}
    assert found["validation/temperature"].n == {"validation": 200}
    assert found["validation/temperature"].better == "neither"
    assert {metric.better for metric in found.values() if metric.source == "test"} == {"lower"}


def test_nll_and_brier_of_one_hand_made_record() -> None:
    """p = (3/4, 1/4) for both, one right and one wrong."""
    logits = np.log(np.array([[3.0, 1.0], [3.0, 1.0]], dtype=np.float32))
    batch = {"logits": logits, "label": np.array([0, 1])}
    found = by_id(
        Calibration().metrics([RecordBatch(Logits(), source, batch) for source in ("validation", "test")], TRACK)
    )
    assert value(found, "test/raw/nll") == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)
    assert value(found, "test/raw/brier") == pytest.approx((2 * 0.25**2 + 2 * 0.75**2) / 2)
    assert value(found, "test/raw/ece15") == pytest.approx(0.75 - 0.5)


def test_chunk_boundaries_do_not_matter_not_even_to_the_bootstrap() -> None:
    assert Calibration().metrics(records(2.0, n=300), TRACK) == Calibration().metrics(
        records(2.0, n=300, cut=77), TRACK
    )


@pytest.mark.parametrize("present", [(), ("test",), ("validation",)])
def test_without_either_split_all_values_are_missing_and_have_a_direction(present: tuple[str, ...]) -> None:
    """A direction, or the gate could not tell that a number went missing."""
    found = Calibration().metrics([item for item in records(1.0, n=50) if item.source in present], TRACK)
    *errors, temperature = found
    assert len(errors) == len(VARIANTS) * len(NAMES)
    assert all(metric.value is None and metric.reason and metric.better == "lower" for metric in errors)
    assert all(metric.tolerance for metric in errors)
    assert (temperature.id, temperature.value, temperature.better) == ("validation/temperature", None, "neither")
    assert temperature.reason


def test_its_scalars_are_its_columns_and_give_the_means() -> None:
    logits, labels = simulated(100, 1.0, 0)
    batch = RecordBatch(Logits(), "test", {"logits": logits, "label": labels})
    scalars = Calibration().scalars(batch)
    assert tuple(scalars) == Calibration.columns
    validation = RecordBatch(Logits(), "validation", batch.columns)
    found = by_id(Calibration().metrics([validation, batch], TRACK))
    assert scalars["nll"].mean() == pytest.approx(value(found, "test/raw/nll"))
    assert scalars["brier"].mean() == pytest.approx(value(found, "test/raw/brier"))


@pytest.mark.parametrize("name", [name for name in gauss.TRUTH if name.startswith("test/raw/")])
def test_the_oracles_intervals_hold_the_truth(oracle: Result, name: str) -> None:
    found = oracle.metrics[name]
    assert found.low is not None
    assert found.high is not None
    assert found.low <= gauss.TRUTH[name] <= found.high


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.endswith(("ece15", "ece20")) and "squared" not in name]
)
def test_the_oracles_plain_errors_lie_in_the_band_of_calibrated_models(oracle: Result, name: str) -> None:
    """The truth of each is 0, which no plain ECE reaches on 360 examples: the band says where calibrated ones fall."""
    found = oracle.metrics[f"test/raw/{name}"]
    assert found.method == "consistency band"
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low <= found.value <= found.high


def test_the_oracle_needs_no_temperature(oracle: Result) -> None:
    """The temperature fitted on 180 examples of a calibrated model is 1 but for chance."""
    assert 0.7 < value(dict(oracle.metrics), "validation/temperature") < 1.4
