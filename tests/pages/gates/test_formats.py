"""What a gate says: on a terminal, in a pull request, to a build; names of strangers stay names."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Metric
from jembench.pages.gates import formats
from jembench.pages.gates.rule import Rule
from jembench.pages.gates.text import text
from jembench.pages.gates.verdict import GateVerdict, Judgement, Outcome, judge
from jembench.pages.pairs.differences import Difference
from jembench.pages.pairs.side import Side
from jembench.store.results import read_result
from jembench.zoo import baselines

HOSTILE = (
    "x|y<script>alert(1)</script>`*_[a](http://evil.example)\n::error::@all & www.evil.example ]]> 100%\x00\x1b[31m"
)


def row(name: str, outcome: Outcome, change: float = -0.1, p: float | None = 0.001) -> Judgement:
    before = Metric(name, "test", value=0.9, better="higher", tolerance=0.01)
    after = replace(before, value=0.9 + change)
    estimate = Estimate(change, change - 0.02, change + 0.02, "newcombe")
    return Judgement(before, after, outcome, 0.01, difference=Difference(before.id, before, after, estimate, p), p=p)


@pytest.fixture
def verdict() -> GateVerdict:
    """Two regressions, one of them missing, an improvement, one that is the same and one without a test."""
    gone = Metric("gone", "test", value=0.5, better="higher", tolerance=0.01)
    rows = [
        Judgement(gone, replace(gone, value=None, reason="no logits"), "missing", 0.01, reason="no logits"),
        row("worse", "worse"),
        row("better", "better", 0.05),
        replace(row("free", "not tested", p=None), reason="no interval"),
        row("same", "unchanged", 0.0, 1.0),
    ]
    document = read_result(baselines.folder("digits") / "jem" / "golden")
    return GateVerdict(document, document, "other weights", Rule(), rows)


def hostile(verdict: GateVerdict) -> GateVerdict:
    """The same with names that would be markup, a command or a control character."""
    rows = [replace(each, before=replace(each.before, variant=HOSTILE), reason=HOSTILE) for each in verdict.rows]
    model = verdict.fresh.model.model_copy(update={"name": HOSTILE})
    return replace(verdict, rows=rows, fresh=verdict.fresh.model_copy(update={"model": model}))


def test_it_is_a_screen(verdict: GateVerdict) -> None:
    head, who, *rows = text(verdict).splitlines()
    assert head.startswith("jembench gate: 2 regressions, 1 improvement, 1 unchanged, 1 not tested")
    assert head.endswith("360 images, paired")
    assert who == "jem on digits-v1, suite all · other weights: beyond tolerance and Holm's p<.05"
    assert [re.split(" {2,}", line) for line in rows] == [
        ["missing", "test/gone", ".500 → —", "no logits"],
        ["worse", "test/worse", ".900 → .800", "-.100 [-.120, -.080]", "p=.001", "tolerance .01"],
        ["better", "test/better", ".900 → .950", "+.050 [.030, .070]", "p=.001", "tolerance .01"],
        ["not tested, never fails: test/free"],
    ]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 18, 400])
def test_it_has_at_most_20_lines_of_100_columns(count: int, verdict: GateVerdict) -> None:
    """What is left out is counted; with --full there is a line for every metric."""
    names = [f"a-set-with-a-long-name-{place}/and-a-score-with-one-too/quantity" for place in range(count)]
    long = replace(verdict, rows=[row(name, "worse", -123456.789) for name in names])
    lines = text(long).splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 100
    shown = sum(line.startswith("worse") for line in lines)
    assert shown == count or lines[-1] == f"… {count - shown} more: --full"
    whole = text(long, full=True)
    assert all(name in whole for name in names)


def test_hostile_names_keep_the_screen(verdict: GateVerdict) -> None:
    lines = text(hostile(verdict)).split("\n")
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 100
    assert not any(line.startswith("::") for line in lines)
    assert "\x1b" not in "".join(lines)


class Tags(HTMLParser):
    """The names of all tags."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)


def test_markdown_is_a_table_and_the_rest_is_folded(verdict: GateVerdict) -> None:
    words = formats.markdown(verdict)
    top, folded = words.split("<details>")
    assert top.startswith("### ❌ jembench gate: 2 regressions")
    assert [line.split("|")[1].strip() for line in top.splitlines() if line.startswith("|")][2:] == [
        "missing",
        "worse",
        "better",
    ]
    assert "<summary>2 more</summary>" in folded
    assert formats.markdown(replace(verdict, rows=verdict.rows[2:])).startswith("### ✅")


