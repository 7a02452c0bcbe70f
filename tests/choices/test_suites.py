"""Suites: what they hold, and that none of their numbers moved when they were cut anew."""

from pathlib import Path

import pytest

import jembench
from jembench import data
from jembench.choices.suites import SUITES
from jembench.engine.plan import plan
from jembench.evaluators import EVALUATORS
from jembench.store.results import read_result
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import parse

#: Ids of metrics that results of suite ``all`` had before suites were cut, and have no more.
GONE: frozenset[str] = frozenset()
PARTS = ("accuracy", "calibration", "unlabelled", "ood", "stress", "generation", "likelihood")


def test_the_whole_is_its_parts_each_once() -> None:
    assert [name for part in PARTS for name in SUITES[part]] == list(SUITES["all"])
    assert {name for suite in SUITES for name in SUITES[suite]} == set(EVALUATORS) - {
        "corruptions",
        "detectors",
        "scores",
    }


@pytest.mark.parametrize("path", baselines.all_golden("digits"), ids=lambda path: path.parent.name)
def test_the_protocol_of_all_is_that_of_the_golden_results(path: Path) -> None:
    """So that numbers of before and after share a ranking."""
    spec = catalogue.resolve(parse(path.parent.name), track="digits")
    assert plan(spec, "all", track=data.track("digits")).protocol_hash == read_result(path).protocol_hash


def test_a_part_has_the_numbers_of_the_whole(tmp_path: Path) -> None:
    """Every id, value and interval, from the same records."""
    whole = jembench.evaluate("jem", "all", limit=20, output=tmp_path, progress=False)
    parts = jembench.evaluate("jem", PARTS, limit=20, output=tmp_path, progress=False)
    assert not any(part.evaluation.outcome.computed for part in parts)
    assert {id: metric for part in parts for id, metric in part.metrics.items()} == whole.metrics


def test_the_ids_of_golden_results_are_still_there(tmp_path: Path) -> None:
    golden = read_result(next(path for path in baselines.all_golden("digits") if path.parent.name == "jem"))
    now = jembench.evaluate("jem", "all", limit=20, output=tmp_path, progress=False).metrics
    cut = {id for id in (metric.id for metric in golden.metrics) if "_n1" in id or "_n2" in id or "_n5" in id}
    assert {metric.id for metric in golden.metrics} - GONE - cut <= set(now)
