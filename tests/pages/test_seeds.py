"""Training seeds: coverage of the combined intervals, closed forms, and what is refused."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from jembench.api import Result
from jembench.ground.identity import identity
from jembench.metrics import intervals
from jembench.metrics.metric import Metric
from jembench.pages.seeds import (
    FRACTIONS,
    SEEDS,
    STUDENT,
    Numbers,
    Seeds,
    collect,
    combined,
    over_seeds,
    read_seeds,
    student,
    write_seeds,
)
from jembench.pages.tables.report import BAND
from jembench.store.results import ResultDocument
from jembench.types import UserError

ACCURACY = Metric("accuracy", "test", "", 0.9, 0.85, 0.95, "wilson", {"test": 360}, "higher", 0.005)


def simulated(
    *, p: float, tau: float, rho: float, n: int, seeds: int, sets: int, rng: np.random.Generator
) -> tuple[list[list[Numbers]], float]:
    """Accuracies with Wilson's intervals of ``seeds`` runs on each of ``sets`` shared test sets, and their expectation.

    Run s is right on image i where sqrt(rho) d_i + sqrt(1 - rho) e_is < Phi^-1(p_s): d_i is how hard the image is,
    for all runs, and p_s ~ N(p, tau^2) how good the run is.
    """
    skill = np.clip(rng.normal(p, tau, (sets, seeds)), 0, 1) if tau else np.full((sets, seeds), p)
    hits = np.empty((sets, seeds), int)
    for number in range(sets):
        difficulty, luck = rng.standard_normal(n), rng.standard_normal((seeds, n))
        hits[number] = (
            math.sqrt(rho) * difficulty + math.sqrt(1 - rho) * luck < special.ndtri(skill[number])[:, None]
        ).sum(axis=1)
    interval = {int(k): (int(k) / n, *intervals.wilson(int(k), n)) for k in np.unique(hits)}
    return [[interval[int(k)] for k in row] for row in hits], p


def coverage(sets: list[list[Numbers]], truth: float) -> float:
    """The share of combined intervals that hold the truth."""
    ends = [(item.low, item.high) for item in (over_seeds(ACCURACY, runs) for runs in sets)]
    return float(np.mean([low is not None and high is not None and low <= truth <= high for low, high in ends]))


# p, tau, rho, n, S: no training variance, with runs that err together or apart; training variance as large as that of
# the test; and much larger, with as few runs as can be
LAWS = [
    (0.90, 0.0, 1.0, 360, 5),
    (0.90, 0.0, 0.5, 360, 5),
    (0.90, 0.01, 0.7, 360, 5),
    (0.97, 0.008, 0.9, 360, 3),
    (0.80, 0.05, 0.7, 1000, 5),
    (0.80, 0.05, 1.0, 1000, 2),
]
LAW = pytest.mark.parametrize(("p", "tau", "rho", "n", "seeds"), LAWS)


@LAW
def test_the_interval_covers_what_training_is_expected_to_give(
    p: float, tau: float, rho: float, n: int, seeds: int
) -> None:
    rng = np.random.default_rng(0)
    sets, truth = simulated(p=p, tau=tau, rho=rho, n=n, seeds=seeds, sets=1000, rng=rng)
    assert coverage(sets, truth) >= 0.93


@pytest.mark.slow
@LAW
def test_the_interval_covers_over_many_test_sets(p: float, tau: float, rho: float, n: int, seeds: int) -> None:
    rng = np.random.default_rng(1)
    sets, truth = simulated(p=p, tau=tau, rho=rho, n=n, seeds=seeds, sets=20_000, rng=rng)
    assert coverage(sets, truth) >= 0.945


def test_the_law_sees_missing_training_variance_and_a_normal_quantile(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run's interval covers too little, and so do five with 1.96 in place of Student's quantile."""
    rng = np.random.default_rng(2)
    sets, truth = simulated(p=0.8, tau=0.05, rho=1.0, n=4000, seeds=5, sets=1000, rng=rng)
    assert coverage(sets, truth) >= 0.93
    assert coverage([[runs[0], runs[0]] for runs in sets], truth) < 0.5
    monkeypatch.setattr("jembench.pages.seeds.student", lambda freedom: 1.96)
    assert coverage(sets, truth) < 0.92


