"""The gate: exit 0 where nothing is worse, 1 where something is, 2 where numbers may not be compared."""

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
from jembench.pages import gate
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
    return ["gate", "-m", "oracle", "-t", "gauss", "-s", suite, "-o", output, "--golden", str(golden)]


def test_the_same_numbers_pass(call: Call, oracle: Result, golden: Path) -> None:
    answer = call(*options(oracle, golden))
    assert (answer.code, answer.err) == (0, "")
    assert "oracle on gauss-v1, suite all: no metric of" in answer.out


def test_a_part_of_the_golden_result_is_comparable(call: Call, oracle: Result, golden: Path) -> None:
    answer = call(*options(oracle, golden, "accuracy"))
    assert answer.code == 0
    assert "no metric of 1 is worse" in answer.out


@pytest.mark.parametrize(
    ("name", "by", "loss"),
    [("test/accuracy", 0.02, "0.0200"), ("shifted/mass/fpr95", -0.05, "0.0500"), ("test/raw/nll", -0.03, "0.0300")],
)
def test_a_worse_metric_fails_and_is_named_with_its_loss(
    call: Call, oracle: Result, golden: Path, name: str, by: float, loss: str
) -> None:
    """In the direction that is worse for it: accuracy was higher, FPR95 and NLL were lower."""
    change(golden, shift(name, by))
    answer = call(*options(oracle, golden))
    assert answer.code == 1
    assert "1 of" in answer.out
    assert f"{name}: {oracle.metrics[name].value:.4f}" in answer.out
    assert f"worse by {loss}, tolerance {oracle.metrics[name].tolerance}" in answer.out


@pytest.mark.parametrize(("name", "by"), [("test/accuracy", -0.2), ("shifted/mass/fpr95", 0.3), ("test/raw/nll", 1.0)])
def test_a_better_metric_passes(call: Call, oracle: Result, golden: Path, name: str, by: float) -> None:
    change(golden, shift(name, by))
    assert call(*options(oracle, golden)).code == 0


def test_exactly_at_the_tolerance_passes_for_every_metric(oracle: Result) -> None:
    """Whatever floating point makes of the difference; a little more fails, for every metric."""
    document = oracle.document
    for steps, failures in ((1.0, 0), (1.01, sum(map(_gated, document.metrics)))):
        moved = [_moved(metric, steps) for metric in document.metrics]
        verdict = gate.compare(document, document.model_copy(update={"metrics": moved}))
        assert len(verdict.worse) == failures
    exact = Metric("accuracy", "test", value=0.97, better="higher", tolerance=0.005, evaluator="accuracy")
    fresh = document.model_copy(update={"metrics": [replace(exact, value=0.965)]})
    assert exact.tolerance == 0.005 < 0.97 - 0.965
    assert not gate.compare(fresh, document.model_copy(update={"metrics": [exact]})).worse


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
    verdict = gate.compare(document.model_copy(update={"metrics": gone}), document)
    assert len(verdict.worse) == sum(map(_gated, document.metrics))
    assert "missing (no logits)" in verdict.text
    with pytest.raises(UserError, match="no value of these evaluators"):
        gate.compare(document, document.model_copy(update={"metrics": gone}))


def test_a_metric_that_is_not_there_at_all_is_worse(oracle: Result) -> None:
    """A gate must not pass on nothing."""
    document = oracle.document
    verdict = gate.compare(document.model_copy(update={"metrics": document.metrics[1:]}), document)
    assert verdict.worse == [f"  {document.metrics[0].id}: missing, was {document.metrics[0].value:.4f}"]
    assert len(gate.compare(document.model_copy(update={"metrics": []}), document).worse) > 10


