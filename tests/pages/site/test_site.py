"""Sites and reports as files: what is in them, where they may be written, how names become files."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench import data
from jembench.metrics.metric import Metric
from jembench.pages.boards import gather
from jembench.pages.boards.board import Board, Cell, Evidence
from jembench.pages.site import profile, render, sheets, svg
from jembench.pages.site import site as sites
from jembench.pages.site.report import report
from jembench.pages.site.site import Exhibit, site
from jembench.pages.site.slugs import Slugs
from jembench.pages.site.tradeoff import tradeoff
from jembench.store.results import read_result
from jembench.zoo import baselines

Call = Callable[..., Any]
OWN = baselines.folder("digits")


@pytest.fixture(scope="module")
def board() -> Board:
    """A leaderboard of three models, two of them attacked too."""
    shipped = [OWN / name / "golden" for name in ("jem", "softmax", "glow")]
    shipped += [OWN / name / "robustness" / place for name in ("jem", "softmax") for place in ("plain", "refine-10")]
    return gather.board(data.track("digits"), "digits", shipped)


@given(st.lists(st.text(max_size=80), max_size=12))
def test_names_become_files_that_no_system_confuses(names: list[str]) -> None:
    slugs = Slugs()
    files = [slugs.new(name) for name in names]
    assert len({file.lower() for file in files}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_][a-z0-9._-]*", file) for file in files)
    assert max(map(len, files), default=0) <= 80


@given(st.text())
def test_data_is_what_it_was_and_ends_no_element(text: str) -> None:
    written = render.data({"name": text})
    assert json.loads(written) == {"name": text}
    assert not set("<>&'\u2028\u2029") & set(written)
    written.encode()


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Lu"])))
def test_hidden_letters_are_seen(text: str) -> None:
    """A page of any text can be written, and no letter of it turns or hides another."""
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00-\x08]", render.visible(text))
    render.visible(text).encode()


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_inside(low: float, width: float) -> None:
    high = low + width
    marks = [value for value, _ in svg.ticks(low, high)]
    slack = 1e-6 * width + 1e-9 * abs(low)
    assert 2 <= len(marks) <= 12 or width < 1e-5 * abs(low)
    assert all(low - slack <= mark <= high + slack for mark in marks)


def test_points_lie_where_their_values_are() -> None:
    drawing = svg.Drawing((0.0, 2.0), (0.0, 1.0))
    (left, bottom), (right, top) = drawing.at(0.0, 0.0), drawing.at(2.0, 1.0)
    assert drawing.at(1.0, 0.5) == ((left + right) / 2, (top + bottom) / 2)
    assert left < right
    assert top < bottom, "pixels count from the top"
    assert drawing.at(99.0, -5.0) == (right, bottom), "what is outside lies at the edge"


def test_a_cell_says_what_its_number_is() -> None:
    metric = Metric("accuracy", "test", value=0.5, low=0.25, high=1.0, method="wilson")
    cell = sheets.cell(Cell(metric, band="ab", best=True, spread=0.125), (0.0, 1.0))
    for words in ('data-v="0.5"', "v bold", ">ab<", "0.250–1.000 ±0.125", "--a:25;--v:50;--b:100"):
        assert words in cell
    assert "†" in sheets.cell(Cell(metric, fault="a check failed"), None)
    assert sheets.cell(Cell(replace(metric, value=None)), None) == '<td class="none">—</td>'


def test_axes_are_of_one_protocol_each_and_behind_a_defence_is_the_same_model(board: Board) -> None:
    exhibits = [Exhibit(board)]
    files = dict(site(exhibits))
    assert {name for name in files if "/" in name} == {
        f"model/digits-{name}.html" for name in ("jem", "softmax", "glow")
    }
    found = tradeoff(board, lambda row: row.name)
    assert found is not None
    groups = [axis["group"] for axis in found["axes"]]
    for group in board.groups:
        assert sum(group.hash[:6] in words for words in groups) == sum(
            len(section.columns) for section in group.sections if section.key != "overview"
        )
    values = {
        place: number[0] for point in found["points"] for place, number in point["at"].items() if point["name"] == "jem"
    }
    row = next(row for row in board.groups[0].sections[1].rows if row.name == "jem")
    assert values[0] == pytest.approx(row.cells[0].metric.value, rel=1e-5)


def test_a_figure_that_failed_a_check_is_no_point(board: Board) -> None:
    group = board.groups[0]
    section = group.section("accuracy")
    assert section is not None
    rows = tuple(replace(row, cells=(replace(row.cells[0], fault="masked"),)) for row in section.rows)
    bad = replace(board, groups=(replace(group, sections=(replace(section, rows=rows), *group.sections[2:])),))
    found = tradeoff(bad, lambda row: row.name)
    assert found is not None
    assert all(0 not in point["at"] for point in found["points"])
    page = dict(site([Exhibit(bad)]))["digits.html"].decode()
    assert "† not reliable, never ranked: masked" in page


def test_many_models_are_without_pictures(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dict(site([Exhibit(board)]))["model/digits-jem.html"]
    monkeypatch.setattr(sites, "MOST", 2)
    lean = dict(site([Exhibit(board)]))["model/digits-jem.html"]
    assert b"<svg" in whole
    assert b"<svg" not in lean
    assert b"Pictures are left out" in lean
    assert len(lean) < len(whole) / 5


def test_examples_of_a_stranger_cost_their_pictures_alone(tmp_path: Path) -> None:
    document = read_result(OWN / "softmax" / "golden")
    (tmp_path / "examples.parquet").write_bytes(b"no table")
    assert list(profile.of_examples(Evidence(document, tmp_path))) == []
    assert "Headlines" in report(Evidence(document, tmp_path))


def test_only_pictures_are_shown(tmp_path: Path) -> None:
    (tmp_path / "samples-fresh.png").write_bytes(b"<svg onload=alert(1)>")
    (tmp_path / "neighbours.png").write_bytes(profile.PNG + b"pixels")
    (found,) = profile.images([tmp_path])
    assert found[0] == profile.PICTURES["neighbours"]


def test_a_report_stands_alone() -> None:
    """No address of another file, every table, and the numbers of the result."""
    page = report(Evidence(read_result(OWN / "jem" / "golden"), OWN / "jem" / "golden"))
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("<details>") > 10
    assert page.count("<svg") == 6
    assert "0.989" in page


def test_the_command_writes_a_site_and_touches_nothing_else(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "site"
    for _ in range(2):  # a site of ours is written anew
        answer = call("site", "--track", "cifar100", "--output", out)
        assert (answer.code, answer.out) == (0, f"{out / 'index.html'}: 1 track, 0 models, 0.0 MB\n")
    assert {path.name for path in out.iterdir()} == {"index.html", "cifar100.html", "site.css", "site.js"}
    assert "published" in (out / "cifar100.html").read_text().lower()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "index.html").write_text("mine")
    answer = call("site", "--track", "cifar100", "--output", tmp_path / "thesis")
    assert answer.code == 2
    assert "holds something else than a site" in answer.err
    assert (tmp_path / "thesis" / "index.html").read_text() == "mine"


def test_the_command_names_what_is_wrong(call: Call, tmp_path: Path) -> None:
    for words, arguments in (
        ("no results and no published rows", ("site", "--track", "gauss", "-o", tmp_path / "a")),
        (
            "a track that the site does not show",
            ("site", "-t", "cifar100", "--add", OWN / "glow" / "golden", "-o", tmp_path / "b"),
        ),
        ("a report is an .html", ("report", OWN / "glow" / "golden", "-o", tmp_path / "c.pdf")),
    ):
        answer = call(*arguments)
        assert answer.code == 2
        assert words in answer.err
        assert len(answer.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    answer = call("report", OWN / "glow" / "golden", "-o", tmp_path / "d.html")
    assert answer.code == 0
    assert (tmp_path / "d.html").read_text().startswith("<!doctype html>")
