"""Files of strangers: two hundred mutations of a result, each refused in one line or harmless on a page."""

import json
import random
import re
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jembench import data
from jembench.pages.boards import gather, markdown
from jembench.store import archives
from jembench.store.records import decode
from jembench.store.results import EXAMPLES, LARGEST, RESULT, read_result
from jembench.types import UserError
from jembench.zoo import baselines

MARKUP = "<img src=x onerror=alert(1)>"
HARM = re.compile(r"<img|<script|[^\\]\]\((javascript|http)|\x1b|\u202e")  # what a page of strangers must not have
WORDS = [
    *(MARKUP, "</script><script>alert(1)</script>", "[x](javascript:alert(1))", "a|b|c", "`a` **b**", "a\nb", "\x00"),
    *("../../etc/passwd", "/etc/passwd", "C:\\x", "\u202egnp.exe", "\x1b[31m", "x" * 100_000, "", "=1+1", "${x}", "%s"),
]
NUMBERS = [1e308, -1e308, 1.2, -3, 10**400, float("nan"), float("inf"), -float("inf"), 2**63, -1, 0, True, None, "1"]


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A shipped result, to be altered."""
    folder = tmp_path / "golden"
    shutil.copytree(baselines.folder("digits") / "glow" / "golden", folder)
    return folder


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is something in a document."""
    found = [path] if path else []
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, item in list(items)[:30]:
        found += places(item, (*path, key))
    return found


def mutation(rng: random.Random, content: dict[str, Any]) -> str:
    """The text of a document with one thing altered."""
    content.pop("digest")
    path = rng.choice(places(content))
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    kind = rng.randrange(6)
    if kind == 0:
        parent[path[-1]] = rng.choice(WORDS)
    elif kind == 1:
        parent[path[-1]] = rng.choice(NUMBERS)
    elif kind == 2:
        parent[path[-1]] = rng.choice([[], {}, [[]], {"a": 1}, [None], {MARKUP: MARKUP}])
    elif kind == 3:
        del parent[path[-1]]
    elif kind == 4 and isinstance(parent, dict):
        parent[rng.choice(WORDS)] = rng.choice([*WORDS, 1])
    else:
        metric = rng.choice(content["metrics"])
        metric[rng.choice(["name", "source", "variant", "reason", "evaluator", "value", "low", "high", "p"])] = (
            rng.choice([*WORDS, *NUMBERS])
        )
    return json.dumps(content)


def torn(rng: random.Random, text: str) -> bytes:
    """A file that was cut, or of which some bits are others."""
    raw = bytearray(text.encode())
    if rng.random() < 0.5:
        return bytes(raw[: rng.randrange(len(raw))])
    for _ in range(20):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def test_two_hundred_mutations_are_refused_in_one_line_or_harmless(golden: Path) -> None:
    """What is still valid escapes into no page: markup of a stranger is text there."""
    rng = random.Random(17)
    original = (golden / RESULT).read_text()
    track, refused = data.track("digits"), []
    for number in range(200):
        text = mutation(rng, json.loads(original))
        (golden / RESULT).write_bytes(torn(rng, text) if number % 5 == 0 else text.encode())
        try:
            part = gather.added(golden, track)
        except UserError as error:
            refused.append(str(error))
            continue
        page = markdown.page(gather.board(track, "", [], [part]))
        assert not HARM.search(page), number
    assert len(refused) > 130
    assert all(words.isprintable() and len(words) < 1000 for words in refused)


