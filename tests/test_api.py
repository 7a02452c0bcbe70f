"""The Python interface: load, wrap, evaluate, and records that give the numbers again."""

import importlib
import logging
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

import jembench
from jembench import data
from jembench.api import Result
from jembench.metrics.scores import SCORES
from jembench.store.results import read_result
from jembench.types import Classifier, Density, Sampler, UserError

BUILD = """
import torch
from torch import nn

def build():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    return model
"""


def test_the_package_offers_a_few_calls() -> None:
    calls = {"check", "compare", "estimate", "evaluate", "gate", "load", "load_result", "measure", "wrap"}
    assert set(dir(jembench)) == calls | {
        "Defence",
        "Options",
        "Request",
        "Rule",
        "Sampling",
        "UserError",
        "__version__",
    }
    assert callable(jembench.load)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        jembench.lod  # noqa: B018


def test_load_gives_a_trained_model_of_the_contract(digits: dict[str, Result]) -> None:
    """In evaluation mode and frozen; its predictions are those of the result."""
    model = jembench.load("jem")
    assert isinstance(model, Classifier)
    assert isinstance(model, Density)
    assert isinstance(model, Sampler)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    images = torch.from_numpy(data.load("digits", "test").pixels())
    records = digits["jem"].records("accuracy")
    assert (model.logits(images).argmax(dim=1).numpy() == records["prediction"].to_numpy()).mean() > 0.99


def test_progress_is_shown_unless_it_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By default, by a function of the caller's, or not at all; the logger is left as it was."""
    caplog.set_level("INFO", logger="jembench")
    seen: list[tuple[int, int]] = []
    settings = {"track": "gauss", "limit": 40}
    log = logging.getLogger("jembench")
    before = (list(log.handlers), log.level)
    jembench.evaluate(
        "oracle",
        "accuracy",
        output=tmp_path / "a",
        progress=lambda done, total, words: seen.append((done, total)),
        **settings,
    )
    assert seen == [(0, 1), (1, 1)]
    jembench.evaluate("oracle", "accuracy", output=tmp_path / "b", progress=False, **settings)
    assert caplog.messages == []
    jembench.evaluate("oracle", "accuracy", output=tmp_path / "c", **settings)
    assert (log.handlers, log.level) == before


def test_load_refuses_unknown_names() -> None:
    with pytest.raises(UserError, match="did you mean 'softmax'"):
        jembench.load("sofmax")
    with pytest.raises(UserError, match="did you mean 'gauss'"):
        jembench.load("oracle", track="gaus")


def test_wrap_normalises_and_reads_the_logits_as_a_density() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    model = jembench.wrap(network, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    x = torch.rand(5, 3, 2, 2)
    shift, scale = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.5, 0.25, 0.125]).view(3, 1, 1)
    expected = network((x - shift) / scale)
    torch.testing.assert_close(model.logits(x), expected)
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model.log_density(x), expected.exp().sum(dim=1).log())
    with pytest.raises(UserError, match="std must be positive"):
        jembench.wrap(network, std=0.0)


def test_a_module_a_wrapped_one_and_a_file_give_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under names of their own."""
    path = tmp_path / "my_models.py"
    path.write_text(BUILD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_models", raising=False)
    module = importlib.import_module("my_models").build()
    results = [
        jembench.evaluate(model, "ood", limit=40, output=tmp_path / "store")
        for model in (module, jembench.wrap(module), f"{path}:build", "my_models:build")
    ]
    names = [result.document.model.name for result in results]
    assert names == ["Sequential", "Softmax", "my_models.build", "my_models.build"]
    for result in results[1:]:
        assert result.metrics == results[0].metrics


def test_a_model_object_may_be_named_and_a_named_model_may_not(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    result = jembench.evaluate(module, "accuracy", limit=20, name="mine-1.0", output=tmp_path)
    assert result.document.model.name == "mine-1.0"
    assert "mine-1.0" in result.to_markdown()
    with pytest.raises(UserError, match="name is for model objects"):
        jembench.evaluate("jem", "accuracy", name="mine", output=tmp_path)
    for name in ("../../etc", "a/b", "a|b", "."):
        with pytest.raises(UserError, match="is part of a path"):
            jembench.evaluate(module, "accuracy", name=name, output=tmp_path)


def test_other_weights_are_another_model(tmp_path: Path) -> None:
    first, second = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2))
    prints = {
        jembench.evaluate(model, "accuracy", limit=20, output=tmp_path).document.model.fingerprint
        for model in (first, second, first)
    }
    assert len(prints) == 2


def test_a_thing_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither a torch\.nn\.Module nor a model"):
        jembench.evaluate(lambda x: x, "accuracy", output=tmp_path)


def test_a_model_that_cannot_be_copied_is_refused(tmp_path: Path) -> None:
    """It is the copy that is evaluated, so that the user's object stays as it was."""

    class Locked:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def logits(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :10]

    with pytest.raises(UserError, match="cannot be copied, name it as"):
        jembench.evaluate(Locked(), "accuracy", output=tmp_path)


