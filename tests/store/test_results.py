"""Result folders: they come back as written, and every kind of damage is one line."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jembench
from jembench.api import Result
from jembench.ground.identity import identity
from jembench.store import provenance
from jembench.store.results import EXAMPLES, RESULT, read_result, write_result
from jembench.types import UserError


def test_a_result_comes_back(oracle: Result, tmp_path: Path) -> None:
    document = oracle.document
    assert read_result(oracle.folder) == document
    write_result(tmp_path / "new", document, (oracle.folder / EXAMPLES).read_bytes())
    assert read_result(tmp_path / "new") == document
    assert (tmp_path / "new" / RESULT).read_bytes() == (oracle.folder / RESULT).read_bytes()


def test_the_file_says_all_that_a_reader_needs(oracle: Result) -> None:
    """Plain JSON: value, interval and n of every metric, cost, provenance, and the hash of the protocol."""
    content = json.loads((oracle.folder / RESULT).read_text())
    assert content["schema_version"] == 1
    assert content["protocol_hash"] == identity(content["protocol"])
    for metric in content["metrics"]:
        assert {"value", "low", "high", "method", "n", "better", "reason"} <= set(metric)
    assert content["cost"]["seconds"] > 0
    assert content["cost"]["peak_memory_mb"] > 0
    (environment,) = content["provenance"]["environments"]
    assert {"numpy", "torch"} <= set(environment["packages"])
    assert environment["jembench"] == jembench.__version__
    assert content["chunks"][0]["measurement"] == {"name": "logits", "version": 1}
    for metric in content["metrics"]:
        assert "tolerance" in metric


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one place in the document."""

    def change(content: Any) -> None:
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = value

    return change


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "newer schema": (put("schema_version", value=2), "has result schema 2, this jembench reads schema 1"),
    "no schema": (lambda content: content.pop("schema_version"), "has result schema None"),
    "protocol": (put("protocol", "track", value="digits-v2"), "protocol_hash is not the hash of protocol"),
    "protocol hash": (put("protocol_hash", value="0" * 64), "protocol_hash is not the hash of protocol"),
    "NaN metric": (put("metrics", 0, "value", value=float("nan")), "NaN is no number"),
    "infinite end": (put("metrics", 0, "high", value=float("inf")), "Infinity is no number"),
    "NaN cost": (put("cost", "seconds", value=float("nan")), "NaN is no number"),
    "NaN protocol": (put("protocol", "extra", value=float("nan")), "not a valid result"),
    "unknown key": (put("rank", value=1), "rank: Extra inputs are not permitted"),
    "unknown key of a metric": (put("metrics", 0, "rank", value=1), "metrics/0/rank: Unexpected keyword argument"),
    "unknown key of a chunk": (put("chunks", 0, "rank", value=1), "chunks/0/rank: Extra inputs are not permitted"),
    "missing key": (lambda content: content.pop("cost"), "cost: Field required"),
    "word for a number": (put("metrics", 0, "value", value="good"), "metrics/0/value: "),
    "no such direction": (put("metrics", 0, "better", value="sideways"), "metrics/0/better: "),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_document_is_one_line(
    oracle: Result, tmp_path: Path, damage: Callable[[dict[str, Any]], None], words: str
) -> None:
    content = json.loads((oracle.folder / RESULT).read_text())
    damage(content)
    check(oracle, tmp_path, json.dumps(content).encode(), words)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b'{"schema_version": 1}', b"[" * 100_000],
    ids=["empty", "truncated", "null", "list", "number", "no UTF-8", "nearly empty", "deep"],
)
def test_what_is_no_document_is_one_line(oracle: Result, tmp_path: Path, text: bytes) -> None:
    check(oracle, tmp_path, text, RESULT)


def test_a_truncated_document_is_one_line(oracle: Result, tmp_path: Path) -> None:
    whole = (oracle.folder / RESULT).read_bytes()
    for size in range(1, len(whole) - 2, len(whole) // 20):
        check(oracle, tmp_path, whole[:size], "not a valid result")


def check(oracle: Result, folder: Path, text: bytes, words: str) -> None:
    (folder / RESULT).write_bytes(text)
    (folder / EXAMPLES).write_bytes((oracle.folder / EXAMPLES).read_bytes())
    with pytest.raises(UserError) as error:
        read_result(folder)
    assert words in str(error.value)
    assert str(folder / RESULT) in str(error.value)
    assert "\n" not in str(error.value)


def test_other_examples_are_not_the_results(oracle: Result, tmp_path: Path) -> None:
    (tmp_path / RESULT).write_bytes((oracle.folder / RESULT).read_bytes())
    with pytest.raises(UserError, match=r"examples\.parquet: no such file"):
        read_result(tmp_path)
    content = bytearray((oracle.folder / EXAMPLES).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / EXAMPLES).write_bytes(content)
    with pytest.raises(UserError, match=r"not the examples that result\.json was made with"):
        read_result(tmp_path)


def test_an_empty_folder_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"result\.json: no such file"):
        read_result(tmp_path)


def test_the_commit_is_never_that_of_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install or a clone was not built, so its commit is null, wherever the user stands."""
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "mine"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    built = Path(jembench.__file__).parent / "_build.json"
    result = jembench.evaluate("oracle", "accuracy", track="gauss", limit=10)
    (environment,) = result.document.provenance.environments
    found = environment.commit
    assert found == provenance.commit()
    assert found != head
    assert (found is None) or built.exists()
