"""Leaderboards: from golden results alone, and bold only where intervals allow it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
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
from jembench.results import ResultDocument, read_result, write_result
from jembench.seeds import SEEDS, collect, write_seeds
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
    shutil.copytree(baselines.folder("digits"), place, ignore=shutil.ignore_patterns("golden", SEEDS))
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
    assert "does not exist" in absent.err
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


def trained(document: ResultDocument, name: str, seed: int, accuracy: float) -> ResultDocument:
    """A result as of a model and a training seed, with an accuracy of its own and an interval of ± .02."""
    model = document.model.model_copy(update={"name": name, "weights_sha256": identity([name, seed])})
    first = replace(document.metrics[0], value=accuracy, low=accuracy - 0.02, high=accuracy + 0.02)
    return document.model_copy(update={"model": model, "metrics": [first, *document.metrics[1:]]})


@pytest.fixture
def place(oracle: Result, tmp_path: Path) -> Callable[..., Path]:
    """Makes a baseline of gauss, with a golden result of the first accuracy; of several, they are its seeds."""
    examples = (oracle.folder / "examples.parquet").read_bytes()

    def place(name: str, *accuracies: float) -> Path:
        runs = [(seed, trained(oracle.outcome.document, name, seed, one)) for seed, one in enumerate(accuracies)]
        write_result(tmp_path / name / "golden", runs[0][1], examples)
        if len(runs) > 1:
            write_seeds(tmp_path / name, collect(runs))
        return tmp_path / name / "golden"

    return place


def row(text: str, name: str) -> list[str]:
    """The cells of a model in the table of accuracies."""
    table = text[text.index("### accuracy") :]
    cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    return next(found for found in cells if found[:1] == [name])


def test_models_of_several_seeds_show_their_mean_and_say_so(place: Callable[..., Path]) -> None:
    """The interval: t s / sqrt(3) = 4.302653 * .01 / sqrt(3) = .0248, with .02 in squares .0319."""
    text = leaderboard.leaderboard(data.track("gauss"), [place("jem", 0.8, 0.81, 0.79), place("softmax", 0.8)])
    assert text.count("## Protocol") == 1
    assert row(text, "jem")[1] == "0.800 (0.768–0.832)"
    assert row(text, "softmax")[1] == "0.800 (0.780–0.820)"
    assert "with test and training variance in their intervals: `jem` 3. One training seed" in text
    assert "with test variance only: `softmax`. Bold" in text
    assert (
        f"- `jem`: mean of 3 training seeds; weights of seed 0 shipped; weights `{identity(['jem', 0])[:12]}`" in text
    )
    assert "- `softmax`: 1 training seed: its intervals hold test variance only; weights `" in text


def test_bold_is_by_intervals_of_test_and_training_variance(place: Callable[..., Path]) -> None:
    """.05 apart, intervals of ± .02 part the models, those with training variance (± .0319) do not."""
    golden = [place("a", 0.85), place("b", 0.8)]
    assert "**0.850 (0.830–0.870)**" in leaderboard.leaderboard(data.track("gauss"), golden)
    golden = [place("a", 0.85, 0.86, 0.84), place("b", 0.8, 0.81, 0.79)]
    text = leaderboard.leaderboard(data.track("gauss"), golden)
    assert "0.850 (0.818–0.882)" in text
    assert "**" not in text
    assert "One training seed" not in text
    golden = [place("a", 0.9, 0.91, 0.89), place("b", 0.8, 0.81, 0.79)]
    assert "**0.900 (0.868–0.932)**" in leaderboard.leaderboard(data.track("gauss"), golden)


def test_figures_of_the_shipped_weights_alone_are_named(place: Callable[..., Path], oracle: Result) -> None:
    """A metric that one training could not give is no mean."""
    folder = place("jem", 0.8)
    missing = trained(oracle.outcome.document, "jem", 1, 0.8)
    metrics = [
        replace(item, value=None, low=None, high=None, reason="NaN") if item.id == "mean/mass/auroc" else item
        for item in missing.metrics
    ]
    seeds = collect([(0, read_result(folder)), (1, missing.model_copy(update={"metrics": metrics}))])
    write_seeds(folder.parent, seeds)
    text = leaderboard.leaderboard(data.track("gauss"), [folder])
    assert "mean of 2 training seeds; weights of seed 0 shipped; of these weights alone: mean/mass/auroc; w" in text


def test_seeds_of_another_golden_result_are_refused_by_name(place: Callable[..., Path], oracle: Result) -> None:
    """Weights, protocol or numbers that are not those of the golden result: made before it, or edited."""
    folder = place("jem", 0.8, 0.81)
    path = folder.parent / SEEDS
    content = json.loads(path.read_text())
    for change, reason in (
        (lambda new: new["runs"][0].update(weights_sha256="0" * 64), "no run with its weights"),
        (lambda new: new.update(protocol_hash="0" * 64), "are of protocol 000000000000"),
        (lambda new: new["runs"][0]["metrics"].update({"test/accuracy": [0.9, 0.8, 1.0]}), "for its test/accuracy"),
        (lambda new: new.update(runs=[]), "not valid training seeds"),
    ):
        edited = json.loads(json.dumps(content))
        change(edited)
        path.write_text(json.dumps(edited))
        with pytest.raises(UserError, match=reason) as error:
            leaderboard.leaderboard(data.track("gauss"), [folder])
        assert str(error.value).startswith(f"{path}: ")