def test_metrics_are_by_id_and_the_folder_holds_the_files(oracle: Result) -> None:
    assert all(name == metric.id for name, metric in oracle.metrics.items())
    assert len(oracle.metrics) == len(oracle.document.metrics)
    there = {path.name for path in oracle.folder.iterdir() if path.suffix != ".png"}  # another test may have drawn some
    assert there == {"result.json", "examples.parquet"}


def test_the_records_give_the_numbers_again(digits: dict[str, Result]) -> None:
    """AUROC and average precision of every set and score, by scikit-learn from the published scalars."""
    result = digits["jem"]
    frame = result.records("ood")
    assert list(frame.columns) == ["source", "index", *SCORES]
    inside = frame[frame["source"] == "test"]
    for source in set(frame["source"]) - {"test", "train"}:
        outside = frame[frame["source"] == source]
        truth = np.array([1] * len(inside) + [0] * len(outside))
        for score in SCORES:
            scores = np.concatenate([inside[score], outside[score]])
            found = {
                name: result.metrics[f"{source}/{score}/{name}"].value for name in ("auroc", "aupr_in", "aupr_out")
            }
            assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
            assert found["aupr_in"] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
            assert found["aupr_out"] == pytest.approx(average_precision_score(1 - truth, -scores), abs=1e-12)


def test_every_evaluator_has_its_rows(digits: dict[str, Result]) -> None:
    """A row per example of the sources it reads, in their order, and no column of another evaluator."""
    result = digits["softmax"]
    accuracy, calibration = result.records("accuracy"), result.records("calibration")
    assert list(accuracy.columns) == ["source", "index", "label", "prediction"]
    assert accuracy["index"].tolist() == list(range(360))
    assert accuracy["label"].tolist() == data.load("digits", "test").labels.tolist()
    assert (accuracy["label"] == accuracy["prediction"]).mean() == result.metrics["test/accuracy"].value
    assert calibration["source"].value_counts().to_dict() == {"test": 360, "validation": 180}
    test = calibration[calibration["source"] == "test"]
    assert test["nll"].mean() == pytest.approx(result.metrics["test/raw/nll"].value)
    assert test["brier"].mean() == pytest.approx(result.metrics["test/raw/brier"].value)
    assert not calibration.isna().any(axis=None)


def test_records_of_an_evaluator_that_is_not_in_the_result(oracle: Result, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown evaluator of this result 'odd'; did you mean 'ood'"):
        oracle.records("odd")
    small = jembench.evaluate("oracle", "accuracy", track="gauss", limit=10, output=tmp_path)
    with pytest.raises(UserError, match="unknown evaluator of this result 'ood'"):
        small.records("ood")


def test_evaluate_refuses_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'ood'"):
        jembench.evaluate("jem", "oood", output=tmp_path)
    with pytest.raises(UserError, match="did you mean 'digits'"):
        jembench.evaluate("jem", track="digit", output=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_golden_result_of_ones_own_is_what_the_gate_compares_with(tmp_path: Path) -> None:
    """The same model passes; a result that is there is not replaced."""
    from jembench import api
    from jembench.zoo.references import parse

    request = jembench.Request(models=(parse("softmax"),), suites=("accuracy",), limit=20, output=tmp_path / "store")
    result = api.golden(request, tmp_path / "golden")
    kept = read_result(tmp_path / "golden")
    assert kept == result.document.model_copy(update={"request": {}})  # which has paths of this machine
    assert api.gate(request, tmp_path / "golden").worse == []
    assert api.gate(result, tmp_path / "golden")
    with pytest.raises(UserError, match="holds a result: choose another place"):
        api.golden(request, tmp_path / "golden")
    with pytest.raises(UserError, match="are of one model and one suite"):
        api.gate(jembench.Request(models=request.models, suites=("accuracy", "ood")), tmp_path / "golden")


def test_settings_are_those_of_a_request(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown setting of an evaluation 'limt'; did you mean 'limit'"):
        jembench.evaluate("softmax", "accuracy", limt=20, output=tmp_path)
    for wrong in ({"limit": 0}, {"seed": 1.5}, {"workers": 0}):
        with pytest.raises(UserError, match="must be a whole number"):
            jembench.evaluate("softmax", "accuracy", output=tmp_path, **wrong)
