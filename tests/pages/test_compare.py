"""Compare: the differences are those of the examples, luck is corrected for, and other images are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

import jembench
from jembench import data
from jembench.api import Result
from jembench.data import photographs
from jembench.ground.identity import identity, sha256
from jembench.metrics.metric import Metric
from jembench.metrics.paired import holm
from jembench.pages.compare import compare
from jembench.pages.tables.table import Table
from jembench.store.records import decode, encode
from jembench.store.results import EXAMPLES, RESULT
from jembench.types import UserError

Edit = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Path]:
    """A function that copies a result and changes document and examples."""

    def copy(result: Result, name: str, edit: Edit = lambda document, examples: None) -> Path:
        folder = Path(shutil.copytree(result.folder, tmp_path / name))
        document, examples = json.loads((folder / RESULT).read_text()), decode((folder / EXAMPLES).read_bytes())
        examples = {column: np.array(values) for column, values in examples.items()}
        document["model"]["name"] = name
        edit(document, examples)
        (folder / EXAMPLES).write_bytes(encode({**examples, "source": examples["source"].astype(str)}))
        document["examples_sha256"] = sha256((folder / EXAMPLES).read_bytes())
        document["protocol_hash"] = identity(document["protocol"])
        document.pop("digest", None)
        (folder / RESULT).write_text(json.dumps(document))
        return folder

    return copy


def differences(table: Table) -> dict[tuple[str, ...], Metric]:
    """The differences by the words of their rows."""
    found = {}
    for row in table.rows:
        words = tuple(cell for cell in row[:-2] if isinstance(cell, str))
        difference = row[-3]
        assert isinstance(difference, Metric)
        found[words] = difference
    return found


def test_two_models_differ_by_what_their_examples_do(digits: dict[str, Result]) -> None:
    folders = [digits[name].folder for name in ("softmax", "jem")]
    losses, aurocs, _ = compare(folders)
    one, other = (decode((folder / EXAMPLES).read_bytes()) for folder in folders)
    rows = {name: one["source"].astype(str) == name for name in ("test", "textures")}
    hits = [(table["label"] == table["prediction"])[rows["test"]] for table in (one, other)]
    found = differences(losses)
    accuracy = found["jem", "accuracy"]
    assert accuracy.value == pytest.approx(hits[1].mean() - hits[0].mean())
    better, worse = int((hits[1] & ~hits[0]).sum()), int((hits[0] & ~hits[1]).sum())
    assert accuracy.p == pytest.approx(binomtest(better, better + worse).pvalue)
    nll = [table["nll"][rows["test"]].mean() for table in (one, other)]
    assert found["jem", "NLL"].value == pytest.approx(nll[1] - nll[0])
    apart = []
    for table in (one, other):
        parts = [table["log_px"][rows[name]] for name in ("test", "textures")]
        apart.append(roc_auc_score([1] * len(parts[0]) + [0] * len(parts[1]), np.concatenate(parts)))
    assert differences(aurocs)["jem", "textures", "log p(x)"].value == pytest.approx(apart[1] - apart[0])
    sets = list(dict.fromkeys(str(row[1]) for row in aurocs.rows))
    assert sets[-3:] == ["near", "far", "mean"]


def test_holms_correction_is_over_the_table(digits: dict[str, Result]) -> None:
    for table in compare([digits[name].folder for name in ("softmax", "jem")]):
        p_values = [metric.p for metric in differences(table).values()]
        assert None not in p_values
        expected = holm([p or 0.0 for p in p_values])
        shown = [row[-1] for row in table.rows]
        assert shown == ["<0.001" if p < 0.001 else f"{p:.3f}" for p in expected]


def test_a_model_is_no_better_than_itself(oracle: Result, copy: Callable[..., Path]) -> None:
    """Under another name, and with its rows in another order: examples are matched by source and index."""

    def shuffle(document: dict[str, Any], examples: dict[str, np.ndarray]) -> None:
        order = np.random.default_rng(0).permutation(len(examples["index"]))
        for name in examples:
            examples[name] = examples[name][order]

    for table in compare([oracle.folder, copy(oracle, "again", shuffle)]):
        for metric in differences(table).values():
            assert (metric.value, metric.p) == (0, 1)


def test_planted_noise_is_found_and_luck_is_not(oracle: Result, copy: Callable[..., Path]) -> None:
    """A noisier log p(x) loses AUROC for certain; one that differs on two images does not."""

    def noisy(document: dict[str, Any], examples: dict[str, np.ndarray]) -> None:
        examples["log_px"] += np.random.default_rng(0).normal(
            0, 2 * np.nanstd(examples["log_px"]), len(examples["index"])
        )

    def lucky(document: dict[str, Any], examples: dict[str, np.ndarray]) -> None:
        where = np.flatnonzero(examples["source"].astype(str) == "test")[:2]
        examples["log_px"][where] = -1e6

    tables = compare([oracle.folder, copy(oracle, "noisy", noisy), copy(oracle, "lucky", lucky)])
    found = differences(tables[1])
    bad, chance = found["noisy", "mean", "log p(x)"], found["lucky", "mean", "log p(x)"]
    assert bad.value < -0.1
    assert bad.p < 1e-6
    assert chance.p > 0.05
    assert found["noisy", "mean", "max p(y|x)"].value == 0


def test_equal_names_get_numbers(oracle: Result) -> None:
    table, *_ = compare([oracle.folder, oracle.folder])
    assert "oracle (1)" in table.title
    assert {row[0] for row in table.rows} == {"oracle (2)"}


def _evaluator(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in document["protocol"]["evaluators"] if item["name"] == name)
    return found


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d, e: d.update(track="gauss-v2"), "track is gauss-v1 and gauss-v2"),
        (lambda d, e: d.update(limit=10), "limit is None and 10"),
        (lambda d, e: d["protocol"]["sources"]["test"].update(n=9), "n of 'test' is 360 and 9"),
        (lambda d, e: d["protocol"]["sources"]["scaled"].update(sha256="0" * 64), "sha256 of 'scaled' is"),
        (lambda d, e: _evaluator(d, "ood").update(version=1), "evaluator 'ood' has version 2 and 1"),
    ],
    ids=["track", "limit", "n", "bytes", "version"],
)
def test_results_that_cannot_be_compared_are_refused(
    oracle: Result, copy: Callable[..., Path], edit: Edit, words: str
) -> None:
    with pytest.raises(UserError, match="'oracle' and 'other' cannot be compared: ") as error:
        compare([oracle.folder, copy(oracle, "other", edit)])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_input_is_one_line(oracle: Result, copy: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a comparison needs at least 2 results, not 1"):
        compare([oracle.folder])
    with pytest.raises(UserError, match="no such file"):
        compare([oracle.folder, tmp_path])

    def gap(document: dict[str, Any], examples: dict[str, np.ndarray]) -> None:
        examples["index"][0] = 999

    with pytest.raises(UserError, match="are not 0 to"):
        compare([oracle.folder, copy(oracle, "gap", gap)])


def test_differences_over_a_part_of_a_published_set_say_so(
    part: Callable[..., Result], digits: dict[str, Result]
) -> None:
    """Other parts are other images."""
    table, *_ = compare([part("one").folder, part("other").folder])
    assert table.notes[-1] == "subset: test 60 of 10,000"
    for options in ({"n": 50}, {"seed": 1}, {"limit": 50}):
        with pytest.raises(UserError, match="cannot be compared"):
            compare([part("one").folder, part("other", **options).folder])
    for found in compare([digits[name].folder for name in ("softmax", "jem")]):
        assert not [note for note in found.notes if note.startswith("subset")]


COSTLY = 30  # images that a refinement is of, of 40


@pytest.fixture
def refined(shelf: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    """A function from a name to OOD detection by random weights, whose costly scores are of fewer images."""
    import torch

    monkeypatch.setattr(photographs, "CIFAR10", replace(photographs.CIFAR10, costly=COSTLY))
    for place, (name, n) in enumerate({"cifar10_train": 300, "cifar10_test": 130, "svhn_test": 60}.items()):
        shelf(name, n, seed=place)
    folder = shelf("cifar100_test", 60, seed=9, classes=100)

    def refined(name: str) -> Result:
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
        options = {"track": "cifar10", "data_dir": folder, "name": name, "limit": COSTLY + 10, "protocol": "sadajem"}
        return jembench.evaluate(module, "ood", output=tmp_path / "refined", **options)

    return refined


def test_costly_scores_are_compared_on_the_images_that_they_are_of(
    refined: Callable[[str], Result], copy: Callable[..., Path]
) -> None:
    assert data.track("cifar10").costly == COSTLY
    results = refined("one"), refined("other")
    table, *_ = compare([result.folder for result in results])
    found = differences(table)
    costly = found["other", "svhn", "SGLD log p"]
    assert costly.n == {"test": COSTLY}
    assert found["other", "svhn", "log p(x)"].n == {"test": COSTLY + 10}
    apart = []
    for result in results:
        table_of = decode((result.folder / EXAMPLES).read_bytes())
        rows = [table_of["refine_log_px"][table_of["source"].astype(str) == name] for name in ("test", "svhn")]
        assert all(np.isnan(part[COSTLY:]).all() for part in rows)
        first = np.concatenate([part[:COSTLY] for part in rows])
        apart.append(roc_auc_score([1] * COSTLY + [0] * COSTLY, first))
    assert costly.value == pytest.approx(apart[1] - apart[0])

    def diverged(document: dict[str, Any], examples: dict[str, np.ndarray]) -> None:
        where = np.flatnonzero(examples["source"].astype(str) == "svhn")
        examples["refine_log_px"][where[COSTLY - 1]] = np.nan

    table, *_ = compare([results[0].folder, copy(results[1], "diverged", diverged)])
    left = differences(table)
    assert ("diverged", "svhn", "SGLD log p") not in left
    assert ("diverged", "cifar100", "SGLD log p") in left


def test_another_seed_is_the_same_images_without_noise_and_others_with_it(tmp_path: Path) -> None:
    def folder(seed: int, protocol: str) -> Path:
        options = {"limit": 20, "seed": seed, "protocol": protocol, "output": tmp_path}
        return jembench.evaluate("softmax", "accuracy", **options).folder

    table, *_ = compare([folder(0, "v1"), folder(1, "v1")])
    assert [metric.value for metric in differences(table).values()] == [0]
    assert compare([folder(0, "jem2020"), folder(0, "jem2020")])
    with pytest.raises(UserError, match="seed is 0 and 1, which draw other noise on 'test'"):
        compare([folder(0, "jem2020"), folder(1, "jem2020")])