def test_markdown_of_hostile_names_has_no_markup_of_theirs(verdict: GateVerdict) -> None:
    words = formats.markdown(hostile(verdict))
    tags = Tags()
    tags.feed(words)
    assert set(tags.names) == {"code", "details", "summary"}
    assert {line.count("|") for line in words.splitlines() if line.startswith("|")} == {7}
    for mark in ("`", "*", "_", "[", "](", "://", "www.", "@", "\x00", "\x1b"):
        assert mark not in words, mark


@given(st.text())
def test_plain_words_are_one_line_without_markup(words: str) -> None:
    assert not set(formats.plain(words)) & set("|<>`*_[]()@:\n\r!~\\\"'")


def test_junit_has_a_case_for_every_metric(verdict: GateVerdict) -> None:
    root = ElementTree.fromstring(formats.junit(verdict))
    (suite,) = root
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "5",
        "failures": "2",
        "skipped": "1",
        "errors": "0",
    }
    kinds = {case.get("name"): [child.tag for child in case] for case in suite}
    assert kinds == {
        "test/gone": ["failure"],
        "test/worse": ["failure"],
        "test/better": ["system-out"],
        "test/free": ["skipped"],
        "test/same": ["system-out"],
    }
    failure = suite.find("testcase[@name='test/worse']/failure")
    assert failure is not None
    assert failure.get("message") == "worse: .900 → .800, -.100 [-.120, -.080], p=.001, tolerance .01"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_junit_of_any_name_is_xml(name: str) -> None:
    case = replace(row("x", "worse"), before=Metric(name, "test", value=0.9, better="higher"))
    element = ElementTree.fromstring(ElementTree.tostring(ElementTree.Element("a", {"b": formats._legal(case.id)})))
    assert element.tag == "a"


def test_junit_of_hostile_names_is_xml(verdict: GateVerdict) -> None:
    root = ElementTree.fromstring(formats.junit(hostile(verdict)))
    assert {each.tag for each in root.iter()} == {
        "testsuites",
        "testsuite",
        "testcase",
        "failure",
        "skipped",
        "system-out",
    }


def test_json_has_everything(verdict: GateVerdict) -> None:
    content = json.loads(formats.document(verdict))
    assert content["passed"] is False
    assert content["counts"] == {"missing": 1, "worse": 1, "better": 1, "not_tested": 1, "unchanged": 1}
    gone, worse, *_ = content["metrics"]
    assert (gone["difference"], gone["reason"], gone["fresh"]["value"]) == (None, "no logits", None)
    assert worse["difference"] == -0.1
    assert (worse["low"], worse["high"], worse["p_holm"], worse["tolerance"]) == (-0.1 - 0.02, -0.1 + 0.02, 0.001, 0.01)
    page = (Path(__file__).parents[3] / "docs" / "gate.md").read_text(encoding="utf-8")
    keys = {*content, *worse, *content["fresh"]}
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_annotations_are_one_line_each(verdict: GateVerdict) -> None:
    lines = formats.github(verdict).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::notice"]
    assert lines[1] == (
        "::error title=jembench gate%3A test/worse::worse: .900 → .800, -.100 [-.120, -.080], p=.001, tolerance .01"
    )
    many = replace(verdict, rows=[row(f"m{place}", "worse") for place in range(30)])
    lines = formats.github(many).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "::error title=jembench gate%3A more::21 more metrics are worse"


def test_annotations_of_hostile_names_are_no_commands_of_theirs(verdict: GateVerdict) -> None:
    lines = formats.github(hostile(verdict)).split("\n")
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::notice", ""]
    for line in lines[:2]:
        title = line.partition("title=")[2].partition("::")[0]
        assert ":" not in title
        assert "," not in title
        assert "%25" in line
        assert "%0A" in line


def test_differences_are_told_from_0() -> None:
    """Two digits of a small difference are shown, and no sign of none."""
    places = [baselines.folder("digits") / name / "golden" for name in ("jem", "softmax")]
    sides = [Side(place.parent.name, read_result(place), place) for place in places]
    for each in judge(sides[1], sides[0]).rows:
        if each.difference is not None and abs(each.difference.estimate.value) > 1e-5:
            word = re.search(r"[+-]?[\d.]+ ?", formats.change(each))
            assert word is not None
            assert float(word[0]) == pytest.approx(each.difference.estimate.value, rel=0.06)
