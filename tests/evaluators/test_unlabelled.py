"""Evaluator ``unlabelled``: the oracle under shifts that leave p(y|x) alone, mixtures, what is missing and why."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

import jembench
from jembench import data
from jembench.engine.plan import plan
from jembench.evaluators import unlabelled
from jembench.evaluators.unlabelled import BASELINES, OURS, Unlabelled
from jembench.ground import generators
from jembench.measurements.contract import Need, RecordBatch
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.measurements.seen import Seen, Shifted
from jembench.measurements.twin import Twin
from jembench.metrics.metric import Metric
from jembench.metrics.unlabelled import METHODS
from jembench.types import Batch
from jembench.zoo import catalogue
from jembench.zoo.references import parse

TRACK = data.track("gauss")


def measured(need: Need) -> list[RecordBatch]:
    """Records of the oracle, in chunks; a twin's are of the oracle too."""
    model, images, found = jembench.load("oracle", track="gauss"), data.load("gauss", need.source), []
    before = measured(need.given[0]) if need.given else []
    for chunk, start in enumerate(range(0, len(images), TRACK.chunk)):
        stop = min(start + TRACK.chunk, len(images))
        pixels, labels = torch.from_numpy(images.pixels(start, stop)), images.labels[start:stop]
        given = (before[chunk].columns,) if before else ()
        batch = Batch(pixels, torch.from_numpy(labels), torch.arange(start, stop), images.levels, given)
        columns = need.measurement.columns(model, batch, generators.generator("unlabelled", need.source, chunk))
        found.append(RecordBatch(need.measurement, need.source, {"label": labels, **columns}))
    return found


@pytest.fixture(scope="module")
def records() -> list[RecordBatch]:
    return [batch for need in Unlabelled("oracle").needs(TRACK) for batch in measured(need)]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlabelled, "REPLICATES", 10)


@pytest.fixture(scope="module")
def metrics(records: list[RecordBatch]) -> dict[str, Metric]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unlabelled, "REPLICATES", 10)
        return found(records)


def found(records: list[RecordBatch], *, twin: str = "oracle") -> dict[str, Metric]:
    metrics = Unlabelled(twin).metrics(records, TRACK)
    assert len({metric.id for metric in metrics}) == len(metrics)
    return {metric.id: metric for metric in metrics}


def value(metrics: dict[str, Metric], name: str) -> float:
    number = metrics[name].value
    assert number is not None
    return number


def changed(records: list[RecordBatch], change: Callable[[RecordBatch], dict[str, np.ndarray]]) -> list[RecordBatch]:
    return [dataclasses.replace(batch, columns=change(batch)) for batch in records]


def test_confidence_of_the_oracle_is_unbiased_where_p_of_y_is_left_alone(metrics: dict[str, Metric]) -> None:
    """Clean, and under brightness, which moves along a direction that no class uses: within chance of the truth."""
    for condition in ("clean", *(f"brightness-{amount:g}" for amount in (0.02, 0.04, 0.06, 0.08, 0.1))):
        truth = metrics[f"{condition}/true/accuracy"]
        assert truth.low <= value(metrics, f"{condition}/confidence/estimated_accuracy") <= truth.high


def test_every_cell_is_there_and_errors_are_distances(metrics: dict[str, Metric]) -> None:
    conditions = [metric.source for metric in metrics.values() if metric.name == "accuracy"]
    assert len(conditions) == 1 + 15 + 2
    for condition in conditions:
        for name in METHODS:
            guess = metrics[f"{condition}/{name}/estimated_accuracy"]
            error = abs(value(metrics, guess.id) - value(metrics, f"{condition}/true/accuracy"))
            assert value(metrics, f"{condition}/{name}/estimation_error") == pytest.approx(error)
            if name != "gde":
                assert 0 <= guess.low <= value(metrics, guess.id) <= guess.high <= 1
    for group, chosen in (("shifts", conditions[:16]), ("mixed", conditions[16:])):
        for name in METHODS:
            mean = np.mean([value(metrics, f"{each}/{name}/estimation_error") for each in chosen])
            assert value(metrics, f"{group}/{name}/mean_error") == pytest.approx(mean)


def test_the_gain_is_over_the_best_baseline(metrics: dict[str, Metric]) -> None:
    for group in ("shifts", "mixed"):
        best = min(BASELINES, key=lambda name: value(metrics, f"{group}/{name}/mean_error"))
        for name in OURS:
            gain = metrics[f"{group}/{name}/mean_error_gain"]
            difference = value(metrics, f"{group}/{name}/mean_error") - value(metrics, f"{group}/{best}/mean_error")
            assert gain.value == pytest.approx(difference)
            assert gain.reason == f"against {best}"
            assert gain.low <= difference <= gain.high


