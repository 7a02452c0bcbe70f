"""Leaderboards: from golden results alone, and bold only where intervals allow it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jembench
from jembench import baselines, data, leaderboard
from jembench.api import Result
from jembench.evaluators.contract import Direction, Metric
from jembench.identity import identity
from jembench.leaderboard import best
from jembench.report import BAND, Cell
from jembench.types import UserError


def metric(low: float | None, high: float | None, better: Direction = "higher", method: str = "wilson") -> Metric:
    value = 0.5 if low is None or high is None else (low + high) / 2
    return Metric("auroc", "textures", "mass", value, low, high, method, {"test": 1}, better)


def bold(*column: Cell) -> list[bool]:
    return [best(cell, list(column)) for cell in column]


def test_the_best_is_bold_where_its_interval_overlaps_with_no_other() -> None:
    assert bold(metric(0.8, 0.9), metric(0.5, 0.7), metric(0.1, 0.6)) == [True, False, False]
    assert bold(metric(0.8, 0.9, "lower"), metric(0.5, 0.7, "lower")) == [False, True]


def test_overlapping_and_touching_intervals_are_not_ranked() -> None:
    assert not any(bold(metric(0.6, 0.9), metric(0.5, 0.7)))
    assert not any(bold(metric(0.7, 0.9), metric(0.5, 0.7)))


def test_what_has_no_interval_is_never_bold_and_lets_no_other_be() -> None:
    for other in (metric(None, None), metric(0.1, None), metric(0.1, 0.2, method="none"), Metric("auroc", "textures")):
        assert not any(bold(metric(0.8, 0.9), other))


def test_a_band_is_no_interval() -> None:
    """It says where calibrated models fall, not where this one's truth is."""
    assert not any(bold(metric(0.0, 0.1, "lower", BAND), metric(0.5, 0.6, "lower", BAND)))


def test_alone_without_direction_or_a_word_nothing_is_bold() -> None:
    assert bold(metric(0.8, 0.9)) == [False]
    assert not any(bold(metric(0.8, 0.9, "neither"), metric(0.1, 0.2, "neither")))
    assert bold("jem", "softmax") == [False, False]
    assert bold("", metric(0.8, 0.9), metric(0.1, 0.2)) == [False, True, False]


def test_different_image_sets_are_not_ranked_against_each_other() -> None:
    """The rows of one model's OOD table are sets: an easy one does not win."""
    easy = Metric("auroc", "noise", "mass", 0.95, 0.9, 0.99, "wilson", {}, "higher")
    assert not any(bold(easy, metric(0.1, 0.2)))


ENDS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(
    st.lists(st.tuples(ENDS, st.sampled_from(["wilson", BAND, "none"])), max_size=6),
    st.sampled_from(["higher", "lower"]),
)
def test_never_two_bold_in_a_column(rows: list[tuple[list[float], str]], better: Direction) -> None:
    column = [metric(low, high, better, method) for (low, high), method in rows]
    chosen = bold(*column)
    assert sum(chosen) <= 1
    for cell, strong in zip(column, chosen, strict=True):
        assert not (strong and cell.method in (BAND, "none"))


@pytest.fixture
def golden(digits: dict[str, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Baselines whose golden results are those of now."""
    place = tmp_path / "baselines" / "digits"
    shutil.copytree(baselines.folder("digits"), place, ignore=shutil.ignore_patterns("golden"))
    for name, result in digits.items():
        shutil.copytree(result.folder, place / name / "golden")
    monkeypatch.setattr(baselines, "folder", lambda track: tmp_path / "baselines" / track)
    return place


def written() -> str:
    """The leaderboard of the golden results that there are."""
    return leaderboard.leaderboard(data.track("digits"), baselines.all_golden("digits"))


def test_it_is_written_and_then_current(call: Callable[..., Any], golden: Path, tmp_path: Path) -> None:
    """``--check`` exits 1 where the file is absent or differs in one character, and never writes."""
    output, path = tmp_path / "boards", tmp_path / "boards" / "digits.md"
    absent = call("leaderboard", "--check", "--output", output)
    assert absent.code == 1
    assert "is not current" in absent.err
    assert not output.exists()
    assert call("leaderboard", "--output", output).code == 0
    content = path.read_text()
    assert call("leaderboard", "--check", "--output", output).code == 0
    path.write_text(content.replace("jem", "gem", 1))
    assert call("leaderboard", "--check", "--output", output).code == 1
    assert path.read_text() != content
    assert call("leaderboard", "--output", output).code == 0
    assert path.read_text() == content


def test_every_model_number_and_protocol_is_in_it(golden: Path, digits: dict[str, Result]) -> None:
    text = written()
    assert text.count("## Protocol") == 1
    for name, result in digits.items():
        document = result.outcome.document
        assert f"| {name} " in text
        assert f"{result.metrics['mean/mass/auroc'].value:.3f}" in text
        assert str(document.model.weights_sha256)[:12] in text
        assert document.protocol_hash[:12] in text
    assert text == written()


def test_it_does_not_depend_on_when_or_how_long_it_was_measured(golden: Path) -> None:
    before = written()
    path = golden / "jem" / "golden" / "result.json"
    content = json.loads(path.read_text())
    content["cost"].update(seconds=1e9, peak_memory_mb=1e9)
    content["provenance"]["created"] = "1970-01-01T00:00:00+00:00"
    content["provenance"]["environments"][0].update(cpus=1, processor="other")
    path.write_text(json.dumps(content))
    assert written() == before


def test_numbers_of_different_protocols_share_no_table(golden: Path, tmp_path: Path) -> None:
    limited = jembench.evaluate("softmax", "all", limit=30, output=tmp_path / "store")
    shutil.rmtree(golden / "softmax" / "golden")
    shutil.copytree(limited.folder, golden / "softmax" / "golden")
    text = written()
    assert text.count("## Protocol") == 2
    assert "**" not in text  # nobody to be better than


def test_golden_results_of_other_images_are_refused(golden: Path) -> None:
    """A track whose bytes changed under a golden result has no leaderboard until it is made anew."""
    path = golden / "softmax" / "golden" / "result.json"
    content = json.loads(path.read_text())
    content["protocol"]["sources"]["textures"]["sha256"] = "0" * 64
    content["protocol_hash"] = identity(content["protocol"])
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="golden result of 'softmax' is of other images of 'textures' than digits-v1"):
        written()


def test_without_golden_results_or_of_another_track_there_is_none(golden: Path, tmp_path: Path, oracle: Result) -> None:
    with pytest.raises(UserError, match="no golden results"):
        leaderboard.leaderboard(data.track("digits"), [])
    shutil.copytree(oracle.folder, golden / "oracle" / "golden")
    with pytest.raises(UserError, match="golden result of 'oracle' is of gauss-v1, not digits-v1"):
        written()
