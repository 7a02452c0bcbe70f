"""Evaluator ``calibration``: hand-made records, its temperature, and the oracle, which is calibrated."""

import numpy as np
import pytest

from jembench import data
from jembench.api import Result
from jembench.data import gauss
from jembench.evaluators.accuracy import Accuracy
from jembench.evaluators.calibration import KINDS, SCALARS, VARIANTS, Calibration
from jembench.measurements.contract import RecordBatch
from jembench.measurements.logits import Logits
from jembench.metrics.calibration import ece
from jembench.metrics.metric import Metric

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
    for name in ("nll", "brier", "ece15", "ece20", "squared_ece15", "kde_ece", "brier_reliability15"):
        assert value(scaled, f"test/temperature/{name}") < value(scaled, f"test/raw/{name}")
        assert value(scaled, f"test/temperature/{name}") == pytest.approx(
            value(true, f"test/temperature/{name}"), abs=1e-6
        )


def test_a_vector_mends_what_a_temperature_cannot() -> None:
    """A class overrated by 2 nats, in both splits: only the vector is as good as the truth, and predicts anew."""
    batches = []
    for seed, source in enumerate(("validation", "test")):
        logits, labels = simulated(2000, 1.0, seed)
        batches.append(RecordBatch(Logits(), source, {"logits": logits + 2 * (np.arange(10) == 3), "label": labels}))
    found, true = (by_id(Calibration().metrics(batches, TRACK)), by_id(Calibration().metrics(records(1.0), TRACK)))
    assert value(found, "test/temperature/nll") > value(true, "test/raw/nll") + 0.05
    assert value(found, "test/vector/nll") == pytest.approx(value(true, "test/raw/nll"), abs=0.02)
    right = np.mean(simulated(2000, 1.0, 1)[0].argmax(axis=1) == simulated(2000, 1.0, 1)[1])
    assert value(found, "test/vector/accuracy") == pytest.approx(right, abs=0.01)
    raw = by_id(Accuracy().metrics(batches, TRACK))
    assert value(found, "test/vector/accuracy") > value(raw, "test/accuracy") + 0.02


def test_the_terms_of_the_brier_score_add_up_for_every_variant() -> None:
    found = by_id(Calibration().metrics(records(2.0, n=300), TRACK))
    for variant in VARIANTS:
        terms = [value(found, f"test/{variant}/brier_{term}") for term in ("reliability15", "uncertainty", "within15")]
        total = sum(terms) - value(found, f"test/{variant}/brier_resolution15")
        assert total == pytest.approx(value(found, f"test/{variant}/brier"), abs=1e-12)


def test_a_temperature_leaves_the_uncertainty_of_the_labels() -> None:
    found = by_id(Calibration().metrics(records(2.0, n=300), TRACK))
    assert value(found, "test/raw/brier_uncertainty") == value(found, "test/temperature/brier_uncertainty")


def test_the_temperature_says_how_it_was_found() -> None:
    """By maximum likelihood, or where the validation split has no error by Platt's targets."""
    sure = np.eye(10, dtype=np.float32)[np.arange(20) % 10]
    validation = RecordBatch(Logits(), "validation", {"logits": sure, "label": sure.argmax(axis=1)})
    for batches, method in (
        (records(1.0, n=200), "maximum likelihood"),
        ([validation, *records(1.0, n=200)[1:]], "Platt targets"),
    ):
        assert by_id(Calibration().metrics(batches, TRACK))["validation/temperature"].method == method
    found = by_id(Calibration().metrics([validation, *records(1.0, n=200)[1:]], TRACK))["validation/vector/fitted_nll"]
    assert (found.method, found.better) == ("Platt targets", "neither")
    found = by_id(Calibration().metrics(records(1.0), TRACK))["validation/vector/fitted_nll"]
    assert found.method == "maximum likelihood"


def test_every_number_has_its_source_n_and_direction() -> None:
    found = by_id(Calibration().metrics(records(1.0, n=200), TRACK))
    maps = {"validation/temperature", "validation/vector/fitted_nll", "test/vector/accuracy"}
    assert set(found) == {f"test/{v}/{name}" for v in VARIANTS for name in NAMES} | maps
    assert found["test/raw/nll"].n == {"test": 200}
    assert found["validation/temperature"].n == {"validation": 200}
    assert found["validation/temperature"].better == "neither"
    higher = {metric.name for metric in found.values() if metric.better == "higher"}
    assert higher == {"brier_resolution15", "accuracy"}
    assert {m.name for m in found.values() if m.better == "neither"} == {
        "temperature",
        "fitted_nll",
        "brier_uncertainty",
        "brier_within15",
    }


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
    whole = Calibration().metrics(records(1.0, n=50), TRACK)
    assert [(m.id, m.better, m.tolerance) for m in found] == [(m.id, m.better, m.tolerance) for m in whole]
    assert all(metric.value is None and metric.reason for metric in found)
    assert all(metric.tolerance for metric in found if metric.better != "neither")


