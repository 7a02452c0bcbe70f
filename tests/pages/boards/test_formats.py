"""Boards for other programs: the same numbers, and nothing that another program executes."""

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jembench import data
from jembench.evaluators.quantities import Headline
from jembench.metrics.metric import Metric
from jembench.pages.boards import words
from jembench.pages.boards.board import OVERVIEW, Board, Cell, Group, Heading, Ranking, Standing
from jembench.pages.boards.formats import FIELDS, FORMATS, as_csv, as_json, as_latex
from jembench.pages.boards.gather import board
from jembench.zoo import baselines

HOSTILE = '=HYPERLINK("http://x")|`<script>alert(1)</script>`\\input{/etc/passwd}$_^&%#~{}'


@pytest.fixture(scope="module")
def digits() -> Board:
    """The leaderboard of two shipped models."""
    folders = [baselines.folder("digits") / name / "golden" for name in ("jem", "softmax")]
    return board(data.track("digits"), "digits", folders)


def small(name: str, *cells: Cell) -> Board:
    """A board of one model with the given cells."""
    columns = [
        Heading(Headline("test/accuracy", f"acc{place}", "share that is right"), "test/accuracy", "accuracy", "higher")
        for place in range(len(cells))
    ]
    row = Standing(name, (), 1, True, cells, 1234)
    sections = (
        Ranking(OVERVIEW, "headlines", tuple(columns), (row,)),
        Ranking("accuracy", "a", tuple(columns), (row,)),
    )
    return Board("digits-v1", "digits", (Group("v1", "f" * 64, "suite all", False, (), sections),))


VALUE = Metric("accuracy", "test", value=0.5, low=0.4, high=0.6, method="wilson", n={"test": 10}, better="higher")


def test_csv_and_json_hold_the_same_numbers(digits: Board) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(digits))))
    numbers = [number for group in json.loads(as_json(digits))["groups"] for number in group["numbers"]]
    assert list(rows[0]) == list(FIELDS)
    assert len(rows) == len(numbers) > 40
    for row, number in zip(rows, numbers, strict=True):
        assert {key: str(item) if item is not None else "" for key, item in number.items()} == row
    cells = {(number["model"], number["metric"]): number for number in numbers}
    jem = cells["jem", "mean/log_px/auroc"]
    assert jem["trainings"] == 5
    assert jem["spread"] > 0
    assert jem["low"] < jem["value"] < jem["high"]
    assert (jem["band"], cells["softmax", "mean/log_px/auroc"]["band"]) == ("a", "b")


def test_json_has_no_number_that_is_none(digits: Board) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(as_json(digits), parse_constant=refuse)


def test_no_spreadsheet_takes_a_name_for_a_formula() -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv(small(HOSTILE, Cell(VALUE)))))
    assert row["model"] == f"'{HOSTILE}"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(digits: Board, tmp_path: Path) -> None:
    body = as_latex(digits) + as_latex(small(HOSTILE, Cell(VALUE, "ab", True, 0.01, "masked & false")))
    text = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "x.tex").write_text(text)
    done = subprocess.run(["pdflatex", "-halt-on-error", "x.tex"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_latex_escapes_names_and_shows_marks() -> None:
    text = as_latex(small("a_b & 50%", Cell(VALUE, "ab", True, 0.01), Cell(VALUE, fault="masked\ngradients")))
    assert r"a\_b \& 50\% *" in text
    assert r"\textbf{0.500}$^{ab}$ {\scriptsize (0.400--0.600) $\pm$0.010}" in text
    assert r"0.500$^\dagger$" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 2
    for line in text.splitlines():
        assert line.startswith("%") or "masked" not in line


def test_every_format_is_one_text_and_ends_in_a_line(digits: Board) -> None:
    for ending, write in FORMATS.values():
        assert write(digits).endswith("\n")
        assert ending.isalpha()


def test_a_cell_says_value_interval_spread_and_band() -> None:
    assert words.markdown(Cell(VALUE, "ab", True, 0.01)) == "**0.500**<sup>ab</sup> (0.400–0.600) ±0.010"
    assert words.markdown(Cell(replace(VALUE, value=None))) == "—"
    assert words.markdown(Cell(VALUE, fault="masked")) == "0.500† (0.400–0.600)"


def test_notes_say_why_cells_are_marked_and_what_a_tie_may_hide() -> None:
    empty = Metric("accuracy", "test", reason="no logits")
    found = small("mine", Cell(VALUE, fault="masked"), Cell(empty))
    section = found.groups[0].sections[0]
    first = replace(section.columns[0], detectable=0.045)
    notes = words.notes(replace(section, columns=(first, *section.columns[1:])))
    assert "† not reliable: masked (mine)" in notes
    assert "— no logits (mine)" in notes
    assert "* added by a user" in notes
    assert any(note.endswith("4 times in 5: acc0 0.045") for note in notes)


def test_a_glance_fits_a_terminal(digits: Board) -> None:
    lines = words.glance(digits).splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 100
    apart = words.glance(replace(digits, apart=("mine (`ffff`): not ranked with `eeee`, since " + "x " * 200,) * 9))
    assert len(apart.splitlines()) <= 20
    assert "mine (ffff): not ranked with eeee" in apart
    wide = small("m" * 300, *[Cell(VALUE)] * 30)
    assert max(map(len, words.glance(wide).splitlines())) <= 100


def test_the_command_writes_every_format(call: Callable[..., Any], tmp_path: Path) -> None:
    for format, (ending, _) in FORMATS.items():
        answer = call("leaderboard", "--track", "cifar10", "--format", format, "--output", tmp_path)
        assert answer.code == 0
        assert answer.out.splitlines()[-1] == str(tmp_path / f"cifar10.{ending}")
        assert call("leaderboard", "--track", "cifar10", "--format", format, "--output", tmp_path, "--check").code == 0