def test_a_sentence_of_a_stranger_is_text(golden: Path) -> None:
    content = json.loads((golden / RESULT).read_text())
    content.pop("digest")
    content["warnings"] = [f"{MARKUP} [x](javascript:alert(1)) ![y](http://z)"]
    for metric in content["metrics"]:
        if metric["value"] is None:
            metric["reason"] = f"{MARKUP} [x](javascript:alert(1)) ![y](http://z)"
    (golden / RESULT).write_text(json.dumps(content))
    page = markdown.page(gather.board(data.track("digits"), "", [golden]))
    assert "&lt;img" in page
    assert not HARM.search(page)


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a model's name": lambda content: content["model"].update(name=MARKUP),
    "a line in a name": lambda content: content["model"].update(name="a\nb"),
    "a direction": lambda content: content["model"].update(name="\u202egnp"),
    "a path": lambda content: content.update(suite="../../x"),
    "an accuracy": lambda content: content["metrics"][0].update(name="accuracy", value=1.2, low=None, high=None),
    "an AUROC": lambda content: content["metrics"][-1].update(name="auroc", value=-3.0, low=None, high=None),
    "an accuracy beside a plug-in": lambda content: (
        content.update(plugins={"x": "1"}),
        content["metrics"][0].update(name="accuracy", value=1.2, low=None, high=None),
    ),
    "crossed ends": lambda content: content["metrics"][-1].update(value=0.5, low=0.6, high=0.4),
    "fewer than none": lambda content: content["metrics"][-1].update(n={"test": -1}),
    "twice": lambda content: content["metrics"].append(content["metrics"][0]),
    "a huge number": lambda content: content["metrics"][-1].update(value=10**400),
    "a warning of lines": lambda content: content.update(warnings=["a\nb"]),
    "another time": lambda content: content["provenance"].update(created="<b>now</b>"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_what_cannot_be_is_refused(golden: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((golden / RESULT).read_text())
    content.pop("digest")
    edit(content)
    (golden / RESULT).write_text(json.dumps(content))
    with pytest.raises(UserError, match="not a valid result") as error:
        read_result(golden)
    assert "\n" not in str(error.value)


def test_an_altered_number_does_not_have_the_digest(golden: Path) -> None:
    content = json.loads((golden / RESULT).read_text())
    content["metrics"][-1]["tolerance"] = 0.5
    (golden / RESULT).write_text(json.dumps(content))
    with pytest.raises(UserError, match="its digest is not that of its content: it was altered"):
        read_result(golden)


@pytest.mark.parametrize("name", [RESULT, EXAMPLES])
def test_a_file_of_a_hundred_megabytes_is_refused_unread(golden: Path, name: str) -> None:
    with (golden / name).open("wb") as file:
        file.truncate(LARGEST[name] + (36 << 20))
    with pytest.raises(UserError, match=f"{name}: has .* MiB, no result has more than"):
        read_result(golden)


TEXTS = [
    *('{"a": 1, "a": 2}', "[1]", "NaN", '{"schema_version": NaN}', '{"schema_version": 1e999}', "{" * 100_000),
    *("[" + "[]," * 5_000_000 + "1]", '{"a":' * 50_000, "[" * 3000 + "]" * 3000, "", '"x"', "\ufeff{}"),
    *('{"schema_version": "1"}', '{"schema_version": 1, "x": ' + "[" * 100 + "]" * 100 + "}"),
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_json_that_is_no_document_is_one_line(golden: Path, text: str) -> None:
    (golden / RESULT).write_text(text)
    with pytest.raises(UserError) as error:
        read_result(golden)
    assert "\n" not in str(error.value)


def test_examples_that_claim_too_much_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": pa.array(np.zeros(5_000_000))}), sink, use_dictionary=False)
    monkeypatch.setattr("jembench.store.records.MOST_ROWS", 1_000_000)
    with pytest.raises(ValueError, match="5,000,000 rows, no records have more than 1,000,000"):
        decode(bytes(sink.getvalue()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": ["y" * 10_000] * 100}), sink, use_dictionary=False)
    with pytest.raises(ValueError, match="words of more than 1000 letters"):
        decode(bytes(sink.getvalue()))


def test_a_word_that_is_used_often_is_not_written_out() -> None:
    """Of a dictionary of one long word, 6 KB that would be 8 GB, no more than the word is decoded."""
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(60_000, np.int32)), pa.array(["y" * (1 << 17)]))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": words}), sink, dictionary_pagesize_limit=1 << 28, store_schema=False)
    assert sink.tell() < 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="words of more than 1000 letters"):
        decode(bytes(sink.getvalue()))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


STRANGE = {
    "missing numbers": pa.table({"x": pa.array([1.0, None])}),
    "objects": pa.table({"x": [{"a": 1}]}),
    "lists": pa.table({"x": [[1, 2], [3]]}),
    "bytes": pa.table({"x": [b"y"]}),
    "rows of text": pa.table({"x": pa.array([["a"]], type=pa.list_(pa.string(), 1))}),
    "no numbers a row": pa.table({"x": pa.array([[], []], type=pa.list_(pa.float64(), 0))}),
    "two of one name": pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]),
    "nothing": pa.table({"x": pa.nulls(3)}),
}


@pytest.mark.parametrize("table", STRANGE.values(), ids=STRANGE)
def test_columns_that_no_record_has_are_one_line(table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    with pytest.raises(ValueError, match=r"\w") as error:
        decode(bytes(sink.getvalue()))
    assert "\n" not in str(error.value)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(RESULT, "w") as file:
        for _ in range(70):
            file.write(bytes(1 << 20))


def member(name: str, *, link: bool = False) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (0o120777 if link else 0o644) << 16
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(entry, "/etc/passwd")

    return write


ARCHIVES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a bomb": (bomb, "has more than 64 MiB"),
    "a step out": (member("../result.json"), "'../result.json' in it is not"),
    "a root": (member("/etc/x"), "'/etc/x' in it is not"),
    "another file": (member("setup.py"), "'setup.py' in it is not"),
    "a link": (member(RESULT, link=True), "no such file"),
    "no archive": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "nor a ZIP file of one"),
    "nothing": (lambda path: path.write_bytes(b""), "nor a ZIP file of one"),
}


@pytest.mark.parametrize(("write", "words"), ARCHIVES.values(), ids=ARCHIVES)
def test_archives_that_are_none_are_one_line(tmp_path: Path, write: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "x.zip"
    write(path)
    (line,) = archives.faults(tmp_path)
    assert words in line
    assert "\n" not in line
    assert str(path) in line
    assert [each.name for each in tmp_path.iterdir()] == ["x.zip"]
