"""Estimates: closed forms of the seconds, declared passes against recorded ones, and nothing written."""

import logging
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jembench
from jembench import data
from jembench.api import Result
from jembench.attacks.passes import ModelFacts, Passes, times
from jembench.choices.request import Request
from jembench.engine import bench, estimate
from jembench.engine.estimate import Ahead, Forecast, Pace
from jembench.engine.estimate import estimate as estimated
from jembench.engine.measure import planned
from jembench.engine.plan import Plan, plan
from jembench.measurements.contract import TYPICAL, passes
from jembench.measurements.logits import Logits
from jembench.measurements.samples import Samples
from jembench.store import rates
from jembench.store.rates import Rate, Rates
from jembench.store.records import Store
from jembench.store.results import read_result
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import ModelRef, parse

FACTOR = 1.5  # between what is declared and what is recorded


class Ticking:
    """A clock that a pass moves on: an overhead and so much for each row."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passing(self, overhead: float, row: float) -> Callable[[Any], None]:
        """A pass that takes its time."""

        def go(x: Any) -> None:
            self.now += overhead + row * len(x)

        return go


def test_timed_passes_give_the_time_of_a_row_and_of_a_pass() -> None:
    clock = Ticking()
    pace = estimate.timed(clock.passing(0.01, 0.002), clock.passing(0.03, 0.005), np.zeros((32, 1)), clock=clock)
    assert pace == Pace(*map(pytest.approx, (0.002, 0.005, 0.01, 0.03)))  # type: ignore[arg-type]


def test_a_chunk_takes_its_rows_and_its_passes_one_after_another() -> None:
    pace = Pace(forward=0.002, gradient=0.005, one_forward=0.01, one_gradient=0.03)
    assert pace.seconds(Passes(), 50) == 0
    assert pace.seconds(Passes(3), 50) == pytest.approx(3 * (50 * 0.002 + 0.01))
    assert pace.seconds(Passes(4, 4), 50) == pytest.approx(4 * (50 * 0.005 + 0.03))
    assert pace.seconds(Passes(4, 1), 50) == pytest.approx(50 * (3 * 0.002 + 0.005) + 3 * 0.01 + 0.03)
    assert pace.seconds(Passes(seconds=0.1), 50) == pytest.approx(5)
    few = pace.seconds(Passes(2, calls=100), 50)  # an attack goes on for one image as long as for all
    assert few == pytest.approx(50 * 2 * 0.002 + 100 * (0.01 + estimate.STEP))


def test_passes_add_up() -> None:
    assert Passes(1, 2) + Passes(3) == Passes(4, 2)
    assert (Passes(5, calls=2) + Passes(3)).sequence == 5
    assert times(Passes(1, 1, 4, 0.5), 3) == Passes(3, 3, 12, 1.5)


def test_survival_is_the_share_at_the_headline_and_falls_with_the_radius() -> None:
    facts = ModelFacts(robust=0.5, headlines={"linf": 0.1})
    assert facts.survival("linf", 0.1) == 0.5
    assert 1 > facts.survival("linf", 0.05) > 0.5 > facts.survival("linf", 0.2) > 0
    assert replace(facts, robust=0.0).survival("linf", 0.05) == 0


@pytest.mark.parametrize(("workers", "seconds"), [(1, 12.0), (2, 10.0), (3, 10.0)])
def test_chunks_run_side_by_side_but_after_those_that_they_build_on(workers: int, seconds: float) -> None:
    """Two of 2 s; then one of 4 s that builds on the first, and one of 4 s that builds on that."""
    first = plan(catalogue.resolve(parse("oracle"), track="gauss"), "accuracy", track=data.track("gauss")).jobs[0]
    second = replace(first, index=7)
    third = replace(first, index=8, given=(first.key,))
    fourth = replace(first, index=9, given=(third.key,))
    costs = {first.key: 2.0, second.key: 2.0, third.key: 4.0, fourth.key: 4.0}
    assert estimate._parallel([first, second, third, fourth], costs, workers) == seconds


def request(output: Path, suite: str = "all", model: str = "oracle", track: str = "gauss", **more: Any) -> Request:
    return Request(models=(parse(model),), suites=(suite,), track=track, output=output, **more)


def test_what_is_there_is_counted_and_nothing_is_written(tmp_path: Path) -> None:
    before = jembench.estimate(request(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
    assert before.there == 0
    done = jembench.measure(request(tmp_path / "store", "accuracy"), progress=False)
    after = jembench.estimate(request(tmp_path / "store"))
    assert (after.chunks, after.there) == (before.chunks, len(done[0].evaluation.outcome.computed))
    assert after.seconds > 0
    assert sum(share.chunks for share in after.shares) == after.chunks
    assert sum(share.there for share in after.shares) == after.there
    finished = jembench.estimate(request(tmp_path / "store", "accuracy"))
    assert (finished.chunks, finished.there, finished.seconds) == (len(done[0].evaluation.plan.jobs),) * 2 + (0.0,)


def test_an_estimate_is_a_line() -> None:
    assert str(Forecast(412, 96, 2, 181.0)) == "412 chunks, 96 there, about 3 min with 2 workers"
    assert str(Forecast(1, 0, 1, 7.2)) == "1 chunk, 0 there, about 7 s with 1 worker"


def test_a_dry_run_says_what_it_would_do_and_leaves_nothing(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call("run", "--model", "oracle", "--track", "gauss", "--suite", "ood,accuracy", "--dry-run")
    assert (answer.code, answer.err) == (0, "")
    first, *rows = answer.out.splitlines()
    assert re.fullmatch(r"\d+ chunks, 0 there, about .* with 1 worker", first)
    assert [row.partition(":")[0] for row in rows] == ["oracle, ood", "oracle, accuracy"]
    assert list(tmp_path.iterdir()) == []
    both = call("run", "--model", "oracle", "--track", "gauss", "--dry-run", "--save-config", "here.toml")
    assert (both.code, both.err.count("\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_rate_that_was_kept_is_believed(tmp_path: Path) -> None:
    """Seconds per example of the one measurement of suite accuracy; only for chunks of about that size."""
    (only,) = planned(request(tmp_path, "accuracy"))
    store = Store.open(tmp_path)
    rows = sum(job.stop - job.start for job in only.jobs)
    key = estimate._rate_key(only.jobs[0])
    per_chunk = rows / len(only.jobs)
    for size, believed in ((per_chunk, True), (per_chunk * 10, False)):
        rates.keep(store, only.model.fingerprint, Rates(measurements={key: Rate(seconds=2.0, rows=size)}))
        forecast = estimated([only], store, workers=1)
        assert (sum(forecast.jobs.values()) >= 2 * rows) is believed


def test_rates_are_kept_after_a_run_and_merged(tmp_path: Path) -> None:
    (result,) = jembench.measure(request(tmp_path, "accuracy"), progress=False)
    model = result.evaluation.plan.model.fingerprint
    first = rates.known(result.evaluation.store, model)
    assert list(first.measurements) == [estimate._rate_key(result.evaluation.plan.jobs[0])]
    assert len(first.evaluators) == 1
    jembench.measure(request(tmp_path, "ood"), progress=False)
    assert rates.known(result.evaluation.store, model).measurements.keys() > first.measurements.keys()


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version": 2}', b'{"measurements": {"a": {"seconds": -1}}}'])
def test_a_damaged_file_of_rates_is_as_none(tmp_path: Path, content: bytes) -> None:
    (result,) = jembench.measure(request(tmp_path, "accuracy"), progress=False)
    (path,) = (result.evaluation.store.root / "rates").iterdir()
    path.write_bytes(content)
    assert rates.known(result.evaluation.store, result.evaluation.plan.model.fingerprint) == Rates()
    assert jembench.estimate(request(tmp_path, "ood")).chunks > 0
    jembench.measure(request(tmp_path, "ood"), progress=False)  # and is written anew
    assert rates.known(result.evaluation.store, result.evaluation.plan.model.fingerprint).measurements


def test_a_run_that_takes_a_while_is_announced_and_quiet_is_quiet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="jembench")
    jembench.measure(request(tmp_path / "a", "accuracy"), progress=True)
    monkeypatch.setattr(estimate, "ANNOUNCED", 0.0)
    jembench.measure(request(tmp_path / "b", "accuracy"), progress=False)
    assert "chunks" not in caplog.text
    jembench.measure(request(tmp_path / "c", "accuracy"), progress=True)
    assert re.search(r"\d chunks, 0 there, about 1 s with 1 worker", caplog.text)
    caplog.clear()
    jembench.measure(request(tmp_path / "c", "accuracy"), progress=True)  # finished
    assert "chunks" not in caplog.text


def test_a_model_that_fails_is_no_matter_of_an_estimate(tmp_path: Path) -> None:
    class Broken:
        def logits(self, x: Any) -> Any:
            if len(x) > 32:  # those that it is known by are fewer
                raise RuntimeError("no")
            return x.flatten(1)[:, :10]

    wanted = Request(models=(ModelRef("object", "broken", module=Broken()),), track="gauss", output=tmp_path)
    assert jembench.estimate(wanted).seconds > 0


def test_what_is_left_follows_what_was_seen() -> None:
    """Of a run that goes as fast as it was said, and of one that takes twice as long for long enough."""
    clock = Ticking()
    jobs = {str(number): 100.0 for number in range(10)}
    ahead = Ahead(Forecast(10, 0, 1, 1050.0, tail=50.0, jobs=jobs), clock=clock)
    assert ahead("") == {"left": pytest.approx(1050.0), "share": 0.0}
    clock.now = 500.0
    for number in range(4):
        ahead(str(number))
    assert ahead("4") == {"left": pytest.approx(550.0), "share": pytest.approx(0.5)}
    clock.now = 1000.0
    left = ahead("")["left"]
    assert 950 < left < 1050


def test_others_on_the_machine_only_slow_down() -> None:
    assert 1 <= estimate.contention(1) <= estimate.contention(2) <= estimate.CROWDED


def recorded(result: Result) -> dict[Any, tuple[float, float, float, float]]:
    """Declared and recorded forwards and gradients of every measurement of the model itself."""
    facts = estimate.calibrated(result.evaluation.plan.model, result.evaluation.plan.track)[1]
    sums: dict[Any, np.ndarray[Any, Any]] = defaultdict(lambda: np.zeros(4))
    for job in result.evaluation.plan.jobs:
        if job.model == result.evaluation.plan.model:
            columns, _ = result.evaluation.store.records(job.key)
            taken, rows = passes(job.measurement, facts), job.stop - job.start
            sums[job.measurement] += (
                taken.forwards * rows,
                taken.gradients * rows,
                columns["forwards"].sum(),
                columns["gradients"].sum(),
            )
    return {measurement: tuple(total) for measurement, total in sums.items()}


def test_declared_passes_are_those_of_the_records(digits: dict[str, Result]) -> None:
    """Of suite all, within a factor 1.5 for every measurement of every model that is measured for the tests."""
    for result in digits.values():
        for measurement, (forwards, gradients, real_forwards, real_gradients) in recorded(result).items():
            for declared, real in ((forwards, real_forwards), (gradients, real_gradients)):
                assert real / FACTOR <= declared <= real * FACTOR, (result.evaluation.plan.model.name, measurement)


@pytest.mark.parametrize("name", ["jem", "softmax", "glow-cond", "softmax-adv", "sadajem"])
def test_declared_passes_of_a_battery_are_those_of_the_golden_results(name: str, tmp_path: Path) -> None:
    """In sum: what an attack takes depends on what a model resists, which a PGD of ten steps says roughly."""
    golden = read_result(baselines.golden(parse(name), track="digits", place=baselines.attacked("")))
    (wanted,) = planned(request(tmp_path, "robustness", name, "digits"))
    facts = {
        job.model: estimate.calibrated(job.model, wanted.track, attacked=job.model == wanted.model)[1]
        for job in {job.model.fingerprint: job for job in wanted.jobs}.values()
    }
    total = np.zeros(2)
    for job in wanted.jobs:
        taken = passes(job.measurement, facts[job.model])
        total += (job.stop - job.start) * np.array([taken.forwards, taken.gradients])
    for declared, real in zip(total, (golden.cost.forwards, golden.cost.gradients), strict=True):
        assert real / FACTOR <= declared <= real * FACTOR


def test_a_measurement_that_does_not_say_counts_as_typical() -> None:
    class Own:
        name, version = "own", 1

    assert passes(Own(), ModelFacts()) == TYPICAL  # type: ignore[arg-type]
    assert passes(Logits(), ModelFacts()) == Passes(1)
    assert passes(Samples(), ModelFacts(frozenset({"sampler", "chain", "classifier"}), steps=20)) == Passes(21, 20)


@pytest.mark.parametrize("suite", ["generation", "hybrid"])
def test_a_model_that_cannot_sample_costs_no_references(suite: str, tmp_path: Path) -> None:
    """Its protocol is that of a model that samples."""

    def of(model: str, name: str) -> Plan:
        return planned(request(tmp_path, name, model, "digits"))[0]

    assert {job.measurement.name for job in of("softmax", suite).jobs} <= {"logits"}
    assert of("softmax", suite).protocol_hash == of("jem", suite).protocol_hash
    assert {"samples", "embedded"} <= {job.measurement.name for job in of("softmax", "all").jobs}


def test_bench_tells_which_chunk_is_finished(tmp_path: Path) -> None:
    plans = planned(request(tmp_path, "accuracy"))
    told: list[str] = []

    def ahead(key: str) -> dict[str, float]:
        told.append(key)
        return {"left": 1.0}

    seen: list[float] = []
    bench.run(
        plans,
        Store.open(tmp_path),
        progress=lambda done, total, words, *, left: seen.append(left),
        ahead=ahead,
    )
    assert told == ["", *(job.key for job in plans[0].jobs)]
    assert set(seen) == {1.0}
