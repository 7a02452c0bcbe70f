"""The gallery: every model has the pictures of what it can do, drawn once, and no picture fails a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jembench import gallery
from jembench.choices.request import Request
from jembench.engine import bench
from jembench.engine.measure import Evaluation, measure
from jembench.evaluators import EVALUATORS, unlabelled
from jembench.ground.families import load
from jembench.pages.pictures import calibration, ood
from jembench.zoo.references import parse

MODELS = ("jem", "softmax", "glow")
RUNS = [("jem", "ood"), *((name, suite) for suite in ("calibration", "generation", "accuracy") for name in MODELS)]
SAMPLED = {"samples-fresh", "neighbours"}
HAS = {
    ("jem", "ood"): {"scores"},
    ("jem", "calibration"): {"reliability", "unlabelled"},
    ("jem", "generation"): SAMPLED | {"samples-buffer", "samples-conditional", "chains", "energy"},
    ("softmax", "calibration"): {"reliability", "unlabelled"},
    ("glow", "generation"): SAMPLED,
}
LIMIT = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Evaluation], Path]:
    """Small results of a joint model, a classifier without samples and a density without logits."""
    output = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unlabelled, "REPLICATES", 2)
        return [
            each
            for name, suite in RUNS
            for each in measure(Request(models=(parse(name),), suites=(suite,), limit=LIMIT, output=output))
        ], output


@pytest.fixture(scope="module")
def paths(made: tuple[list[Evaluation], Path]) -> list[Path]:
    """What the gallery draws of them."""
    return gallery.pictures(*made)


def test_every_picture_that_a_model_can_have_and_no_other(made: Any, paths: list[Path]) -> None:
    evaluations, output = made
    figures = {output / f"{name}-digits.png" for name in ("shifts", "generation", "hybrid")}
    assert set(paths[: len(figures)]) <= figures
    for each in evaluations:
        run, folder = (each.plan.model.name, each.plan.suite), each.outcome.folder
        assert {path.stem for path in folder.glob("*.png")} == HAS.get(run, set()), run
        assert {path for path in paths if path.parent == folder} == set(folder.glob("*.png"))
    for path in paths:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) >= 64


def test_pictures_of_a_result_are_drawn_once(made: Any, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise AssertionError("drawn again")

    before = {path: path.read_bytes() for path in paths}
    monkeypatch.setattr(gallery.plots, "grid", fail)
    monkeypatch.setattr(ood, "scores", fail)
    monkeypatch.setattr(calibration, "reliability_diagram", fail)
    assert gallery.pictures(*made) == paths
    assert {path: path.read_bytes() for path in paths} == before


def test_no_number_depends_on_them(made: Any, paths: list[Path]) -> None:
    evaluations, _ = made
    again = bench.run([each.plan for each in evaluations], evaluations[0].store)
    assert [each.document for each in again] == [each.document for each in evaluations]


def of(made: Any, model: str, suite: str) -> Evaluation:
    return next(each for each in made[0] if (each.plan.model.name, each.plan.suite) == (model, suite))


def test_samples_are_those_of_the_records(made: Any, paths: list[Path]) -> None:
    """The conditional grid holds the first image of every class that the chains were asked for, to the last level."""
    jem = of(made, "jem", "generation")
    need = jem.evaluator("generation").draws()["conditional"]
    record = jem.columns(need)[need]
    assert len(record["image"]) == LIMIT
    picture = np.asarray(Image.open(jem.outcome.folder / "samples-conditional.png"))[:, -64:]  # one column
    assert picture.shape[0] == 10 * 66 - 2
    for y in range(10):
        (first, *_) = np.flatnonzero(record["asked"] == y)
        expected = np.rint(record["image"][first].reshape(8, 8) * 255)
        assert np.array_equal(picture[66 * y : 66 * y + 64 : 8, ::8], expected)


def test_reliability_is_of_the_test_split(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jem = of(made, "jem", "calibration")
    given: list[Any] = []
    monkeypatch.setattr(calibration, "reliability_diagram", given.append)
    gallery.draw_reliability(jem)
    (panels,) = given
    assert list(panels) == ["raw", "temperature", "vector"]
    for series in panels.values():
        assert list(series) == ["jem"]
        assert len(series["jem"].confidence) == LIMIT


def test_shifts_begin_at_the_clean_accuracy(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: saved.append(self) or save(self, *a, **k))
    runs = [of(made, name, "calibration") for name in MODELS]
    assert set(gallery.plot_shifts(runs)) == {"png"}
    accuracy = {line.get_label(): line for line in saved[0].axes[0].lines}
    assert list(accuracy) == ["jem", "softmax"]
    for name, line in accuracy.items():
        metric = of(made, str(name), "accuracy").document.metric("test/accuracy")
        assert line.get_ydata()[0] == pytest.approx(metric.value)


def test_a_run_without_pictures_draws_none(made: Any, tmp_path: Path) -> None:
    assert gallery.pictures([each for each in made[0] if each.plan.suite == "accuracy"], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_names_of_pictures_are_in_the_documentation() -> None:
    words = gallery.__doc__ or ""
    declared = [getattr(kind, what, {}) for kind in EVALUATORS.values() for what in ("pictures", "figures")]
    names = {name: load(target) for figures in declared for name, target in figures.items()}
    assert len(names) == 15
    assert [name for name in names if f"``{name.partition('-')[0]}" not in words] == []


def test_the_command_says_where_they_are(call: Callable[..., Any], tmp_path: Path) -> None:
    answer = call("run", "--model", "oracle", "--track", "gauss", "--suite", "hybrid", "--limit", "8", "-o", tmp_path)
    assert answer.code == 0, answer.err
    found = {}
    for line in answer.out.splitlines():
        folder, colon, names = line.partition(": ")
        if colon and names.endswith(".png"):
            found |= {name: Path(folder) / name for name in names.split(", ")}
    assert set(found) >= {"samples-fresh.png", "neighbours.png"}
    assert all(path.is_file() for path in found.values())
