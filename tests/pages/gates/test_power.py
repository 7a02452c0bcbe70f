"""How well a gate sees, and how often it cries wolf: planted differences in the examples of shipped golden results.

The functions are those of tests/experiments/gates.py, which prints the figures of docs/gate.md from more seeds.
"""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jembench.pages.gates.rule import Rule
from jembench.pages.gates.spread import spreads
from jembench.pages.gates.verdict import judge
from jembench.pages.seeds import read_seeds
from jembench.pages.summary import headlines
from jembench.store.results import read_result
from jembench.zoo import baselines

PLAN = runpy.run_path(str(Path(__file__).parents[2] / "experiments" / "gates.py"))
LOSS: dict[str, float] = PLAN["LOSS"]
SEEDS = 12


@pytest.mark.parametrize("metric", LOSS)
def test_a_planted_regression_is_caught(metric: str) -> None:
    """3 points of accuracy, .05 of AUROC and 3 points of robust accuracy, each as one of all headlines."""
    assert PLAN["power"](metric, SEEDS) == 1


@pytest.mark.slow
@pytest.mark.parametrize("metric", LOSS)
def test_a_planted_regression_is_caught_in_95_of_100_seeds(metric: str) -> None:
    assert PLAN["power"](metric, 100) >= 0.95


def test_a_regression_that_the_data_cannot_tell_from_churn_is_not_called_one() -> None:
    """15 images lost and 4 won are p = .02: beyond the tolerance, and not beyond the luck of 17 tests."""
    assert PLAN["power"]("test/accuracy", 3, churn=4) == 0
    assert PLAN["power"]("test/accuracy", 3, churn=4, rule=Rule(metrics=("test/accuracy",))) == 1


def test_two_equal_models_differ_in_a_share_of_gates_that_is_at_most_alpha() -> None:
    """Of 40 gates without tolerances at alpha .2, 14 or more would be chance once in 60."""
    either, _ = PLAN["alarms"](40, Rule(tolerances={"*": 0.0}, alpha=0.2))
    assert either * 40 <= 13


@pytest.mark.slow
def test_two_equal_models_pass() -> None:
    """At most one false alarm in 100 at alpha .05 with the golden tolerances, 5 differences without tolerances."""
    either, _ = PLAN["alarms"](200, Rule(tolerances={"*": 0.0}))
    assert either <= 0.08  # .05 and two standard errors
    assert PLAN["alarms"](100, Rule())[1] <= 0.02


def test_an_unpaired_test_would_miss_it() -> None:
    """That is why examples are compared: 11 of 360 images are within the interval of one accuracy."""
    golden = PLAN["golden_of"]("test/accuracy").metrics["test/accuracy"]
    assert golden.low is not None
    assert golden.value is not None
    assert golden.value - golden.low < LOSS["test/accuracy"]


@pytest.fixture(scope="module")
def trainings() -> Any:
    """The trainings of the shipped jem."""
    return read_seeds(baselines.folder("digits") / "jem")


def test_each_training_lies_within_the_spread_of_the_others(trainings: Any) -> None:
    """Of 17 headlines and 5 trainings, each against the shipped one by the spread of the rest: 5 % may lie beyond."""
    document = read_result(baselines.folder("digits") / "jem" / "golden")
    beyond = judged = 0
    for left in trainings.runs[1:]:
        rest = trainings.model_copy(update={"runs": [run for run in trainings.runs if run is not left]})
        wide = spreads(rest)
        for _, metric in headlines(document):
            value = left.metrics[metric.id][0]
            if metric.tolerance is not None and metric.value is not None and value is not None:
                loss = metric.value - value if metric.better == "higher" else value - metric.value
                beyond += loss > metric.tolerance + wide[metric.id]
                judged += 1
    assert judged > 60
    assert beyond <= 0.05 * judged


def test_the_spread_of_two_trainings_has_a_closed_form(trainings: Any) -> None:
    """t of one degree of freedom, 12.706, times their distance: s is distance / sqrt 2."""
    two = trainings.model_copy(update={"runs": trainings.runs[:2]})
    first, second = (run.metrics["test/accuracy"][0] for run in two.runs)
    assert spreads(two)["test/accuracy"] == pytest.approx(12.706205 * abs(first - second))


def test_a_worse_training_fails_and_an_equal_one_passes(trainings: Any) -> None:
    """The plain classifier against jem: what a training without log p(x) gives."""
    place = baselines.folder("digits")
    golden, fresh = (PLAN["side"](f"{name}/golden", PLAN["CLEAN"]) for name in ("jem", "softmax"))
    rule = Rule(retrained=True)
    verdict = judge(fresh, golden, rule, spreads=spreads(trainings), trainings=5)
    assert {row.id for row in verdict.worse} == set(PLAN["AUROCS"])
    assert verdict.kind == "retrained"
    same = judge(golden, golden, rule, spreads=spreads(trainings))
    assert same.kind == "same weights and seed"
    assert {row.spread for row in same.rows} == {0.0}
    assert json.loads((place / "jem" / "seeds.json").read_bytes())["runs"][0]["seed"] == 0


def test_without_a_spread_of_its_own_a_metric_is_not_judged() -> None:
    golden, fresh = (PLAN["side"](f"{name}/golden", PLAN["CLEAN"]) for name in ("jem", "softmax"))
    verdict = judge(fresh, golden, Rule(retrained=True), spreads={"mean/mass/auroc": 0.1})
    outcomes = {row.id: (row.outcome, row.reason) for row in verdict.rows}
    assert outcomes.pop("mean/mass/auroc") == ("worse", "")
    assert set(outcomes.values()) == {("not tested", "no spread of training seeds")}


def test_a_wide_spread_forgives(trainings: Any) -> None:
    golden, fresh = (PLAN["side"](f"{name}/golden", PLAN["CLEAN"]) for name in ("jem", "softmax"))
    assert judge(fresh, golden, Rule(retrained=True), spreads=dict.fromkeys(PLAN["CLEAN"], 1.0))
    assert not judge(fresh, golden)


def test_every_plant_is_what_it_says() -> None:
    """A plant lowers its metric by as much as it says, and no other one."""
    for metric, plant in PLAN["PLANTS"].items():
        golden = PLAN["golden_of"](metric)
        _, values = _planted(plant, golden, LOSS[metric])
        assert values.keys() == {metric}
        assert LOSS[metric] <= golden.metrics[metric].value - values[metric].value < LOSS[metric] + 0.01


def _planted(plant: Callable[..., Any], golden: Any, loss: float) -> Any:
    import numpy as np

    return plant(golden, np.random.default_rng(0), loss, 0)
