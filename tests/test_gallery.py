"""The gallery: every model has the pictures of what it can do, drawn once, and no picture fails a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jembench import data, gallery
from jembench.choices.request import Request
from jembench.engine import bench
from jembench.engine.plan import plan
from jembench.evaluators import unlabelled
from jembench.gallery import Shown
from jembench.pages.pictures import calibration, ood
from jembench.store.records import Store
from jembench.zoo import catalogue
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
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Store, Path]:
    """Small results of a joint model, a classifier without samples and a density without logits."""
    output = tmp_path_factory.mktemp("gallery")
    store = Store.open(output)
    track = data.track("digits")
    plans = [
        plan(catalogue.resolve(parse(name), track="digits"), suite, track=track, request=Request(limit=LIMIT))
        for name, suite in RUNS
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unlabelled, "REPLICATES", 2)
        return list(zip(plans, bench.run(plans, store), strict=True)), store, output


@pytest.fixture(scope="module")
def paths(made: tuple[Any, Store, Path]) -> list[Path]:
    """What the gallery draws of them."""
    return gallery.pictures(*made)


def test_every_picture_that_a_model_can_have_and_no_other(made: Any, paths: list[Path]) -> None:
    results, _, output = made
    figures = {output / f"{name}-digits.png" for name in ("shifts", "generation", "hybrid")}
    assert set(paths[: len(figures)]) <= figures
    for made_by, outcome in results:
        expected = HAS.get((made_by.model.name, made_by.suite), set())
        assert {path.stem for path in outcome.folder.glob("*.png")} == expected, (made_by.model.name, made_by.suite)
        assert {path for path in paths if path.parent == outcome.folder} == set(outcome.folder.glob("*.png"))
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
    results, store, _ = made
    again = bench.run([made_by for made_by, _ in results], store)
    assert [each.document for each in again] == [outcome.document for _, outcome in results]


def shown(made: Any, model: str, suite: str) -> Shown:
    results, store, _ = made
    chosen = [(p, o) for p, o in results if (p.model.name, p.suite) == (model, suite)]
    return Shown(*chosen[0], store)


def test_samples_are_those_of_the_records(made: Any, paths: list[Path]) -> None:
    """The conditional grid holds the first image of every class that the chains were asked for, to the last level."""
    jem = shown(made, "jem", "generation")
    need = jem.evaluator("generation").draws()["conditional"]
    record = jem.found(need)[need]
    assert len(record["image"]) == LIMIT
    picture = np.asarray(Image.open(jem.outcome.folder / "samples-conditional.png"))[:, -64:]  # one column
    assert picture.shape[0] == 10 * 66 - 2
    for y in range(10):
        (first, *_) = np.flatnonzero(record["asked"] == y)
        expected = np.rint(record["image"][first].reshape(8, 8) * 255)
        assert np.array_equal(picture[66 * y : 66 * y + 64 : 8, ::8], expected)


def test_reliability_is_of_the_test_split(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jem = shown(made, "jem", "calibration")
    given: list[Any] = []
    monkeypatch.setattr(calibration, "reliability_diagram", given.append)
    gallery._reliability(jem)
    (panels,) = given
    assert list(panels) == ["raw", "temperature", "vector"]
    for series in panels.values():
        assert list(series) == ["jem"]
        assert len(series["jem"].confidence) == LIMIT


def test_shifts_begin_at_the_clean_accuracy(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: saved.append(self) or save(self, *a, **k))
    runs = [shown(made, name, "calibration") for name in MODELS]
    assert set(gallery._shifts(runs)) == {"png"}
    accuracy = {line.get_label(): line for line in saved[0].axes[0].lines}
    assert list(accuracy) == ["jem", "softmax"]
    for name, line in accuracy.items():
        metric = shown(made, str(name), "accuracy").document.metric("test/accuracy")
        assert metric is not None
        assert line.get_ydata()[0] == pytest.approx(metric.value)


def test_a_run_without_pictures_draws_none(made: Any, tmp_path: Path) -> None:
    results, store, _ = made
    chosen = [(p, o) for p, o in results if p.suite == "accuracy"]
    assert gallery.pictures(chosen, store, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_names_of_pictures_are_in_the_documentation() -> None:
    words = gallery.__doc__ or ""
    names: list[str] = [name for name, *_ in (*gallery.PICTURES, *gallery.FIGURES)]
    assert len(names) == len(set(names))
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
