"""The gate: exit 0 where nothing is worse, 1 where something is, 2 where numbers may not be compared.

Of the same weights and seed here, where every metric is judged by its tolerance alone.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jembench.api import Result
from jembench.ground.identity import identity
from jembench.metrics.metric import Metric
from jembench.pages.gates.text import figure, text
from jembench.pages.gates.verdict import GateVerdict, check_comparable, judge
from jembench.pages.pairs.side import Side
from jembench.store.results import RESULT, ResultDocument
from jembench.types import UserError
from jembench.zoo import baselines

Call = Callable[..., Any]

UNGATED = r"auroc_gain|severity_trend|estimation_error|effective_size|fi?d_n\d+"


@pytest.fixture
def golden(oracle: Result, tmp_path: Path) -> Path:
    """A copy of the oracle's result that a test may change."""
    return Path(shutil.copytree(oracle.folder, tmp_path / "golden"))


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / RESULT).read_text())
    edit(content)
    content["protocol_hash"] = identity(content["protocol"])
    content.pop("digest", None)
    (folder / RESULT).write_text(json.dumps(content))


def shift(name: str, by: float) -> Callable[[dict[str, Any]], None]:
    """Move one golden metric."""

    def edit(content: dict[str, Any]) -> None:
        for item in content["metrics"]:
            if "/".join(part for part in (item["source"], item["variant"], item["name"]) if part) == name:
                item["value"] += by
                return
        raise AssertionError(name)

    return edit


def options(oracle: Result, golden: Path, suite: str = "all") -> list[str]:
    output = str(oracle.folder.parent)
    return ["gate", "-m", "oracle", "-t", "gauss", "-s", suite, "-p", "v1", "-o", output, "-b", str(golden)]


def test_the_same_numbers_pass(call: Call, oracle: Result, golden: Path) -> None:
    answer = call(*options(oracle, golden))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("jembench gate: 0 regressions, ")
    assert "oracle on gauss-v1, suite all · same weights and seed: beyond tolerance is worse" in answer.out
    assert answer.out.count("\n") == 2


def test_a_part_of_the_golden_result_is_comparable(call: Call, oracle: Result, golden: Path) -> None:
    answer = call(*options(oracle, golden, "accuracy"))
    assert answer.code == 0
    assert answer.out.startswith("jembench gate: 0 regressions, 1 unchanged")


@pytest.mark.parametrize(
    ("name", "by", "loss"),
    [("test/accuracy", 0.02, "-.020"), ("shifted/mass/fpr95", -0.05, "+.050"), ("test/raw/nll", -0.03, "+.030")],
)
def test_a_worse_metric_fails_and_is_named_with_its_loss(
    call: Call, oracle: Result, golden: Path, name: str, by: float, loss: str
) -> None:
    """In the direction that is worse for it: accuracy was higher, FPR95 and NLL were lower."""
    change(golden, shift(name, by))
    answer = call(*options(oracle, golden))
    assert answer.code == 1
    head, _, row = answer.out.splitlines()
    assert head.startswith("jembench gate: 1 regression, ")
    assert row.split()[:2] == ["worse", name]
    assert loss in row.split()
    assert row.endswith(f"tolerance {figure(oracle.metrics[name].tolerance or 0)}")


@pytest.mark.parametrize(("name", "by"), [("test/accuracy", -0.2), ("shifted/mass/fpr95", 0.3), ("test/raw/nll", 1.0)])
def test_a_better_metric_passes(call: Call, oracle: Result, golden: Path, name: str, by: float) -> None:
    """And is reported."""
    change(golden, shift(name, by))
    answer = call(*options(oracle, golden))
    assert answer.code == 0
    assert answer.out.startswith("jembench gate: 0 regressions, 1 improvement, ")
    assert answer.out.splitlines()[2].split()[:2] == ["better", name]


