"""Grids of samples: the tiles are the records that the figures are of, beside what they are compared with."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from jembench import data
from jembench.data.sets import ImageSet
from jembench.evaluators.chains import TRAJECTORIES, Chains
from jembench.evaluators.generation import Generation, Looker
from jembench.measurements.trajectory import MARKS, times
from jembench.metrics.metric import Metric
from jembench.pages.pictures import plots, samples

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


def tiles(content: bytes | None, side: int) -> NDArray[Any]:
    """The grey of every image of a grid, ``(rows, side)``."""
    assert content is not None
    picture = np.asarray(Image.open(io.BytesIO(content)))
    margin = picture.shape[1] - (side * 66 - 2)
    return picture[32::66, margin + 32 :: 66]


def greys(record: dict[str, NDArray[Any]], rows: Any) -> list[int]:
    return [int(value) for value in np.rint(record["image"][rows, 0] * 255)]


@pytest.mark.parametrize("name", ["fresh", "buffer"])
def test_the_first_samples_in_their_order(name: str) -> None:
    evaluator, record = Generation(LOOKER), drawn(100)
    record["image"][3] = np.nan  # a chain that diverges
    record["there"][90:] = False  # beyond the end of a buffer
    shown = tiles(samples.samples(evaluator, {evaluator.draws()[name]: record}, name, TRACK), 8)
    rows = [row for row in range(100) if row != 3][:64]
    assert shown.ravel().tolist() == greys(record, rows)


def test_a_row_for_every_class() -> None:
    evaluator, record = Generation(LOOKER), drawn(75)
    shown = tiles(samples.samples(evaluator, {evaluator.draws()["conditional"]: record}, "conditional", TRACK), 7)
    assert shown.shape == (10, 7)  # class 9 has seven
    for y, row in enumerate(shown):
        assert row.tolist() == greys(record, slice(y, 70, 10))


def test_a_filter_of_the_figures_is_one_of_the_pictures() -> None:
    evaluator, record = Generation(LOOKER, keep_top=0.25), drawn(40)
    record["confidence"] = record["confidence"][::-1]
    found = {evaluator.draws()["fresh"]: record}
    assert samples.selection(evaluator, found, "fresh").tolist() == list(range(30, 40))


def test_what_a_model_does_not_give_is_no_picture() -> None:
    evaluator, empty = Generation(LOOKER), drawn(5)
    empty["image"][:] = np.nan
    for name in ("fresh", "buffer", "conditional"):
        assert samples.samples(evaluator, {}, name, TRACK) is None
        assert samples.samples(evaluator, {evaluator.draws()[name]: empty}, name, TRACK) is None
    train = ImageSet(np.zeros((3, 1, 8, 8), np.uint8), np.zeros(3, np.int64), LEVELS)
    assert samples.neighbours(evaluator, {}, train, TRACK) is None
    assert samples.chains({}, TRACK) is None
    assert samples.energy(Chains(LOOKER), {}, SimpleNamespace()) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [100, 5])
def test_a_sample_is_above_its_nearest_training_image(n: int) -> None:
    rng = np.random.default_rng(1)
    evaluator, record = Generation(LOOKER), drawn(n)
    theirs = ImageSet(rng.integers(0, LEVELS, (40, 1, 1, 1)).repeat(8, 2).repeat(8, 3), np.zeros(40, int), LEVELS)
    own, real = rng.normal(size=(n, 6)), rng.normal(size=(40, 6))
    own[n - 1] = real[17]  # a copy
    looked = evaluator.looks()
    found = {
        evaluator.draws()["fresh"]: record,
        looked["fresh"]: {"features": own.astype(np.float32)},
        looked["train"]: {"features": real.astype(np.float32)},
    }
    side = min(8, n)
    shown = tiles(samples.neighbours(evaluator, found, theirs, TRACK), side)
    distance = np.linalg.norm(own[:, None] - real[None], axis=2)
    rows = min(3, n // side)
    order = np.concatenate([np.arange(rows * side), np.argsort(distance.min(1))[:side]])
    assert order[rows * side] == n - 1
    assert shown[0::2].ravel().tolist() == greys(record, order)
    expected = np.rint(theirs.images[distance.argmin(1)[order], 0, 0, 0] / (LEVELS - 1) * 255)
    assert shown[1::2].ravel().tolist() == expected.tolist()


def ran_chains(n: int = 30, steps: int = 20) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(2)
    images = {f"image_{mark}": drawn(n, seed=mark)["image"] for mark in MARKS}
    density = rng.normal(size=(n, len(times(steps)))).astype(np.float32)
    return {**images, "steps": np.full(n, steps), "log_density": density, "index": np.arange(n)}


def test_a_column_is_a_chain() -> None:
    record = ran_chains()
    record["image_20"][2] = np.nan  # it left the finite numbers
    shown = tiles(samples.chains({TRAJECTORIES: record}, TRACK), samples.CHAINS)
    assert shown.shape == (len(MARKS), samples.CHAINS)
    for mark, row in zip(MARKS, shown, strict=True):
        image = np.nan_to_num(record[f"image_{mark}"], nan=1.0)
        assert row.tolist() == greys({"image": image}, slice(samples.CHAINS))


def test_the_band_is_of_the_chains_that_are_finite() -> None:
    density = np.array([[0.0, np.nan, 1.0], [1.0, np.nan, np.inf], [2.0, np.nan, 3.0]])
    band = samples.band(density)
    assert band[1].tolist()[0::2] == [1.0, 2.0]
    assert np.isnan(band[:, 1]).all()
    np.testing.assert_allclose(band[:, 2], [1.1, 2.0, 2.9])


def test_the_energy_and_the_distances_of_long_chains(figures: list[Figure]) -> None:
    record = ran_chains()
    metrics = {
        f"{mark}K/ref/fd": Metric("fd", f"{mark}K", "ref", value, value - 10, value + 10)
        for mark, value in ((0, 900.0), (1, 100.0), (20, 120.0))
    }
    document: Any = SimpleNamespace(model=SimpleNamespace(name="jem"), metric=metrics.get)
    assert samples.energy(Chains(LOOKER), {TRAJECTORIES: record}, document) is not None
    left, right = figures[0].axes
    median = next(line for line in left.lines if line.get_label() == "median")
    assert list(median.get_xdata()) == [time / 20 for time in times(20)]
    np.testing.assert_allclose(median.get_ydata(), np.median(record["log_density"].astype(float), axis=0))
    assert "30 fresh chains, K = 20" in left.get_title(loc="left")
    bars = [list(line.get_ydata()) for line in right.lines if list(line.get_xdata()) in ([0, 0], [1, 1], [3, 3])]
    assert bars == [[890.0, 910.0], [90.0, 110.0], [110.0, 130.0]]
    (limit,) = [line for line in right.lines if line.get_label() == "1.5 × FD at K"]
    assert limit.get_ydata()[0] == 150.0
    assert plots.look(0)["color"] == median.get_color()
