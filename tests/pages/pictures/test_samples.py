"""Grids of samples: the tiles are the records that the figures are of, beside what they are compared with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jembench import data
from jembench.data.sets import ImageSet
from jembench.evaluators.chains import TRAJECTORIES, Chains
from jembench.evaluators.generation import Generation, Looker
from jembench.measurements.trajectory import MARKS, times
from jembench.metrics.metric import Metric
from jembench.pages.pictures import grids, samples, style

TRACK = data.track("digits")
LOOKER = Looker("ref", "0" * 64)
LEVELS = 17


def drawn(n: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Records of samples, asked for the classes in turn; every image is of one grey."""
    grey = np.random.default_rng(seed).integers(0, 256, n)
    image = np.repeat(grey[:, None] / 255, 64, axis=1).astype(np.float32)
    return {
        "image": image,
        "asked": np.arange(n) % 10,
        "confidence": np.linspace(1, 0, n, dtype=np.float32),
        "there": np.ones(n, bool),
    }


def tiles(figure: Figure, side: int) -> NDArray[Any]:
    """The grey of every image of a grid, ``(rows, side)``."""
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    tile = (canvas.shape[1] + grids.GAP) // side - grids.GAP
    count = len(labels(figure)) // side
    return canvas[tile // 2 :: canvas.shape[0] // count, tile // 2 :: tile + grids.GAP, 0]


def labels(figure: Figure) -> list[str]:
    """The words below images."""
    return [text.get_text() for text in figure.axes[0].texts if text.get_position()[0] > 0]


def greys(record: dict[str, NDArray[Any]], rows: Any) -> list[int]:
    return [int(value) for value in np.rint(record["image"][rows, 0] * 255)]


@pytest.mark.parametrize("name", ["fresh", "buffer"])
def test_the_first_samples_in_their_order(
    name: str, document: Callable[..., Any], legible: Callable[..., Figure]
) -> None:
    """Below each the class that the extractor sees and the model's confidence."""
    evaluator, record = Generation(LOOKER), drawn(100)
    record["image"][3] = np.nan  # a chain that diverges
    record["there"][90:] = False  # beyond the end of a buffer
    seen = np.random.default_rng(3).integers(0, 10, 100)
    found = {evaluator.draws()[name]: record, evaluator.looks()[name]: {"class_logits": np.eye(10)[seen]}}
    figure = legible(samples.samples(evaluator, found, name, TRACK, document("jem")))
    rows = [row for row in range(100) if row != 3][:64]
    assert tiles(figure, 8).ravel().tolist() == greys(record, rows)
    assert labels(figure) == [f"{seen[row]}: {record['confidence'][row]:.2f}" for row in rows]
    words = figure.texts[0].get_text()
    assert "below: class by ref, max p(y|x) of the model" in words
    assert f"{name} 89" in words.replace("\u00a0", " ")


def test_what_nobody_knows_is_not_written(document: Callable[..., Any]) -> None:
    """An extractor of other classes says nothing of ours; a density without logits has no confidence."""
    evaluator, record = Generation(LOOKER), drawn(16)
    found = {evaluator.draws()["fresh"]: record, evaluator.looks()["fresh"]: {"class_logits": np.eye(16, 1000)}}
    figure = samples.samples(evaluator, found, "fresh", TRACK, document("glow"))
    assert figure is not None
    assert labels(figure)[0] == "1.00"
    record["confidence"][:] = np.nan
    figure = samples.samples(evaluator, found, "fresh", TRACK, document("glow"))
    assert figure is not None
    assert labels(figure) == []
    assert "below" not in figure.texts[0].get_text()
    record["seen"] = np.arange(16) % 10
    figure = samples.samples(evaluator, found, "fresh", TRACK, document("glow"))
    assert figure is not None
    assert labels(figure)[12] == "2"
    assert "class by the model" in figure.texts[0].get_text()


def test_a_row_for_every_class(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    evaluator, record = Generation(LOOKER), drawn(75)
    found = {evaluator.draws()["conditional"]: record}
    figure = legible(samples.samples(evaluator, found, "conditional", TRACK, document("jem")))
    shown = tiles(figure, 7)
    assert shown.shape == (10, 7)  # class 9 has seven
    for y, row in enumerate(shown):
        assert row.tolist() == greys(record, slice(y, 70, 10))
        assert figure.axes[0].texts[y].get_text() == f"class {y}"


def test_a_filter_of_the_figures_is_one_of_the_pictures() -> None:
    evaluator, record = Generation(LOOKER, keep_top=0.25), drawn(40)
    record["confidence"] = record["confidence"][::-1]
    found = {evaluator.draws()["fresh"]: record}
    assert samples.selection(evaluator, found, "fresh").tolist() == list(range(30, 40))


def test_what_a_model_does_not_give_is_no_picture(document: Callable[..., Any]) -> None:
    evaluator, empty = Generation(LOOKER), drawn(5)
    empty["image"][:] = np.nan
    for name in ("fresh", "buffer", "conditional"):
        assert samples.samples(evaluator, {}, name, TRACK, document("a")) is None
        assert samples.samples(evaluator, {evaluator.draws()[name]: empty}, name, TRACK, document("a")) is None
    train = ImageSet(np.zeros((3, 1, 8, 8), np.uint8), np.zeros(3, np.int64), LEVELS)
    assert samples.neighbours(evaluator, {}, train, TRACK, document("a")) is None
    assert samples.chains({}, TRACK, document("a")) is None
    assert samples.energy(Chains(LOOKER), {}, document("a")) is None


@pytest.mark.parametrize("n", [100, 5])
def test_a_sample_is_above_its_nearest_training_image(
    n: int, document: Callable[..., Any], legible: Callable[..., Figure]
) -> None:
    rng = np.random.default_rng(1)
    evaluator, record = Generation(LOOKER), drawn(n)
    theirs = ImageSet(rng.integers(0, LEVELS, (40, 1, 1, 1)).repeat(8, 2).repeat(8, 3), np.arange(40) % 10, LEVELS)
    own, real = rng.normal(size=(n, 6)), rng.normal(size=(40, 6))
    own[n - 1] = real[17]  # a copy
    looked = evaluator.looks()
    found = {
        evaluator.draws()["fresh"]: record,
        looked["fresh"]: {"features": own.astype(np.float32), "class_logits": np.eye(10)[np.arange(n) % 10]},
        looked["train"]: {"features": real.astype(np.float32)},
    }
    side = min(8, n)
    figure = legible(samples.neighbours(evaluator, found, theirs, TRACK, document("jem")))
    shown = tiles(figure, side)
    distance = np.linalg.norm(own[:, None] - real[None], axis=2)
    rows = min(3, n // side)
    order = np.concatenate([np.arange(rows * side), np.argsort(distance.min(1))[:side]])
    assert order[rows * side] == n - 1
    assert shown[0::2].ravel().tolist() == greys(record, order)
    expected = np.rint(theirs.images[distance.argmin(1)[order], 0, 0, 0] / (LEVELS - 1) * 255)
    assert shown[1::2].ravel().tolist() == expected.tolist()
    below = np.reshape(labels(figure), (-1, side))
    confidences = [f"{row % 10}: {record['confidence'][row]:.2f}" for row in order]
    assert below[0::2].ravel().tolist() == confidences
    nearest = distance.argmin(1)[order]
    assert below[1::2].ravel().tolist() == [
        f"{k % 10}: {far:.3g}" for k, far in zip(nearest, distance.min(1)[order], strict=True)
    ]
    assert below[-1, 0] == "7: 0"  # the copy


def ran_chains(n: int = 30, steps: int = 20) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(2)
    images = {f"image_{mark}": drawn(n, seed=mark)["image"] for mark in MARKS}
    density = rng.normal(size=(n, len(times(steps)))).astype(np.float32)
    return {
        **images,
        "steps": np.full(n, steps),
        "log_density": density,
        "index": np.arange(n),
        "seen": rng.integers(0, 10, density.shape),
    }


def test_a_column_is_a_chain(document: Callable[..., Any], legible: Callable[..., Figure]) -> None:
    record = ran_chains()
    record["image_20"][2] = np.nan  # it left the finite numbers
    record["log_density"][1, times(20).index(100)] = -123.75
    figure = legible(samples.chains({TRAJECTORIES: record}, TRACK, document("jem")))
    shown = tiles(figure, samples.CHAINS)
    assert shown.shape == (len(MARKS), samples.CHAINS)
    below = np.reshape(labels(figure), shown.shape)
    assert below[2, 1] == f"{record['seen'][1, times(20).index(100)]}: −123.8"
    words = [text.get_text() for text in figure.axes[0].texts[: len(MARKS)]]
    assert words == ["0 steps", "K = 20", "5 K = 100", "20 K = 400"]
    for mark, row in zip(MARKS, shown, strict=True):
        image = np.nan_to_num(record[f"image_{mark}"], nan=1.0)
        assert row.tolist() == greys({"image": image}, slice(samples.CHAINS))


def test_the_band_is_of_the_chains_that_are_finite() -> None:
    density = np.array([[0.0, np.nan, 1.0], [1.0, np.nan, np.inf], [2.0, np.nan, 3.0]])
    band = samples.band(density)
    assert band[1].tolist()[0::2] == [1.0, 2.0]
    assert np.isnan(band[:, 1]).all()
    np.testing.assert_allclose(band[:, 2], [1.1, 2.0, 2.9])


def test_the_energy_and_the_distances_of_long_chains(
    document: Callable[..., Any], legible: Callable[..., Figure]
) -> None:
    record = ran_chains()
    metrics = [
        Metric("fd", f"{mark}K", "ref", value, value - 10, value + 10)
        for mark, value in ((0, 900.0), (1, 100.0), (20, 120.0))
    ]
    left, right = legible(samples.energy(Chains(LOOKER), {TRAJECTORIES: record}, document("jem", metrics))).axes
    median = next(line for line in left.lines if line.get_label() == "median")
    assert list(median.get_xdata()) == [time / 20 for time in times(20)]
    np.testing.assert_allclose(median.get_ydata(), np.median(record["log_density"].astype(float), axis=0))
    assert "fresh chains, K = 20" in left.get_title(loc="left")
    bars = [list(line.get_ydata()) for line in right.lines if list(line.get_xdata()) in ([0, 0], [1, 1], [3, 3])]
    assert bars == [[890.0, 910.0], [90.0, 110.0], [110.0, 130.0]]
    (limit,) = [line for line in right.lines if line.get_label() == "1.5 × FD at K"]
    assert limit.get_ydata()[0] == 150.0
    assert style.look(0)["color"] == median.get_color()