def test_exactly_at_the_tolerance_passes_for_every_metric(oracle: Result) -> None:
    """Whatever floating point makes of the difference; a little more fails, for every metric."""
    document = oracle.document
    for steps, failures in ((1.0, 0), (1.01, sum(map(_gated, document.metrics)))):
        moved = [_moved(metric, steps) for metric in document.metrics]
        assert len(judged(document, document.model_copy(update={"metrics": moved})).worse) == failures
    exact = Metric("accuracy", "test", value=0.97, better="higher", tolerance=0.005, evaluator="accuracy")
    fresh = document.model_copy(update={"metrics": [replace(exact, value=0.965)]})
    assert exact.tolerance == 0.005 < 0.97 - 0.965
    assert judged(fresh, document.model_copy(update={"metrics": [exact]}))


def _gated(metric: Metric) -> bool:
    """Whether there is a value that a gate can hold: chains on the oracle's density diverge, and have none."""
    return metric.tolerance is not None and metric.value is not None


def _moved(metric: Metric, steps: float) -> Metric:
    if metric.tolerance is None or metric.value is None:
        return metric
    sign = 1 if metric.better == "higher" else -1
    return replace(metric, value=metric.value + sign * steps * metric.tolerance)


def test_a_value_that_went_missing_is_worse(oracle: Result) -> None:
    """Every metric with a direction, with the reason."""
    document = oracle.document
    gone = [replace(metric, value=None, reason="no logits") for metric in document.metrics]
    verdict = judged(document.model_copy(update={"metrics": gone}), document)
    assert len(verdict.worse) == verdict.count("missing") == sum(map(_gated, document.metrics))
    assert "no logits" in text(verdict).splitlines()[2]
    with pytest.raises(UserError, match="no value of these metrics"):
        judged(document, document.model_copy(update={"metrics": gone}))


def test_a_metric_that_is_not_there_at_all_is_worse(oracle: Result) -> None:
    """A gate must not pass on nothing."""
    document = oracle.document
    (row,) = judged(document.model_copy(update={"metrics": document.metrics[1:]}), document).worse
    assert (row.id, row.reason) == (document.metrics[0].id, "not in the fresh result")
    assert len(judged(document.model_copy(update={"metrics": []}), document).worse) > 10


def judged(fresh: ResultDocument, golden: ResultDocument) -> GateVerdict:
    """The verdict on documents of the same weights, for which no example is read."""
    return judge(*(Side("model", document, Path("nowhere")) for document in (fresh, golden)))


def put(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def edit(content: Any) -> None:
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = value

    return edit


OTHER: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "protocol": (put("protocol", "name", value="v0"), "name is 'v1', not 'v0'"),
    "track": (put("protocol", "track", value="gauss-v0"), "track is 'gauss-v1', not 'gauss-v0'"),
    "n": (put("protocol", "sources", "test", "n", value=359), "n of 'test' is 360, not 359"),
    "data": (put("protocol", "sources", "scaled", "sha256", value="0" * 64), "sha256 of 'scaled' is"),
    "source": (lambda content: content["protocol"]["sources"].pop("scaled"), "no examples of 'scaled'"),
    "measurement": (
        lambda content: content["protocol"]["measurements"][0].update(version=0),
        "version of measurement 'logits' is 1, not 0",
    ),
    "evaluator": (
        lambda content: content["protocol"]["evaluators"][-1].update(version=0),
        "version of evaluator 'likelihood' is 2, not 0",
    ),
}


@pytest.mark.parametrize(("edit", "words"), OTHER.values(), ids=OTHER.keys())
def test_numbers_of_different_protocols_are_not_compared(
    call: Call, oracle: Result, golden: Path, edit: Callable[[dict[str, Any]], None], words: str
) -> None:
    change(golden, edit)
    answer = call(*options(oracle, golden))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("jembench: not comparable with the golden result: ")
    assert words in answer.err
    assert answer.err.count("\n") == 1


def test_fewer_examples_are_not_comparable(call: Call, oracle: Result, golden: Path, tmp_path: Path) -> None:
    """And nothing is computed to find that out."""
    output = tmp_path / "new"
    answer = call("gate", "-m", "oracle", "-t", "gauss", "-b", golden, "--limit", 100, "-o", output)
    assert answer.code == 2
    assert "is 100, not " in answer.err
    assert not output.exists()