def test_the_table_is_students_law() -> None:
    for freedom, t in enumerate(STUDENT, start=1):
        assert t == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-6)
        assert student(freedom) == t
    for freedom in (31, 100, 10_000):
        exact = stats.t.ppf(0.975, freedom)
        assert exact <= student(freedom) <= 1.05 * exact


UNIT = st.floats(0, 1)
RUNS = st.lists(st.tuples(UNIT, UNIT, UNIT).map(lambda ends: (sorted(ends)[1], min(ends), max(ends))), min_size=2)


@given(UNIT, UNIT, UNIT, st.integers(2, 9))
def test_identical_runs_give_the_interval_of_one(value: float, one: float, two: float, count: int) -> None:
    """Also where it does not hold its value."""
    low, high = sorted((one, two))
    found = over_seeds(ACCURACY, [(value, low, high)] * count)
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high), abs=1e-12)


@given(RUNS)
def test_it_is_within_0_and_1_holds_the_mean_and_is_no_narrower_than_the_runs(runs: list[Numbers]) -> None:
    found = over_seeds(ACCURACY, runs)
    value, low, high = (np.mean([run[place] for run in runs]) for place in range(3))
    assert found.value == pytest.approx(value)
    assert 0 <= found.low <= low + 1e-12
    assert high - 1e-12 <= found.high <= 1
    assert over_seeds(ACCURACY, runs[::-1]) == found


def test_the_closed_form() -> None:
    """Skewed ends stay skewed: l = .02, u = .04, s = .02, t = 4.302653 with S = 3."""
    metric = replace(ACCURACY, method="bootstrap-t")
    found = over_seeds(metric, [(value, value - 0.02, value + 0.04) for value in (0.48, 0.50, 0.52)])
    training = 4.302653 * 0.02 / math.sqrt(3)
    assert found.value == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5 - math.hypot(0.02, training))
    assert found.high == pytest.approx(0.5 + math.hypot(0.04, training))
    assert found.method == "bootstrap-t, 3 training seeds"
    assert (found.n, found.better, found.tolerance) == (metric.n, metric.better, metric.tolerance)


@pytest.mark.parametrize("method", sorted(FRACTIONS))
def test_ends_are_cut_where_the_method_is_of_a_fraction_and_nowhere_else(method: str) -> None:
    runs: list[Numbers] = [(0.1, 0.0, 0.3), (0.9, 0.8, 1.0)]
    found = over_seeds(replace(ACCURACY, method=method), runs)
    assert (found.low, found.high) == (0.0, 1.0)
    free = over_seeds(replace(ACCURACY, method="bootstrap-t"), runs)
    assert free.low < 0
    assert free.high > 1


def test_every_method_of_an_interval_in_0_to_1_is_known(oracle: Result) -> None:
    """Of all metrics of all suites, only differences, means of what has no upper limit, bands and fits are none."""
    methods = {metric.method for metric in oracle.document.metrics if metric.value is not None}
    allowed = {"bootstrap-t", BAND, "maximum likelihood", "Platt targets", "none", "delong-paired", "concordant"}
    allowed |= {"jackknife", "jackknife at n", "extrapolation", "u-statistic", "exact", "bootstrap", "AIS bracket"}
    allowed |= {"bootstrap-t given reference"}
    assert methods - FRACTIONS <= allowed


def test_a_band_is_the_mean_of_bands_and_stays_one() -> None:
    """It says where calibrated models fall, whatever the runs' values are."""
    found = over_seeds(replace(ACCURACY, method=BAND), [(0.9, 0.1, 0.2), (0.3, 0.2, 0.4)])
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.15, 0.3))
    assert found.method == BAND


