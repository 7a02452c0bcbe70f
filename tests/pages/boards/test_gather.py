"""Which results share a table, which are one model, and what a user's own join."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import jembench
from jembench import data
from jembench.api import Result
from jembench.ground.identity import identity
from jembench.metrics.metric import Metric
from jembench.pages.boards.board import OVERVIEW, Board, Group, Standing
from jembench.pages.boards.gather import added, board, of_track
from jembench.store.results import ProtocolEntry, ResultDocument, write_result
from jembench.types import UserError

GAUSS = data.track("gauss")
Copy = Callable[..., Path]


@pytest.fixture
def copy(oracle: Result, tmp_path: Path) -> Copy:
    """A function that writes the oracle's result under another name, with a part of its evaluators or other numbers."""
    examples = (oracle.folder / "examples.parquet").read_bytes()

    def copy(
        name: str,
        *evaluators: str,
        weights: str = "",
        accuracy: float | None = None,
        created: str = "2026-01-01T00:00:00+00:00",
        edit: Callable[[ProtocolEntry], ProtocolEntry] = lambda protocol: protocol,
    ) -> Path:
        document = oracle.document
        protocol = document.protocol
        if evaluators:
            protocol = protocol.model_copy(
                update={"evaluators": [each for each in protocol.evaluators if each["name"] in evaluators]}
            )
        protocol = edit(protocol)
        chosen = {each["name"] for each in protocol.evaluators}
        metrics = [_with(metric, accuracy) for metric in document.metrics if metric.evaluator in chosen]
        update = {
            "model": document.model.model_copy(update={"name": name, "weights_sha256": identity([name, weights])}),
            "protocol": protocol,
            "protocol_hash": identity(protocol.model_dump(mode="json")),
            "metrics": metrics,
            "provenance": document.provenance.model_copy(update={"created": created}),
        }
        folder = tmp_path / identity([name, evaluators, weights, accuracy, created, str(protocol)])[:10]
        write_result(folder, document.model_copy(update=update), examples)
        return folder

    return copy


def _with(metric: Metric, accuracy: float | None) -> Metric:
    return metric if accuracy is None or metric.id != "test/accuracy" else replace(metric, value=accuracy)


def fewer(protocol: ProtocolEntry) -> ProtocolEntry:
    facts = protocol.sources["test"]
    return protocol.model_copy(update={"sources": {**protocol.sources, "test": facts.model_copy(update={"n": 10})}})


def later(protocol: ProtocolEntry) -> ProtocolEntry:
    changed = [{**each, "version": 99} if each["name"] == "accuracy" else each for each in protocol.evaluators]
    return protocol.model_copy(update={"evaluators": changed})


def gathered(shipped: list[Path], *guests: Path) -> Board:
    return board(GAUSS, "", shipped, [added(folder, GAUSS) for folder in guests])


def rows(group: Group, key: str = OVERVIEW) -> dict[str, Standing]:
    section = group.section(key)
    assert section is not None
    return {row.name: row for row in section.rows}


def test_a_result_of_a_part_joins_the_table_of_the_whole(copy: Copy) -> None:
    found = gathered([copy("jem"), copy("softmax")], copy("mine", "ood", "accuracy"))
    (group,) = found.groups
    assert not found.apart
    assert [(row.name, row.guest) for row in rows(group).values()] == [
        ("jem", False),
        ("mine", True),
        ("softmax", False),
    ]
    assert list(rows(group, "calibration")) == ["jem", "softmax"]
    mine = rows(group)["mine"]
    overview = group.section(OVERVIEW)
    assert overview is not None
    values = dict(zip((column.evaluator for column in overview.columns), mine.cells, strict=True))
    assert values["accuracy"].metric.value is not None
    assert values["accuracy"].band == "a"
    assert values["likelihood"].metric.value is None