def test_more_than_the_golden_suite_is_not_comparable(call: Call, oracle: Result, golden: Path) -> None:
    def only_accuracy(content: dict[str, Any]) -> None:
        content["protocol"]["evaluators"] = [{"name": "accuracy", "version": 1}]

    change(golden, only_accuracy)
    assert call(*options(oracle, golden, "accuracy")).code == 0
    assert call(*options(oracle, golden, "all")).code == 2


def test_a_baseline_is_compared_with_its_own_golden_result(
    call: Call, digits: dict[str, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``--baseline``; one that has none says how to name one."""
    own = Path(shutil.copytree(baselines.folder("digits"), tmp_path / "digits"))
    for name, result in digits.items():
        shutil.rmtree(own / name / "golden", ignore_errors=True)
        if name == "jem":
            shutil.copytree(result.folder, own / name / "golden")
    monkeypatch.setattr(baselines, "folder", lambda track: tmp_path / track)
    output = digits["jem"].folder.parent
    assert call("gate", "-m", "jem", "-o", output).code == 0
    change(own / "jem" / "golden", shift("mean/mass/auroc", 0.05))
    assert call("gate", "-m", "jem", "-o", output).code == 1
    for model in ("softmax", "models.py:build"):
        (tmp_path / "models.py").write_text(
            "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        )
        monkeypatch.chdir(tmp_path)
        answer = call("gate", "-m", model, "-o", output)
        assert answer.code == 2
        assert "golden result" in answer.err
        assert "--baseline FILE" in answer.err


def test_every_metric_with_a_direction_has_a_tolerance(oracle: Result) -> None:
    """But for curves, tests, counts and long chains, which no gate looks at."""
    for metric in oracle.metrics.values():
        assert metric.tolerance is None or (metric.tolerance > 0 and metric.better != "neither"), metric.id
        free = metric.better == "neither" or metric.tolerance is not None or metric.value is None
        assert free or metric.evaluator == "chains" or re.fullmatch(UNGATED, metric.name), metric.id


def test_the_tolerance_is_the_golden_results(oracle: Result) -> None:
    """Not that of the code that compares: a result says how far its own numbers may be missed."""
    document = oracle.document
    moved = [_moved(metric, 1.5) for metric in document.metrics]
    for factor, failures in ((1, sum(map(_gated, moved))), (2, 0)):
        widened = [replace(item, tolerance=item.tolerance and factor * item.tolerance) for item in moved]
        assert len(judged(document, document.model_copy(update={"metrics": widened})).worse) == failures


def test_a_damaged_golden_result_is_refused(call: Call, oracle: Result, golden: Path) -> None:
    (golden / RESULT).write_text("{")
    answer = call(*options(oracle, golden))
    assert answer.code == 2
    assert "not a valid result" in answer.err


def test_check_comparable_names_the_first_difference_only(oracle: Result) -> None:
    document: ResultDocument = oracle.document
    check_comparable(document.protocol, document)
    with pytest.raises(UserError, match="track is 'x'"):
        check_comparable(document.protocol.model_copy(update={"track": "x", "sources": {}}), document)


def test_a_verdict_over_a_part_of_a_published_set_says_so(part: Callable[..., Result], oracle: Result) -> None:
    """Whether it is good or bad; of images that jembench carries there is nothing to say."""
    document = part().document
    better = [replace(metric, value=1.0) for metric in document.metrics]
    assert text(judged(document, document)).endswith("\nsubset: test 60 of 10,000")
    verdict = judged(document, document.model_copy(update={"metrics": better}))
    assert verdict.worse
    assert text(verdict).endswith("\nsubset: test 60 of 10,000")
    assert "subset" not in text(judged(oracle.document, oracle.document))


def test_other_parts_of_a_published_set_are_not_comparable(part: Callable[..., Result]) -> None:
    for options, words in (({"n": 50}, "n of 'test' is 50"), ({"seed": 1}, "sha256 of 'test'")):
        with pytest.raises(UserError, match=words):
            judged(part(**options).document, part().document)