def test_an_end_that_a_run_lacks_is_none_and_a_value_without_interval_gets_none() -> None:
    found = over_seeds(ACCURACY, [(0.9, None, 0.95), (0.8, 0.7, 0.85)])
    assert found.low is None
    assert found.high is not None
    fitted = replace(ACCURACY, method="Platt targets", low=None, high=None)
    found = over_seeds(fitted, [(1.0, None, None), (2.0, None, None)])
    assert found == replace(fitted, value=1.5)


def trained(document: ResultDocument, seed: int, *, shift: float = 0.0) -> ResultDocument:
    """A result as of weights of another training seed: its fractions moved by ``shift`` towards 0."""
    model = document.model.model_copy(update={"weights_sha256": identity(seed)})
    metrics = [
        item
        if item.value is None or item.low is None or item.high is None or item.method not in FRACTIONS
        else replace(item, value=item.value - shift, low=item.low - shift, high=item.high - shift)
        for item in document.metrics
    ]
    return document.model_copy(update={"model": model, "metrics": metrics})


@pytest.fixture
def golden(oracle: Result) -> ResultDocument:
    """A golden result: numbers of the oracle, weights of seed 0."""
    return trained(oracle.document, 0)


@pytest.fixture
def seeds(golden: ResultDocument) -> Seeds:
    """It, and two other trainings."""
    return collect([(0, golden), (2, trained(golden, 2, shift=0.02)), (1, trained(golden, 1, shift=-0.01))])


def test_they_are_written_and_read_back(seeds: Seeds, tmp_path: Path) -> None:
    assert read_seeds(tmp_path) is None
    write_seeds(tmp_path, seeds)
    assert read_seeds(tmp_path) == seeds
    assert [run.seed for run in seeds.runs] == [0, 1, 2]


def test_a_combined_result_is_the_means_and_all_else_of_the_golden_one(golden: ResultDocument, seeds: Seeds) -> None:
    found = combined(golden, seeds)
    assert found.model_copy(update={"metrics": golden.metrics}) == golden
    assert ResultDocument.model_validate_json(found.model_dump_json()) == found
    assert [metric.id for metric in found.metrics] == [metric.id for metric in golden.metrics]
    for new, old in zip(found.metrics, golden.metrics, strict=True):
        if old.method in FRACTIONS:
            assert new.value == pytest.approx(old.value - 0.01 / 3)
            assert new.method == f"{old.method}, 3 training seeds"
            assert new.low <= max(old.low - 0.01 / 3, 0) + 1e-12
            assert new.high >= min(old.high - 0.01 / 3, 1) - 1e-12
        elif old.value is None:
            assert new == old
        else:
            assert (new.value, new.low, new.high) == pytest.approx((old.value, old.low, old.high))


def without(document: ResultDocument, name: str) -> ResultDocument:
    """A result in which a metric has no value."""
    metrics = [
        replace(item, value=None, low=None, high=None, reason="NaN") if item.id == name else item
        for item in document.metrics
    ]
    return document.model_copy(update={"metrics": metrics})


def test_a_metric_that_a_run_lacks_is_of_the_shipped_weights_and_says_so(golden: ResultDocument) -> None:
    name = "mean/mass/auroc"
    seeds = collect([(0, golden), (1, without(trained(golden, 1), name)), (7, without(trained(golden, 7), name))])
    assert seeds.absent(name) == [1, 7]
    reason = f"{name} is of the shipped weights alone: none with training seed 1, 7"
    old = golden.metric(name)
    assert old is not None
    assert combined(golden, seeds).metric(name) == replace(old, reason=reason)


def test_a_metric_that_the_shipped_weights_lack_stays_empty(golden: ResultDocument) -> None:
    name = "mean/mass/auroc"
    shipped = without(golden, name)
    found = combined(shipped, collect([(0, shipped), (1, trained(golden, 1))]))
    assert found.metric(name) == shipped.metric(name)


def of_other_examples(document: ResultDocument) -> ResultDocument:
    """A result of one test image less."""
    content = document.protocol.model_dump(mode="json")
    content["sources"]["test"]["n"] -= 1
    protocol = type(document.protocol).model_validate(content)
    return document.model_copy(update={"protocol": protocol, "protocol_hash": identity(content)})


