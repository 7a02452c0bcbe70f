"""The command line of attacks: what is wrong is one line and exit code 2, and nothing is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jembench import rebuild
from jembench.choices import batteries, evaluators
from jembench.choices.request import Request
from jembench.engine.measure import measure

RUN = ("run", "--model", "softmax", "--suite", "robustness")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--norm", "linf", "--eps", "0"), "eps 0 is outside of the L∞ threat model, (0, 1]"),
        (("--norm", "linf", "--eps", "-0.1"), "outside of the L∞ threat model"),
        (("--norm", "linf", "--eps", "8"), "8/255"),
        (("--norm", "l2", "--eps", "9"), "outside of the L2 threat model, (0, 8]"),
        (("--norm", "linf", "--eps", "much"), "--eps takes numbers"),
        (("--norm", "linf", "--eps", "1/0"), "--eps takes numbers"),
        (("--norm", "l3"), "unknown norm 'l3'"),
        (("--eps", "0.1"), "name one of them"),
        (("--attack", "sqaure"), "did you mean 'square'?"),
        (("--attack", "absent.py:attack"), "absent.py"),
        (("--attack", "JSMA"), "JSMA"),
        (("--goal", "any"), "unknown goal 'any'"),
        (("--steps", "0"), "at least 1"),
        (("--refine", "one"), "--refine takes whole numbers"),
        (("--refine", "-1"), "--refine takes whole numbers"),
        (("--votes", "3"), "--votes goes with --refine or --smooth"),
        (("--refine", "1", "--votes", "0"), "at least 1 vote"),
        (("--smooth", "-1"), "noise of at least 0"),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...],
    line: str,
    call: Callable[..., Any],
    tree: Callable[[Path], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call(*RUN, *words)
    assert answer.code == 2
    assert line in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""
    assert tree(tmp_path) == {}


def test_refinement_of_a_model_without_logits_or_density(call: Callable[..., Any], tmp_path: Path) -> None:
    answer = call("run", "--model", "glow", "--refine", "1", "--output", tmp_path)
    assert answer.code == 2
    assert "gives no logits" in answer.err
    (tmp_path / "blind.py").write_text(
        "class Blind:\n"
        "    def logits(self, x):\n"
        "        return x.flatten(1)[:, :10]\n\n\n"
        "def build():\n    return Blind()\n"
    )
    answer = call("run", "--model", f"{tmp_path}/blind.py:build", "--refine", "1", "--output", tmp_path)
    assert answer.code == 2
    assert "has no density, so it cannot be refined" in answer.err


def test_foolbox_missing_is_told_with_the_cure(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    monkeypatch.setattr(batteries, "find_spec", lambda name: None)
    answer = call(*RUN, "--attack", "hopskipjump", "--norm", "linf", "--limit", "2", "--output", tmp_path)
    assert answer.code == 2
    assert "pip install 'jembench[foolbox]'" in answer.err


def test_options_of_attacks_are_refused_elsewhere(call: Callable[..., Any], tmp_path: Path) -> None:
    answer = call("run", "--model", "softmax", "--suite", "accuracy", "--steps", "3", "--output", tmp_path)
    assert answer.code == 2
    assert "has no attacks" in answer.err
    answer = call(
        "run", "--model", "softmax", "--suite", "accuracy", "--save-adversarials", tmp_path, "--output", tmp_path
    )
    assert answer.code == 2
    assert "--save-adversarials goes with --suite robustness" in answer.err


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batteries of next to nothing."""
    full = batteries.battery
    small = {
        "attacks": ("square",),
        "queries": 5,
        "steps": 3,
        "restarts": 1,
        "subset": 5,
        "surrogates": (),
        "sigma": 0.0,
    }

    def battery(*arguments: Any, **options: Any) -> Any:
        whole = full(*arguments, **options)
        return replace(whole, **small, images=12, few=5, grids=whole.grids[:1])

    monkeypatch.setattr(evaluators, "battery", battery)


@pytest.mark.usefixtures("tiny")
def test_golden_results_are_made_gated_and_shown(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command that measures them to the gate and the leaderboard; a second time there is nothing to do."""
    output, records = tmp_path / "golden", tmp_path / "records"
    words = ("maintain", "golden", output, "--output", records, "--refine", "1", "--model", "softmax", "--model", "jem")
    answer = call(*words)
    assert answer.code == 0, answer.err
    places = [Path(line).relative_to(output) for line in answer.out.splitlines()]
    assert places == [Path(f"{m}/robustness/{row}") for m in ("softmax", "jem") for row in ("plain", "refine-1")]

    def fail(*arguments: Any, **options: Any) -> None:
        raise AssertionError("computed anew")

    monkeypatch.setattr("jembench.engine.bench._compute", fail)
    assert call(*words).code == 0
    monkeypatch.undo()

    from jembench import data
    from jembench.pages.boards import gather, markdown

    board = gather.board(data.track("digits"), "", [output / place for place in places])
    found = [([part.document.model.name for part in group.members], group.bare) for group in board.groups]
    assert [(sorted(names), bare) for names, bare in found] == [
        (["jem", "softmax"], True),
        (["jem-refine-1", "softmax-refine-1"], False),
    ]
    text = markdown.page(board)
    assert "## Attacks, no defence:" in text
    assert "## Attacks, refined by 1 SGLD step:" in text
    assert "digits-robustness.png" in text


def test_golden_results_of_suite_all_are_those_of_run(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(request: Request, **options: Any) -> Any:
        return measure(replace(request, suites=("accuracy",), limit=20), **options)

    monkeypatch.setattr(rebuild, "measure", short)
    words = ("maintain", "golden", tmp_path, "--suite", "all", "--model", "softmax", "--output", tmp_path / "records")
    answer = call(*words)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [str(tmp_path / "softmax" / "golden")]
    call("run", "--model", "softmax", "--suite", "accuracy", "--limit", "20", "--output", tmp_path / "records")
    (made,) = (tmp_path / "records").rglob("result.json")
    golden, run = (json.loads(path.read_bytes()) for path in (tmp_path / "softmax" / "golden" / "result.json", made))
    assert golden == {key: value for key, value in run.items() if key != "request"}  # which has paths of this machine
    answer = call(*words, "--refine", "1")
    assert (answer.code, answer.out) == (2, "")
    assert "--refine goes with --suite robustness" in answer.err


def test_an_unknown_baseline_has_no_golden_result(call: Callable[..., Any], tmp_path: Path) -> None:
    answer = call("maintain", "golden", tmp_path, "--output", tmp_path, "--model", "jemm")
    assert answer.code == 2
    assert "did you mean" in answer.err
