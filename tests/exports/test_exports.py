"""Exports: what a tool holds of a result is the result, no server is asked, and what cannot be is one line.

``tox -e exports`` runs them with the packages of all targets, which torchattacks's pin keeps out of the environment of
``check``: there the tests of a package that is missing are skipped.
"""

import json
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jembench.exports import TARGETS
from jembench.exports.content import Content, Delivery, content, environment, package
from jembench.types import UserError

GOLDEN = Path(__file__).parents[2] / "baselines" / "digits" / "jem" / "golden"
BLOCK, HEADER = 32768, 7  # of a file of Weights & Biases: blocks of records, as in LevelDB's log


@pytest.fixture
def result(tmp_path: Path) -> Content:
    """A result with a picture."""
    folder = tmp_path / "jem-digits-all"
    folder.mkdir()
    for path in (*GOLDEN.iterdir(), GOLDEN.parent / "curve.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    return content(folder)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was asked of a network other than this machine: it fails, and is noted."""
    asked: list[object] = []
    connect = socket.socket.connect

    def refused(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            asked.append(address)
            raise OSError("no network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refused)
    return asked


def test_numbers_are_all_metrics_with_their_ends(result: Content) -> None:
    numbers = result.numbers
    for metric in result.document.metrics:
        assert numbers.get(metric.id) == metric.value
        if metric.value is not None:
            assert (numbers.get(f"{metric.id}/low"), numbers.get(f"{metric.id}/high")) == (metric.low, metric.high)
    assert {"model": "jem", "track": "digits-v1", "suite": "all", "protocol": "v1"}.items() <= result.settings.items()
    assert result.settings["protocol_hash"] == result.document.protocol_hash


def test_mlflow_holds_the_result_and_takes_it_once(
    result: Content, tmp_path: Path, offline: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    lines = TARGETS["mlflow"]([result], "runs", Delivery())
    assert lines[-1] == "mlflow server --backend-store-uri sqlite:///runs/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("jembench/digits-v1")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics == result.numbers
    assert run.data.params == {name: str(value) for name, value in result.settings.items()}
    held = Path(run.info.artifact_uri.removeprefix("file://"))
    assert held.is_relative_to(tmp_path / "runs")
    assert (held / "tables.md").read_text() == result.tables
    for path in result.files:
        assert (held / path.name).read_bytes() == path.read_bytes()
    assert "is there already" in TARGETS["mlflow"]([result], "runs", Delivery())[0]
    assert len(client.search_runs([experiment.experiment_id])) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "jem-digits-all"}
    assert offline == []


def records(path: Path) -> Iterator[bytes]:
    """The records of a file of Weights & Biases."""
    data, place, parts = path.read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb_holds_the_result_offline(
    result: Content, tmp_path: Path, offline: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home))
    monkeypatch.chdir(tmp_path)
    lines = TARGETS["wandb"]([result], "runs", Delivery())
    place = Path(lines[0].partition(":")[0])
    assert lines[-1] == f"wandb sync {place}"
    (file,) = place.glob("run-*.wandb")
    history, config = {}, {}
    for data in records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            history["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        for item in record.run.config.update:
            config[item.key] = json.loads(item.value_json)
    numbers = result.numbers
    assert {name: history.get(name) for name in numbers} == numbers
    assert {name: config.get(name) for name in result.settings} == result.settings
    assert history["metrics/nrows"] == len(result.document.metrics)
    assert history["pictures/curve/_type"] == "image-file"
    for path in result.files:
        assert (place / "files" / path.name).read_bytes() == path.read_bytes()
    assert (place / "files" / "tables.md").read_text() == result.tables
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert offline == []


def test_a_model_card_has_the_headlines_and_keeps_its_words(
    result: Content, tmp_path: Path, offline: list[object]
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = tmp_path / "card" / "README.md"
    card.parent.mkdir()
    other = hub.EvalResult("text", "wiki", "Wiki", "bleu", 0.5)
    first = hub.ModelCardData(license="mit", model_name="mine", eval_results=[other])
    card.write_text(f"---\n{first.to_yaml()}\n---\n# Mine\n\nWords that I wrote: ünïcode.\n")
    for _ in range(2):  # the second time replaces what the first one wrote
        lines = TARGETS["hf"]([result], "org/name", Delivery(output=card.parent))
        assert lines == [f"{card}: {len(entries(hub, card)) - 1} numbers in its model-index"]
    assert card.read_text().endswith("# Mine\n\nWords that I wrote: ünïcode.\n")
    data = hub.ModelCard(card.read_text()).data
    assert (data.license, data.model_name) == ("mit", "mine")
    found = entries(hub, card)
    assert found.pop("None").metric_value == 0.5
    metrics = {metric.id: metric for metric in result.document.metrics}
    assert {"test/accuracy", "mean/log_px/auroc"} <= set(found) <= set(metrics)
    for name, entry in found.items():
        assert entry.metric_value == metrics[name].value
        assert (entry.metric_args.get("low"), entry.metric_args.get("high")) == (metrics[name].low, metrics[name].high)
        assert entry.dataset_type == "digits"
        assert result.document.protocol_hash[:12] in entry.dataset_config
    assert offline == []


def entries(hub: Any, card: Path) -> dict[str, Any]:
    """The results of a card by the name of their metric."""
    return {str(entry.metric_name): entry for entry in hub.ModelCard(card.read_text()).data.eval_results}


def test_a_new_card_is_of_the_repository_and_is_not_uploaded(
    result: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    sent = []
    monkeypatch.setattr(hub.ModelCard, "push_to_hub", lambda self, place: sent.append((str(self), place)) or "there")

    def absent(place: str) -> None:
        raise hub.errors.EntryNotFoundError("404")

    monkeypatch.setattr(hub.ModelCard, "load", absent)
    TARGETS["hf"]([result], "org/name", Delivery(output=tmp_path))
    assert sent == []
    card = hub.ModelCard((tmp_path / "README.md").read_text())
    assert (card.data.model_name, card.data.tags) == ("name", ["jembench"])
    assert result.tables.strip() in card.text
    lines = TARGETS["hf"]([result], "org/name", Delivery(output=tmp_path, upload=True))
    assert lines[-1] == "there"
    assert [(hub.ModelCard(text).data.to_dict(), place) for text, place in sent] == [(card.data.to_dict(), "org/name")]


def test_an_upload_keeps_the_card_that_the_hub_has(
    result: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    sent = []
    there = hub.ModelCard("---\nlicense: mit\n---\n# Theirs\n")
    monkeypatch.setattr(hub.ModelCard, "push_to_hub", lambda self, place: sent.append(str(self)) or "there")
    monkeypatch.setattr(hub.ModelCard, "load", lambda place: there)
    TARGETS["hf"]([result], "org/name", Delivery(output=tmp_path, upload=True))
    (text,) = sent
    assert text.endswith("# Theirs\n")
    assert "license: mit" in text
    assert "mean/log_px/auroc" in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("hugging:org/name",), "unknown target 'hugging'"),
        (("hf",), "hf: say where: hf:ORG/NAME"),
        (("hf:name",), "hf:name: a repository is called ORG/NAME"),
        (("hf:../name/x",), "hf:../name/x: a repository is called ORG/NAME"),
        (("mlflow:runs", "--upload"), "--output and --upload go with hf:ORG/NAME"),
        (("mlflow:runs", "--output", "x"), "--output and --upload go with hf:ORG/NAME"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    words: tuple[str, ...], line: str, tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call("push", words[0], GOLDEN, *words[1:])
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"jembench: {line}")
    assert answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_cannot_be_read_stays(tmp_path: Path, call: Callable[..., Any]) -> None:
    pytest.importorskip("huggingface_hub")
    card = tmp_path / "README.md"
    card.write_text("---\na: [\n---\nWords.\n")
    answer = call("push", "hf:org/name", GOLDEN, "--output", tmp_path)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"jembench: {card}: not a model card that can be read")
    assert card.read_text() == "---\na: [\n---\nWords.\n"


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(UserError, match=r"^nowhere is not installed: pip install 'jembench\[mlflow\]'$"):
        package("nowhere", "mlflow")


def test_what_a_user_has_set_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "kept")
    monkeypatch.delenv("OURS", raising=False)
    with environment(MINE="ours", OURS="ours"):
        import os

        assert (os.environ["MINE"], os.environ["OURS"]) == ("kept", "ours")
    assert "OURS" not in os.environ


def test_a_push_imports_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    code = (
        "import sys; sys.argv = ['jembench', 'push', 'hf:org/name', sys.argv[1]]; "
        "from jembench.cli import main; main(); assert 'torch' not in sys.modules"
    )
    environ = {"PYTHONPATH": str(GOLDEN.parents[3]), "PATH": "", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(GOLDEN)], cwd=tmp_path, env=environ, check=True)