def put(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def edit(content: Any) -> None:
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = value

    return edit


OTHER: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "protocol": (put("protocol", "name", value="v0"), "name is 'v1', the golden result has 'v0'"),
    "track": (put("protocol", "track", value="gauss-v0"), "track is 'gauss-v1', the golden result has 'gauss-v0'"),
    "n": (put("protocol", "sources", "test", "n", value=359), "n of 'test' is 360, the golden result has 359"),
    "data": (put("protocol", "sources", "scaled", "sha256", value="0" * 64), "sha256 of 'scaled' is"),
    "source": (lambda content: content["protocol"]["sources"].pop("scaled"), "no examples of 'scaled'"),
    "measurement": (
        lambda content: content["protocol"]["measurements"][0].update(version=0),
        "the golden result has no measurement {'name': 'logits', 'version': 1}",
    ),
    "evaluator": (
        lambda content: content["protocol"]["evaluators"][-1].update(version=0),
        "the golden result has no evaluator {'name': 'likelihood', 'version': 2}",
    ),
}


@pytest.mark.parametrize(("edit", "words"), OTHER.values(), ids=OTHER.keys())
def test_numbers_of_different_protocols_are_not_compared(
    call: Call, oracle: Result, golden: Path, edit: Callable[[dict[str, Any]], None], words: str
) -> None:
    change(golden, edit)
    answer = call(*options(oracle, golden))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("jembench: not comparable: ")
    assert words in answer.err
    assert answer.err.count("\n") == 1


def test_fewer_examples_are_not_comparable(call: Call, oracle: Result, golden: Path, tmp_path: Path) -> None:
    """And nothing is computed to find that out."""
    output = tmp_path / "new"
    answer = call("gate", "-m", "oracle", "-t", "gauss", "--golden", golden, "--limit", 100, "-o", output)
    assert answer.code == 2
    assert "is 100, the golden result has" in answer.err
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
    """Without ``--golden``; one that has none says how to name one."""
    own = Path(shutil.copytree(baselines.folder("digits"), tmp_path / "digits"))
    for name, result in digits.items():
        shutil.rmtree(own / name / "golden", ignore_errors=True)
        if name == "jem":
            shutil.copytree(result.folder, own / name / "golden")
    monkeypatch.setattr(baselines, "folder", lambda track: tmp_path / track)
    output = digits["jem"].folder.parent
    assert call("gate", "-m", "jem", "-o", output).code == 0
    change(own / "jem" / "golden", shift("mean/mass/auroc", 0.1))
    assert call("gate", "-m", "jem", "-o", output).code == 1
    for model in ("softmax", "models.py:build"):
        (tmp_path / "models.py").write_text(
            "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        )
        monkeypatch.chdir(tmp_path)
        answer = call("gate", "-m", model, "-o", output)
        assert answer.code == 2
        assert "golden result" in answer.err
        assert "--golden FOLDER" in answer.err


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
        assert len(gate.compare(document, document.model_copy(update={"metrics": widened})).worse) == failures


def test_a_damaged_golden_result_is_refused(call: Call, oracle: Result, golden: Path) -> None:
    (golden / RESULT).write_text("{")
    answer = call(*options(oracle, golden))
    assert answer.code == 2
    assert "not a valid result" in answer.err


def test_check_comparable_names_the_first_difference_only(oracle: Result) -> None:
    document: ResultDocument = oracle.document
    gate.check_comparable(document.protocol, document)
    with pytest.raises(UserError, match="track is 'x'"):
        gate.check_comparable(document.protocol.model_copy(update={"track": "x", "sources": {}}), document)


def test_a_verdict_over_a_part_of_a_published_set_says_so(part: Callable[..., Result], oracle: Result) -> None:
    """Whether it is good or bad; of images that jembench carries there is nothing to say."""
    document = part().document
    better = [replace(metric, value=1.0) for metric in document.metrics]
    assert gate.compare(document, document).text.endswith("\nsubset: test 60 of 10,000")
    verdict = gate.compare(document, document.model_copy(update={"metrics": better}))
    assert verdict.worse
    assert verdict.text.endswith("\nsubset: test 60 of 10,000")
    assert "subset" not in gate.compare(oracle.document, oracle.document).text


def test_other_parts_of_a_published_set_are_not_comparable(part: Callable[..., Result]) -> None:
    for options, words in (({"n": 50}, "n of 'test' is 50"), ({"seed": 1}, "sha256 of 'test'")):
        with pytest.raises(UserError, match=words):
            gate.compare(part(**options).document, part().document)
