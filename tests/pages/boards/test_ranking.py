"""Bands of a column: what is equal shares one, what differs does not, as far as the images can tell."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jembench.metrics.intervals import wilson
from jembench.metrics.metric import Metric
from jembench.metrics.ranks import detectable
from jembench.pages.boards import ranking
from jembench.pages.boards.board import Cell
from jembench.pages.boards.ranking import Entrant, ranked
from jembench.pages.pairs.side import Side

COLUMNS = 1000


def entrant(right: np.ndarray, *, spread: float | None = None, trainings: int = 1, fault: str = "") -> Entrant:
    """A model by which test images it has right."""
    k, n = int(right.sum()), right.size
    metric = Metric("accuracy", "test", "", k / n, *wilson(k, n), "wilson", {"test": n}, "higher", evaluator="accuracy")
    document = SimpleNamespace(seed=0, protocol=SimpleNamespace(sources={}))
    side = Side("model", document, Path())  # type: ignore[arg-type]  # its file is not read: what it holds is set
    side.__dict__["metrics"] = {metric.id: metric}
    side.__dict__["sources"] = {"test": {"label": np.ones(n, int), "prediction": right.astype(int)}}
    return Entrant(side, metric, Cell(metric, spread=spread, fault=fault), trainings)


def outcomes(rng: np.random.Generator, n: int, *accuracies: float) -> list[np.ndarray]:
    """Outcomes on images that are hard for all or easy for all."""
    hard = rng.normal(size=n)
    return [np.quantile(skill := hard + 0.5 * rng.normal(size=n), share) > skill for share in accuracies]


def independent(rng: np.random.Generator, n: int, *accuracies: float) -> list[np.ndarray]:
    return [rng.random(n) < accuracy for accuracy in accuracies]


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.98])
def test_equal_models_land_in_different_bands_in_one_of_twenty_columns_at_most(accuracy: float) -> None:
    """Two equal models among two others that differ; and four equal ones."""
    rng = np.random.default_rng(int(accuracy * 100))
    for others in ((accuracy - 0.2, accuracy - 0.1), (accuracy, accuracy)):
        apart = 0
        for _ in range(COLUMNS):
            models = independent(rng, 360, accuracy, accuracy, *others)
            cells, _ = ranked([entrant(right) for right in models])
            equal = [set(cell.band) for cell in cells][: 2 if others[0] != accuracy else 4]
            apart += not set.intersection(*equal)
        assert apart / COLUMNS <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / COLUMNS)


def test_a_difference_of_the_stated_size_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    n, found, sizes = 1000, 0, []
    for _ in range(300):
        one = rng.random(n) < 0.85
        other = np.where(rng.random(n) < 0.06, ~one, one)
        cells, size = ranked([entrant(one), entrant(other)])
        assert size is not None
        sizes.append(size)
    gap = float(np.mean(sizes))
    for _ in range(400):
        one = rng.random(n) < 0.85
        lost = one & (rng.random(n) < (0.06 + gap) / 2 / 0.85)
        won = ~one & (rng.random(n) < (0.06 - gap) / 2 / 0.15)
        cells, _ = ranked([entrant(one), entrant((one & ~lost) | won)])
        found += cells[0].band != cells[1].band
    assert 0.7 <= found / 400 <= 0.9


def test_the_best_is_bold_only_where_something_is_worse() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(400) < 0.9
    same, _ = ranked([entrant(right), entrant(right)])
    assert [(cell.band, cell.best) for cell in same] == [("a", False)] * 2
    worse = right & (rng.random(400) < 0.8)
    cells, _ = ranked([entrant(worse), entrant(right), entrant(right)])
    assert [(cell.band, cell.best) for cell in cells] == [("b", False), ("a", True), ("a", True)]


def test_what_is_not_reliable_or_has_no_value_is_not_ranked() -> None:
    rng = np.random.default_rng(2)
    good, bad = outcomes(rng, 400, 0.95, 0.5)
    cells, _ = ranked([entrant(good, fault="masked gradients"), entrant(bad), entrant(bad)])
    assert [cell.band for cell in cells] == ["", "a", "a"]
    empty = Metric("accuracy", "test", better="higher")
    cells, size = ranked([entrant(good), Entrant(None, empty, Cell(empty), 1)])
    assert [cell.band for cell in cells] == ["", ""]
    assert size is None


def test_the_spread_of_trainings_widens_a_band() -> None:
    rng = np.random.default_rng(3)
    good, bad = outcomes(rng, 1000, 0.95, 0.90)
    once, near = ranked([entrant(good), entrant(bad)])
    wide, far = ranked([entrant(good, spread=0.08, trainings=5), entrant(bad, spread=0.08, trainings=5)])
    assert [cell.band for cell in once] == ["a", "b"]
    assert [cell.band for cell in wide] == ["a", "a"]
    assert near is not None
    assert far is not None
    assert far == pytest.approx(detectable(np.hypot(near / detectable(1.0), 0.08 * np.sqrt(2 / 5))))


def test_many_models_are_held_against_the_best_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "MOST", 3)
    rng = np.random.default_rng(4)
    cells, _ = ranked([entrant(right) for right in outcomes(rng, 500, 0.95, 0.94, 0.5, 0.5)])
    assert [cell.best for cell in cells] == [True, True, False, False]
    assert {cell.band for cell in cells} == {""}