def test_an_image_of_no_class_counts_as_an_error(records: list[RecordBatch], metrics: dict[str, Metric]) -> None:
    """A quarter of a mixture is OOD: its accuracy is three quarters of that of its test images."""
    test = [batch for batch in records if batch.measurement == Logits() and batch.source == "test"]
    right = np.concatenate([batch.columns["logits"].argmax(1) == batch.columns["label"] for batch in test])
    truth = metrics["mixed-shifted/true/accuracy"]
    assert truth.n == {"test": 360, "shifted": 120}
    assert truth.value == pytest.approx(right.sum() / 480)


def test_labels_of_the_target_move_no_estimate(records: list[RecordBatch], metrics: dict[str, Metric]) -> None:
    """The planted leak: test labels that are all wrong."""

    def wrong(batch: RecordBatch) -> dict[str, np.ndarray]:
        label = batch.columns["label"]
        return {**batch.columns, "label": (label + 1) % 10 if batch.source == "test" else label}

    for name, metric in found(changed(records, wrong)).items():
        if metric.name == "estimated_accuracy":
            assert metric == metrics[name]
        elif metric.name == "accuracy":
            assert metric.value != metrics[name].value


def test_a_constant_of_log_p_moves_nothing(records: list[RecordBatch], metrics: dict[str, Metric]) -> None:

    def moved(batch: RecordBatch) -> dict[str, np.ndarray]:
        dense = batch.columns.get("log_density")
        return {**batch.columns, **({} if dense is None else {"log_density": dense.astype(np.float64) + 321.0})}

    for name, metric in found(changed(records, moved)).items():
        assert metric.value == pytest.approx(metrics[name].value, abs=1e-6)


def test_agreement_with_itself_is_one(metrics: dict[str, Metric]) -> None:
    """The oracle is its own twin here, under the same draws of every shift."""
    assert value(metrics, "clean/gde/estimated_accuracy") == 1
    assert value(metrics, "noise-0.1/gde/estimated_accuracy") == 1


def test_without_a_twin_only_gde_is_missing(records: list[RecordBatch]) -> None:
    own = [batch for batch in records if not isinstance(batch.measurement, Twin)]
    for metric in found(own, twin="").values():
        assert (metric.value is None) == (metric.variant == "gde")
        assert metric.value is not None or "second model" in str(metric.reason)
    needs = Unlabelled().needs(TRACK)
    planned = {(need.measurement, need.source) for need in needs if not need.essential}
    assert planned == {(b.measurement, b.source) for b in own}


def test_whether_there_is_a_twin_is_no_part_of_the_protocol() -> None:
    """Models with and without one share a table: the needs are the same, and without one nothing is planned."""
    one, other = (
        plan(catalogue.resolve(parse(name), track="digits"), "unlabelled", track=data.track("digits"))
        for name in ("jem", "sadajem")
    )
    assert one.protocol_hash == other.protocol_hash
    twins = [sum(job.measurement.name == "twin" for job in made.jobs) for made in (one, other)]
    assert twins[0] > 0 == twins[1]


@pytest.mark.parametrize("damage", ["absent", "nan"])
def test_without_a_density_what_rests_on_it_is_missing(records: list[RecordBatch], damage: str) -> None:
    if damage == "absent":
        bare = changed(
            [batch for batch in records if batch.measurement != InputGradient()],
            lambda batch: {name: column for name, column in batch.columns.items() if name != "log_density"},
        )
    else:
        bare = changed(records, lambda b: {n: np.nan * c if n == "log_density" else c for n, c in b.columns.items()})
    for metric in found(bare).values():
        assert (metric.value is None) == (metric.variant in ("log_px", "energy"))
        assert metric.value is not None or "log" in str(metric.reason)


def test_without_logits_all_is_missing_with_a_reason_and_a_direction(
    records: list[RecordBatch], metrics: dict[str, Metric]
) -> None:
    whole, empty = metrics, found([b for b in records if b.measurement == InputGradient()])
    assert set(empty) == set(whole)
    for name, metric in empty.items():
        assert metric.value is None
        assert metric.reason == "the model gives no logits"
        assert (metric.better, metric.tolerance) == (whole[name].better, whole[name].tolerance)


def test_a_temperature_without_labels_lies_between_raw_and_hindsight(metrics: dict[str, Metric]) -> None:
    """Hindsight fits the labels of every condition, so no other temperature has a lower NLL."""
    for name in ("raw", "validation", "doc_regression", "energy"):
        assert value(metrics, f"shifts/{name}/nll") >= value(metrics, "shifts/oracle/nll") - 1e-9


def test_a_twin_reads_the_other_models_record() -> None:
    other = {"logits": np.eye(3, dtype=np.float32)[[2, 0]]}
    batch = Batch(torch.zeros(2, 1, 1, 1), torch.zeros(2), torch.arange(2), 2, (other,))
    columns = Twin(Seen(Shifted("noise", 0.1))).columns(None, batch, torch.Generator())
    assert columns["twin"].tolist() == [2, 0]
    assert columns["forwards"].sum() == columns["gradients"].sum() == 0
