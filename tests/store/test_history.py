"""The record of a training run: what is written can be read, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jembench.ground import files
from jembench.store import provenance
from jembench.store.history import HISTORY, Chosen, Epoch, History, Rollback, TrainingCost, read_history, write_history
from jembench.types import UserError

EVENT = Rollback(
    iteration=130,
    reason="the loss is nan",
    signals={"loss": None, "gap": 0.1},
    back_to=100,
    change="learning rate x 0.3",
)


def history(**changes: Any) -> History:
    known: dict[str, Any] = {
        "recipe": "ab" * 32,
        "seed": 3,
        "iterations": 200,
        "parameters": 1234,
        "chosen": Chosen(criterion="nll", iteration=150, value=0.1 + 0.2),
        "rollbacks": [EVENT],
        "epochs": [Epoch(iteration=100, values={"nll": 1 / 3, "train_loss": None})],
        "cost": TrainingCost(seconds=1.5, sampling_seconds=1.0, gradients=10**12, processes=2),
        "environment": provenance.environment("cpu"),
    }
    return History(**known | changes)


def test_what_is_written_can_be_read_to_the_last_bit(tmp_path: Path) -> None:
    write_history(tmp_path / "new", history())
    assert read_history(tmp_path / "new") == history()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [HISTORY]
    text = (tmp_path / "new" / HISTORY).read_text()
    assert text.endswith("}\n")
    assert json.loads(text)["schema_version"] == 1


def test_where_a_run_started_and_on_which_images_is_kept(tmp_path: Path) -> None:
    made = history(initial="cd" * 32, images="ef" * 32)
    write_history(tmp_path, made)
    assert read_history(tmp_path) == made


def test_a_record_from_before_that_was_known_is_read(tmp_path: Path) -> None:
    content = history().model_dump(mode="json")
    del content["initial"], content["images"]
    files.write(tmp_path / HISTORY, json.dumps(content).encode())
    assert read_history(tmp_path) == history()
    assert (history().initial, history().images) == (None, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_null_or_nothing(value: float) -> None:
    for make in (
        lambda: Epoch(iteration=1, values={"nll": value}),
        lambda: Chosen(criterion="last", iteration=1, value=value),
        lambda: Rollback(**{**EVENT.model_dump(), "signals": {"loss": value}}),
    ):
        with pytest.raises(ValidationError, match="finite"):
            make()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("seed"), "seed: Field required"),
        (lambda d: d.update(more=1), "more: Extra inputs"),
        (lambda d: d.update(schema_version=2), "schema_version: Input should be 1"),
        (lambda d: d["rollbacks"][0].update(iteration="x"), "rollbacks/0/iteration: "),
        (lambda d: d["chosen"].update(value="high"), "chosen/value: "),
    ],
)
def test_another_content_is_refused_with_its_place(tmp_path: Path, change: Any, words: str) -> None:
    content = history().model_dump(mode="json")
    change(content)
    files.write(tmp_path / HISTORY, json.dumps(content).encode())
    with pytest.raises(UserError, match=f"training.json: not a valid training record \\({words}"):
        read_history(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_record_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / HISTORY).write_bytes(content)
    with pytest.raises(UserError, match="not a valid training record"):
        read_history(tmp_path)


def test_a_missing_record_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.json: cannot be read \(No such file"):
        read_history(tmp_path)