def test_one_example_in_each_split_has_every_number() -> None:
    """Nothing crashes, and nothing pretends to an interval that one example cannot give."""
    found = by_id(Calibration().metrics(records(1.0, n=1), TRACK))
    assert all(metric.value is not None for metric in found.values())
    assert {found[f"test/raw/{name}"].method for name in ("nll", "brier", "aurc", "eaurc", "squared_ece15")} == {"none"}


def test_the_examples_have_the_twins_and_give_the_eces_of_all_variants() -> None:
    """What a reliability diagram is drawn from; the maps are those of the whole split, wherever chunks end."""
    batches = records(2.0, n=300, cut=77)
    found = by_id(Calibration().metrics(batches, TRACK))
    columns = Calibration().joined(batches)
    assert set(columns["test"]) == set(columns["validation"]) == set(Calibration.columns)
    test = columns["test"]
    for variant, confidence, prediction in (
        ("raw", "confidence", "prediction"),
        ("temperature", "temperature_confidence", "prediction"),
        ("vector", "vector_confidence", "vector_prediction"),
    ):
        correct = test[prediction] == test["label"]
        assert ece(test[confidence], correct) == pytest.approx(value(found, f"test/{variant}/ece15"), abs=1e-12)
    assert correct.mean() == pytest.approx(value(found, "test/vector/accuracy"))


def test_without_a_validation_split_the_examples_have_the_raw_columns() -> None:
    columns = Calibration().joined(records(1.0, n=20)[1:])
    assert tuple(columns["test"]) == SCALARS


def test_its_scalars_give_the_means() -> None:
    logits, labels = simulated(100, 1.0, 0)
    batch = RecordBatch(Logits(), "test", {"logits": logits, "label": labels})
    scalars = Calibration().scalars(batch)
    assert tuple(scalars) == SCALARS
    validation = RecordBatch(Logits(), "validation", batch.columns)
    found = by_id(Calibration().metrics([validation, batch], TRACK))
    assert scalars["nll"].mean() == pytest.approx(value(found, "test/raw/nll"))
    assert scalars["brier"].mean() == pytest.approx(value(found, "test/raw/brier"))


@pytest.mark.parametrize("name", [name for name in gauss.TRUTH if name.startswith("test/raw/")])
def test_the_oracles_intervals_hold_the_truth(oracle: Result, name: str) -> None:
    found = oracle.metrics[name]
    assert found.low <= gauss.TRUTH[name] <= found.high


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.endswith(("ece15", "ece20", "mce15", "kde_ece")) and "squared" not in name]
)
def test_the_oracles_plain_errors_lie_in_the_band_of_calibrated_models(oracle: Result, name: str) -> None:
    """The truth of each is 0, which no plain ECE reaches on 360 examples: the band says where calibrated ones fall."""
    found = oracle.metrics[f"test/raw/{name}"]
    assert found.method == "consistency band"
    assert 0 < found.low <= found.value <= found.high


def test_the_oracles_reliability_is_zero_but_for_chance(oracle: Result) -> None:
    found = oracle.metrics["test/raw/brier_reliability15"]
    assert found.low <= found.value <= found.high
    assert found.low < 0 < found.high


def test_the_oracles_aurc_is_that_of_a_calibrated_model(oracle: Result) -> None:
    """Its own confidences say what its selective risks are: the mean of 1 - confidence above each coverage."""
    test = oracle.records("calibration").query("source == 'test'")
    error = 1 - np.sort(test["confidence"].to_numpy())[::-1]
    expected = (np.cumsum(error) / np.arange(1, error.size + 1)).mean()
    found = oracle.metrics["test/raw/aurc"]
    assert found.low <= expected <= found.high


def test_the_oracle_needs_no_temperature(oracle: Result) -> None:
    """The temperature fitted on 180 examples of a calibrated model is 1 but for chance."""
    assert 0.7 < value(dict(oracle.metrics), "validation/temperature") < 1.4
