"""Results that travel: one file of a result, and a claimed one held against its model."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jembench
from jembench.ground.identity import sha256
from jembench.store import archives
from jembench.store.records import decode, encode
from jembench.store.results import EXAMPLES, RESULT, read_result, write_result

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of suite ood of a shipped model."""
    return jembench.evaluate("jem", "ood", output=tmp_path_factory.mktemp("runs"), progress=False).folder


@pytest.fixture
def claimed(measured: Path, tmp_path: Path) -> Path:
    """A copy of it, to be altered."""
    shutil.copytree(measured, tmp_path / "claimed")
    return tmp_path / "claimed"


def test_an_honest_result_travels_and_holds(
    call: Call, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another number of workers too; the archive has no path of this machine and is the same every time."""
    monkeypatch.chdir(tmp_path)
    answer = call("submit", measured)
    assert answer.code == 0
    path = Path(answer.out.strip())
    assert path.name.startswith("jem-digits-ood-")
    with archives.opened(path) as folder:
        assert sorted(each.name for each in folder.iterdir()) == ["README.txt", EXAMPLES, RESULT]
        assert read_result(folder).request == {}
        assert str(tmp_path.parent) not in (folder / RESULT).read_text()
    again = call("submit", measured, "--to", "again.zip")
    assert again.code == 0
    assert Path("again.zip").read_bytes() == path.read_bytes()
    assert call("submit", measured).code == 2  # nothing is overwritten
    for workers in (1, 2):
        answer = call("verify", path, "--model", "jem", "--workers", workers, "--chunks", 4)
        assert answer.code == 0, answer.out
        assert "4 of 46 chunks computed again: 4 equal to the bit; 360 of 441 metrics" in answer.out
        assert answer.out.endswith("verified\n")


def test_a_swapped_model_is_caught(call: Call, measured: Path) -> None:
    answer = call("verify", measured, "--model", "softmax", "--choice", 1)
    assert answer.code == 1
    assert answer.out.startswith("the model is not that of the result: ")
    assert "softmax: " in answer.out
    assert "does not hold" in answer.out
    assert len(answer.out.splitlines()) <= 20


@pytest.mark.parametrize("metric", ["mean/log_px/auroc", "textures/mass/fpr95", "noise/max_py/aupr_out"])
def test_an_altered_metric_is_caught_with_a_digest_of_its_own(call: Call, claimed: Path, metric: str) -> None:
    document = read_result(claimed)
    metrics = [
        replace(each, value=min(1.0, each.value + 1e-4)) if each.id == metric else each for each in document.metrics
    ]
    write_result(claimed, document.model_copy(update={"metrics": metrics}), (claimed / EXAMPLES).read_bytes())
    answer = call("verify", claimed, "--model", "jem", "--chunks", 0)
    assert answer.code == 1
    assert answer.out.startswith(f"{metric} is ")


def test_an_altered_metric_is_caught_by_the_digest(call: Call, claimed: Path) -> None:
    content = json.loads((claimed / RESULT).read_text())
    content["metrics"][0]["value"] = 0.999
    (claimed / RESULT).write_text(json.dumps(content))
    answer = call("verify", claimed, "--model", "jem", "--chunks", 0)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "it was altered" in answer.err


def test_altered_records_are_caught(call: Call, claimed: Path) -> None:
    """All hashes made anew: the metrics do not follow any more, and a chunk does not hold."""
    columns = decode((claimed / EXAMPLES).read_bytes())
    test = columns["source"].astype(str) == "test"
    columns["log_px"] = np.where(test, columns["log_px"] + 1.0, columns["log_px"])
    examples = encode(
        {name: np.asarray(column.tolist()) if column.dtype.kind == "O" else column for name, column in columns.items()}
    )
    document = read_result(claimed).model_copy(update={"examples_sha256": sha256(examples)})
    write_result(claimed, document, examples)
    answer = call("verify", claimed, "--model", "jem", "--chunks", 46)
    assert answer.code == 1
    assert "auroc is " in answer.out
    everything = jembench.api.verify(claimed, jembench.Request(models=(jembench.api.parse("jem"),)), chunks=46)
    assert any("log_px of an image is" in line for line in everything.failures)


def test_what_cannot_be_held_against_it_is_one_line(call: Call, measured: Path, tmp_path: Path) -> None:
    answer = call("verify", measured, "--model", "jem", "--track", "gauss")
    assert (answer.code, answer.err.count("jembench: ")) == (2, 1)
    answer = call("verify", measured, "--model", "jem", "--score", "x")
    assert answer.code == 2
    answer = call("verify", tmp_path / "nothing", "--model", "jem")
    assert answer.code == 2


def test_a_folder_of_strangers_is_checked(call: Call, claimed: Path, tmp_path: Path) -> None:
    """By the leaderboard, which lists every file that is not valid."""
    assert archives.faults(tmp_path) == []
    (claimed / RESULT).write_text("{}")
    shutil.copytree(claimed, tmp_path / "other")
    lines = archives.faults(tmp_path)
    assert len(lines) == 2
    answer = call("leaderboard", "--results", tmp_path, "--check", "--output", tmp_path)
    assert answer.code == 2
    assert answer.err.count("has result schema None") == 2


FORGERIES: dict[str, tuple[Callable[[str], bool], Callable[[Any], Any]]] = {
    "columns left out": (lambda column: column in ("source", "index"), lambda metric: metric.n),
    "no n": (lambda column: True, lambda metric: {}),
    "another n": (lambda column: True, lambda metric: {"elsewhere": 9}),
    "one set of a mean": (lambda column: True, lambda metric: dict(list(metric.n.items())[:2])),
}


@pytest.mark.parametrize(("kept", "n"), FORGERIES.values(), ids=FORGERIES)
def test_what_is_left_out_is_not_taken_on_trust(
    call: Call, claimed: Path, kept: Callable[[str], bool], n: Callable[[Any], Any]
) -> None:
    """Every AUROC is near 1, every hash made anew, every chunk of another machine: nothing may pass for checked."""
    document = read_result(claimed)
    columns = {name: column for name, column in decode((claimed / EXAMPLES).read_bytes()).items() if kept(name)}
    examples = encode(
        {name: np.asarray(column.tolist()) if column.dtype.kind == "O" else column for name, column in columns.items()}
    )
    metrics = [
        replace(each, value=0.9999, low=None, high=None, method="none", n=n(each))
        if each.name == "auroc" and each.value is not None
        else each
        for each in document.metrics
    ]
    chunks = [each.model_copy(update={"sha256": "0" * 64}) for each in document.chunks]
    forged = {"metrics": metrics, "chunks": chunks, "examples_sha256": sha256(examples)}
    write_result(claimed, document.model_copy(update=forged), examples)
    answer = call("verify", claimed, "--model", "jem", "--choice", 1)
    assert answer.code == 1, answer.out
    assert answer.out.endswith("does not hold\n")
    assert len(answer.out.splitlines()) <= 20


def test_a_claim_of_fewer_images_does_not_hold(call: Call, claimed: Path) -> None:
    document = read_result(claimed)
    metrics = [
        replace(each, n={**each.n, "test": 7}) if each.id == "noise/mass/auroc" else each for each in document.metrics
    ]
    write_result(claimed, document.model_copy(update={"metrics": metrics}), (claimed / EXAMPLES).read_bytes())
    answer = call("verify", claimed, "--model", "jem", "--chunks", 0)
    assert answer.code == 1
    assert ", n test 7 + noise" in answer.out


@pytest.mark.parametrize("place", ["/home/someone/net.py", "C:\\work\\net.pt", "~/runs/net.pt"])
def test_no_path_of_a_machine_travels(call: Call, claimed: Path, tmp_path: Path, place: str) -> None:
    document = read_result(claimed).model_copy(update={"warnings": (f"mine: {place} is not a file",)})
    write_result(claimed, document, (claimed / EXAMPLES).read_bytes())
    answer = call("submit", claimed, "--to", tmp_path / "mine.zip")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "names a place of this machine" in answer.err
    assert not (tmp_path / "mine.zip").exists()