def test_runs_that_are_no_sample_of_trainings_are_refused(golden: ResultDocument, oracle: Result) -> None:
    other = trained(golden, 1)
    n = golden.protocol.sources["test"].n
    with pytest.raises(
        UserError, match=f"seeds 1 and 0 are not comparable: protocol/sources/test/n is {n - 1} and {n}"
    ):
        collect([(0, golden), (1, of_other_examples(other))])
    with pytest.raises(UserError, match="at least 2 training seeds, not 1"):
        collect([(0, golden)])
    with pytest.raises(UserError, match="two runs have the same seed"):
        collect([(0, golden), (0, other)])
    with pytest.raises(UserError, match="two runs have the same weights_sha256"):
        collect([(0, golden), (1, golden)])
    with pytest.raises(UserError, match="training seed 3 is of a model without a weights file"):
        collect([(0, golden), (3, oracle.document)])


def test_a_golden_result_that_is_not_among_the_runs_is_refused(golden: ResultDocument, seeds: Seeds) -> None:
    """Of other weights, of another protocol, or with other numbers than its own run."""
    with pytest.raises(UserError, match="training seeds of 'oracle' have no run with its weights"):
        combined(trained(golden, 9), seeds)
    with pytest.raises(UserError, match="training seeds of 'oracle' are of protocol"):
        combined(of_other_examples(golden), seeds)
    moved = golden.model_copy(update={"metrics": [*golden.metrics[1:], replace(golden.metrics[0], value=0.1)]})
    with pytest.raises(UserError, match=f"for its {golden.metrics[0].id}, the golden result has \\(0.1, "):
        combined(moved, seeds)
    with pytest.raises(UserError, match=r"for its mean/mass/auroc, the golden result has \(None, None, None\)"):
        combined(without(golden, "mean/mass/auroc"), seeds)
    with pytest.raises(UserError, match="the golden result has None"):
        combined(golden.model_copy(update={"metrics": golden.metrics[1:]}), seeds)


def test_a_golden_result_of_another_machine_is_not(golden: ResultDocument, seeds: Seeds) -> None:
    """The same weights elsewhere differ in last digits; the figures are those of the runs."""
    near = [replace(item, value=None if item.value is None else item.value + 1e-7) for item in golden.metrics]
    found = combined(golden.model_copy(update={"metrics": near}), seeds)
    assert [item.value for item in found.metrics] == [item.value for item in combined(golden, seeds).metrics]


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.update(schema_version=2), "schema_version: Input should be 1"),
        (lambda content: content.update(note="x"), "note: Extra inputs are not permitted"),
        (lambda content: content["runs"][0].update(note="x"), "runs/0/note: Extra inputs are not permitted"),
        (lambda content: content["runs"][1]["metrics"].update({"test/accuracy": [math.nan, 0, 1]}), "finite number"),
        (lambda content: content["runs"][1]["metrics"].update({"test/accuracy": [0.5, 0.6, 0.4]}), "above its high"),
        (lambda content: content["runs"][1]["metrics"].update({"test/accuracy": [None, 0.4, 0.6]}), "and no value"),
        (lambda content: content["runs"][1]["metrics"].update({"test/accuracy": [0.5, 0.6]}), "Field required"),
        (lambda content: content["runs"][1]["metrics"].pop("test/accuracy"), "differ in metric test/accuracy"),
        (lambda content: content["runs"][1].update(weights_sha256="x"), "runs/1/weights_sha256: String should match"),
        (lambda content: content["runs"][1].update(seed=0), "two runs have the same seed"),
        (lambda content: content.update(runs=content["runs"][:1]), "at least 2 items"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(
    seeds: Seeds, tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    write_seeds(tmp_path, seeds)
    edit(tmp_path / SEEDS, change)
    with pytest.raises(UserError) as error:
        read_seeds(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / SEEDS}: not valid training seeds (")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_document_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SEEDS).write_bytes(content)
    with pytest.raises(UserError, match="not valid training seeds"):
        read_seeds(tmp_path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / SEEDS).mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_seeds(tmp_path)