def test_several_results_of_one_model_are_one_row(copy: Copy) -> None:
    found = gathered([copy("jem")], copy("mine", "ood"), copy("mine", "accuracy"))
    mine = rows(found.groups[0])["mine"]
    assert len(mine.parts) == 2
    assert mine.trainings == 1
    assert list(rows(found.groups[0], "ood")) == list(rows(found.groups[0], "accuracy")) == ["jem", "mine"]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [(fewer, "n of 'test' is 10, not "), (later, "version of evaluator 'accuracy' is 99, not 1")],
)
def test_other_data_and_other_versions_are_set_apart_with_the_reason(
    copy: Copy, edit: Callable[[ProtocolEntry], ProtocolEntry], reason: str
) -> None:
    found = gathered([copy("jem"), copy("softmax")], copy("mine", edit=edit))
    assert [len(group.members) for group in found.groups] == [2, 1]
    (words,) = found.apart
    assert words.startswith("mine (`")
    assert reason in words
    assert "mine" not in rows(found.groups[0])
    assert [cell.band for cell in rows(found.groups[1])["mine"].cells] == [""] * len(
        rows(found.groups[1])["mine"].cells
    )


def test_weights_of_one_name_are_its_trainings(copy: Copy) -> None:
    runs = [copy("mine", weights=str(value), accuracy=value) for value in (0.8, 0.82, 0.84)]
    mine = rows(gathered([copy("jem")], *runs).groups[0], "accuracy")["mine"]
    assert mine.trainings == 3
    assert mine.cells[0].metric.value == pytest.approx(0.82)
    assert mine.cells[0].spread == pytest.approx(0.02)


def test_of_the_same_weights_the_latest_result_counts(copy: Copy) -> None:
    runs = [
        copy("mine", accuracy=value, created=f"2026-0{month}-01T00:00:00+00:00")
        for month, value in ((3, 0.8), (2, 0.7))
    ]
    mine = rows(gathered([copy("jem")], *runs).groups[0], "accuracy")["mine"]
    assert (mine.trainings, mine.cells[0].metric.value) == (1, 0.8)


def test_a_users_model_of_a_shipped_name_is_another_row(copy: Copy) -> None:
    found = gathered([copy("jem")], copy("jem", weights="mine"))
    assert {name: row.guest for name, row in rows(found.groups[0]).items()} == {"jem": False, "jem (added)": True}


def test_of_results_those_of_the_track_count(copy: Copy, digits: dict[str, Result]) -> None:
    folder = copy("mine")
    found = of_track([digits["jem"].folder, folder], GAUSS)
    assert [part.document.model.name for part in found] == ["mine"]
    with pytest.raises(UserError, match="the result of 'jem' is of digits-v1, not gauss-v1"):
        added(digits["jem"].folder, GAUSS)


def test_trainings_of_different_metrics_are_no_trainings_of_one_model(copy: Copy, oracle: Result) -> None:
    one, other = copy("mine", weights="0"), copy("mine", weights="1")
    document = ResultDocument.model_validate_json((other / "result.json").read_bytes())
    examples = (other / "examples.parquet").read_bytes()
    write_result(other, document.model_copy(update={"metrics": document.metrics[1:]}), examples)
    with pytest.raises(UserError, match="not results of different training seeds"):
        gathered([copy("jem")], one, other)


def test_a_model_of_the_shelf_is_added_by_its_name(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its results of the track, whatever their suites; a name that is none is one line."""
    monkeypatch.chdir(tmp_path)
    for suite in ("accuracy", "calibration"):
        jembench.evaluate("softmax", suite, output=Path("jembench-runs"), progress=False)
    answer = call("leaderboard", "--add", "softmax", "--output", "boards")
    assert answer.code == 0
    assert answer.out.splitlines()[1].startswith("softmax (added) *")
    assert "| softmax (added) *" in Path("boards/digits.md").read_text()
    answer = call("leaderboard", "--add", "nobody", "--output", "boards")
    assert (answer.code, answer.err.splitlines()[-1]) == (
        2,
        "jembench: nobody: neither a result nor a model with one of digits-v1 in jembench-runs",
    )
    assert call("leaderboard", "--all", "--add", "softmax").code == 2
