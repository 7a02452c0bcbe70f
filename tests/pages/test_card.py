"""Cards: what the files of a folder say, and a section less where one is missing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jembench.api import Result
from jembench.pages.card import card
from jembench.pages.tables.report import text
from jembench.store import provenance
from jembench.store.history import Chosen, Epoch, History, Rollback, TrainingCost, write_history
from jembench.types import UserError
from jembench.zoo import baselines

Call = Callable[..., Any]

TOML = """
track = "digits"
about = "a test of cards"
[model]
kind = "jem"
width = 4
std = 0.5
[objective]
log_px = 0.25
energy_l2 = 0.0
[optimiser]
decay_at = [0.5, 0.75]
sam = 0.1
[sampling]
[training]
iterations = 1200
batch = 64
"""
EVENT = Rollback(iteration=77, reason="the loss | is nan", signals={}, back_to=50, change="learning rate x 0.3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with nothing but a recipe."""
    made = tmp_path / "baselines" / "mine"
    made.mkdir(parents=True)
    (made / "recipe.toml").write_text(TOML)
    return made


def history(gradients: int = 1_500_000, events: tuple[Rollback, ...] = (), chosen: int = 1150) -> History:
    return History(
        recipe="r",
        seed=3,
        iterations=1200,
        parameters=12345,
        chosen=Chosen(criterion="nll", iteration=chosen, value=0.5),
        rollbacks=list(events),
        epochs=[
            Epoch(iteration=i, values={"accuracy": i / 2000, "ece": None, "auroc_log_px": 0.75})
            for i in (1100, 1150, 1200)
        ],
        cost=TrainingCost(seconds=2000.0, sampling_seconds=1500.0, gradients=gradients, processes=2),
        environment=provenance.environment("cpu"),
    )


def rows(content: str) -> list[list[str]]:
    """The cells of all tables."""
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in content.splitlines() if line[:1] == "|"]


def test_a_recipe_alone(folder: Path) -> None:
    """Only what differs from the defaults; energy_l2 = 0 and batch = 64 do not."""
    content = card(folder)
    assert content.startswith(
        "# mine on digits\n\nA test of cards. Written by `jembench maintain cards`; edit NOTES.md.\n"
    )
    assert rows(content)[2:] == [
        ["model", "kind jem, width 4, std 0.5"],
        ["objective", "log_px 0.25"],
        ["optimiser", "decay_at 0.5 0.75, sam 0.1"],
        ["sampling", "defaults"],
        ["training", "iterations 1200"],
    ]
    assert [line for line in content.splitlines() if line.startswith("## ")] == ["## Recipe"]


def test_the_training_record(folder: Path) -> None:
    write_history(folder, history(events=(EVENT,)))
    content = card(folder)
    for row in (
        ["parameters", "12,345"],
        ["iterations", "1,200, seed 3"],
        ["SGLD", "75% of the time, 1,500,000 input gradients of single images"],
        ["rollbacks", "1"],
        ["checkpoint", "iteration 1,150, by nll"],
        ["validation at 1,150", "accuracy 0.575, AUROC log p(x) 0.750"],
        ["77", r"the loss \| is nan", "50", "learning rate x 0.3"],
    ):
        assert row in rows(content)
    assert "2,000 s in 2 processes on cpu" in content


def test_no_sgld_no_rollback_and_a_checkpoint_between_validations(folder: Path) -> None:
    write_history(folder, history(gradients=0, chosen=1199))
    content = card(folder)
    assert "SGLD" not in content
    assert "reason" not in content
    assert ["rollbacks", "0"] in rows(content)
    assert ["validation at 1,150", "accuracy 0.575, AUROC log p(x) 0.750"] in rows(content)
    write_history(folder, history(chosen=5))
    assert "validation at" not in card(folder)


