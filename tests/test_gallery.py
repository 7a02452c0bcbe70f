"""The gallery: every model has the pictures of what it can do, drawn once, and no picture fails a run."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
SUITES = ("calibration", "generation", "accuracy")
RUNS = [
    *(("jem", suite) for suite in ("ood", "stress", "unlabelled")),
    *((m, suite) for suite in SUITES for m in MODELS),
]
SAMPLED = {"samples-fresh", "neighbours"}
HAS = {
    ("jem", "ood"): {"scores"},
    ("jem", "unlabelled"): {"unlabelled"},
    ("jem", "calibration"): {"reliability"},
    ("jem", "generation"): SAMPLED | {"samples-buffer", "samples-conditional", "chains", "energy"},
    ("softmax", "calibration"): {"reliability"},
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
    return gallery.pictures(made[0])


def test_every_picture_that_a_model_can_have_and_no_other(made: Any, paths: list[Path]) -> None:
    evaluations, output = made
    figures = [path for path in paths if path.parent not in {each.outcome.folder for each in evaluations}]
    assert {path.stem for path in figures} == {"shifts", "generation", "hybrid"}
    assert {path.parent.name for path in figures} == {
        "jem+softmax+glow-digits-stress+calibration",
        "jem+softmax+glow-digits-generation",
        "jem+softmax+glow-digits-generation+accuracy",
    }
    assert {path.parent.parent for path in figures} == {output}
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
    monkeypatch.setattr(gallery.grids, "grid", fail)
    monkeypatch.setattr(ood, "scores", fail)
    monkeypatch.setattr(calibration, "reliability_diagram", fail)
    assert gallery.pictures(made[0]) == paths
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
    figure = gallery.draw_conditional(jem)
    assert figure is not None
    (axis,) = figure.axes
    canvas = np.asarray(axis.images[0].get_array())[..., 0]  # one column
    step, factor = canvas.shape[0] // 10, canvas.shape[1] // 8
    seen = jem.columns(jem.evaluator("generation").looks()["conditional"])
    (classes,) = (columns["class_logits"].argmax(1) for columns in seen.values())
    labels = [text.get_text() for text in axis.texts if text.get_position()[0] > 0]
    for y in range(10):
        (first, *_) = np.flatnonzero(record["asked"] == y)
        expected = np.rint(record["image"][first].reshape(8, 8) * 255)
        assert np.array_equal(canvas[step * y : step * y + 8 * factor : factor, ::factor], expected)
        assert labels[y] == f"{classes[first]}: {record['confidence'][first]:.2f}"


def test_reliability_is_of_the_test_split(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jem = of(made, "jem", "calibration")
    given: list[Any] = []
    monkeypatch.setattr(calibration, "reliability_diagram", lambda panels, **_: given.append(panels))
    gallery.draw_reliability(jem)
    (panels,) = given
    assert list(panels) == ["raw", "temperature", "vector"]
    for series in panels.values():
        assert list(series) == ["jem"]
        assert len(series["jem"].confidence) == LIMIT


def test_every_kind_that_is_asked_for(made: Any, paths: list[Path], tmp_path: Path) -> None:
    """Those that are there are not drawn again; a kind that is absent is drawn alone."""
    jem = of(made, "jem", "ood")
    before = {path: path.stat().st_mtime_ns for path in jem.outcome.folder.glob("*.png")}
    found = gallery.pictures([jem], ("png", "svg", "pdf"))
    assert {path.parent for path in found} == {jem.outcome.folder}
    assert {path.name for path in jem.outcome.folder.glob("scores.*")} == {"scores.png", "scores.svg", "scores.pdf"}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert all(path.read_bytes().startswith(b"<?xml") for path in found if path.suffix == ".svg")
    assert all(path.read_bytes().startswith(b"%PDF") for path in found if path.suffix == ".pdf")
    for path in jem.outcome.folder.glob("scores.[sp][vd]*"):
        path.unlink()


def test_a_classifier_s_accuracy_alone_has_no_picture(made: Any) -> None:
    assert gallery.pictures([each for each in made[0] if each.plan.suite == "accuracy"]) == []


def test_names_of_pictures_are_in_the_documentation() -> None:
    words = gallery.__doc__ or ""
    declared = [getattr(kind, what, {}) for kind in EVALUATORS.values() for what in ("pictures", "figures")]
    names = {name: load(target) for figures in declared for name, target in figures.items()}
    assert len(names) == 15
    assert [name for name in names if f"``{name.partition('-')[0]}" not in words] == []


def test_a_sheet_has_every_picture_below_its_name(
    made: Any, paths: list[Path], call: Callable[..., Any], tmp_path: Path
) -> None:
    folder = of(made, "jem", "generation").outcome.folder
    figure = gallery.sheet(folder)
    names = {path.stem for path in folder.glob("*.png")}
    assert {axis.get_title(loc="left"): axis for axis in figure.axes}.keys() == names
    boxes = [axis.get_position() for axis in figure.axes]
    for axis, box in zip(figure.axes, boxes, strict=True):
        assert box.x0 >= -1e-9
        assert box.y0 >= -1e-9
        assert box.x1 <= 1 + 1e-9
        assert box.y1 < 1
        with Image.open(folder / f"{axis.get_title(loc='left')}.png") as picture:
            inches = box.width * figure.get_figwidth(), box.height * figure.get_figheight()
            assert inches[0] / inches[1] == pytest.approx(picture.width / picture.height)
            assert axis.images[0].get_size() == picture.size[::-1]
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            across, along = (min(one.max[k], other.max[k]) - max(one.min[k], other.min[k]) for k in (0, 1))
            assert min(across, along) < 1e-9
    answer = call("gallery", folder, tmp_path / "out.png")
    assert answer.out.strip() == str(tmp_path / "out.png")
    answer = call("gallery", folder)
    assert answer.out.strip() == str(folder / "sheet.png")
    assert {axis.get_title(loc="left") for axis in gallery.sheet(folder).axes} == names  # a sheet is not on a sheet
    (folder / "sheet.png").unlink()


def test_a_folder_without_pictures_has_no_sheet(call: Callable[..., Any], tmp_path: Path) -> None:
    assert "has no pictures" in call("gallery", tmp_path).err
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    answer = call("gallery", tmp_path)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "can be read" in answer.err


def test_a_run_draws_what_is_asked_for(call: Callable[..., Any], tmp_path: Path) -> None:
    """PNG always, unless nothing shall be drawn; other words are told."""
    run = ("run", "--model", "oracle", "--track", "gauss", "--suite", "hybrid", "--limit", "8", "-o", tmp_path)
    assert call(*run, "--no-pictures").code == 0
    assert {path.suffix for path in tmp_path.rglob("*.*")} & {".png", ".svg", ".pdf"} == set()
    assert call(*run, "--figures", "svg").code == 0
    made = {suffix: {path.stem for path in tmp_path.rglob(f"*{suffix}")} for suffix in (".png", ".svg", ".pdf")}
    assert made[".png"] == made[".svg"] > {"neighbours"}
    assert not made[".pdf"]
    for options, words in ((("--figures", "eps"), "not 'eps'"), (("--figures", "svg", "--no-pictures"), "choose")):
        answer = call(*run, *options)
        assert answer.code == 2
        assert words in answer.err


def test_what_draws_nothing_loads_no_matplotlib(tmp_path: Path) -> None:
    run = f"'run', '--model', 'oracle', '--track', 'gauss', '--suite', 'accuracy', '--limit', '8', '-o', '{tmp_path}'"
    for arguments in ("'--help'", "'list', 'suites'", run, f"{run}, '--no-pictures'"):
        code = (
            "import sys; from jembench import cli\n"
            f"sys.argv = ['jembench', {arguments}]\n"
            "try: cli.main()\nexcept SystemExit as end: assert not end.code\n"
            "assert 'matplotlib' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_command_says_where_they_are(call: Callable[..., Any], tmp_path: Path) -> None:
    answer = call("run", "--model", "oracle", "--track", "gauss", "--suite", "hybrid", "--limit", "8", "-o", tmp_path)
    assert answer.code == 0, answer.err
    words = " ".join(answer.out.split())
    match = re.search(r"Pictures (\S+)/, (\d+) of them", words)
    assert match is not None
    found = set(Path(match[1]).glob("*.png"))
    assert len(found) == int(match[2])
    assert {path.stem for path in found} >= {"hybrid", "samples-fresh", "neighbours"}
    assert all(path.is_file() for path in found)