def test_the_golden_result(folder: Path, oracle: Result) -> None:
    shutil.copytree(oracle.folder, folder / "golden")
    content = card(folder)
    accuracy, auroc = (oracle.metrics[name] for name in ("test/accuracy", "mean/log_px/auroc"))
    test, *others = auroc.n.values()
    assert ["accuracy", text(accuracy), str(test)] in rows(content)
    assert ["mean AUROC of log p(x)", text(auroc), f"{test} + {sum(others)} OOD"] in rows(content)


@pytest.mark.parametrize("path", [p for t in ("digits", "cifar10") for p in baselines.recipes(t).values()], ids=str)
def test_a_card_is_short(path: Path) -> None:
    assert len(card(path.parent).splitlines()) <= 80


def test_notes_and_pictures_are_taken_over(folder: Path) -> None:
    (folder / "NOTES.md").write_text("\nBy *hand*: ± 1.\n\n", encoding="utf-8")
    (folder / "curve.png").touch()
    content = card(folder)
    assert content.endswith("\n\n![the training run](curve.png)\n\n## Faults and notes\n\nBy *hand*: ± 1.\n")
    assert "samples.png" not in content


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("recipe.toml", b"track = 'digits'", "recipe.toml: model: Field required"),
        ("training.json", b"{}", "not a valid training record"),
        ("NOTES.md", b"\xff", "NOTES.md: not readable"),
        ("golden/result.json", b"{}", "examples.parquet: no such file"),
    ],
)
def test_a_bad_file_is_named(folder: Path, name: str, content: bytes, words: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        card(folder)


def test_a_golden_result_over_a_part_of_a_published_set_says_so(folder: Path, part: Callable[..., Result]) -> None:
    shutil.copytree(part(limit=40).folder, folder / "golden")
    assert "\n\nSubset: test 40 of 10,000.\n" in card(folder)


@pytest.fixture
def shelf(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models as the baselines of digits, and none of other tracks."""
    shutil.copytree(folder, folder.parent / "other")
    monkeypatch.setattr(baselines, "folder", lambda track: folder.parent if track == "digits" else folder / track)
    return folder.parent


def test_the_command_writes_cards_and_checks_them(call: Call, shelf: Path) -> None:
    assert call("maintain", "cards", "mine").out == f"{shelf / 'mine' / 'README.md'}\n"
    assert (shelf / "mine" / "README.md").read_text() == card(shelf / "mine")
    assert not (shelf / "other" / "README.md").exists()
    stale = call("maintain", "cards", "--check")
    assert (stale.code, stale.out) == (1, f"{shelf / 'mine' / 'README.md'} is current\n")
    assert (
        stale.err
        == f"{shelf / 'other' / 'README.md'} is not current: run `jembench maintain cards other --track digits`\n"
    )
    assert call("maintain", "cards").code == 0
    assert call("maintain", "cards", "--check").code == 0
    (shelf / "mine" / "NOTES.md").write_text("new")
    assert call("maintain", "cards", "mine", "--check").code == 1


def test_the_command_covers_every_track(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless one is named."""
    place = folder.parent
    for track in ("digits", "cifar10"):
        shutil.copytree(folder, place / track / "mine")
    monkeypatch.setattr(baselines, "folder", lambda track: place / track)
    both = [f"{place / track / 'mine' / 'README.md'}\n" for track in ("digits", "cifar10")]
    assert call("maintain", "cards", "--track", "cifar10").out == both[1]
    stale = call("maintain", "cards", "--check")
    assert (stale.code, stale.out) == (1, f"{both[1].strip()} is current\n")
    assert "run `jembench maintain cards mine --track digits`" in stale.err
    assert call("maintain", "cards").out == "".join(both)
    assert call("maintain", "cards", "--check").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["mien"], "did you mean 'mine'?"),
        (["mine", "--track", "digit"], "unknown track 'digit'"),
    ],
)
def test_bad_input_of_the_command(call: Call, shelf: Path, options: list[str], words: str) -> None:
    answer = call("maintain", "cards", *options)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("jembench: ")
    assert answer.err.count("\n") == 1
    assert words in answer.err
