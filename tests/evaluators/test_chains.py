"""Evaluator ``chains``: chains in equilibrium, chains that run away, are stuck, or end in NaN; what cannot be said."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

import jembench
from jembench import data
from jembench.data import gauss
from jembench.data.sets import CHAINS
from jembench.evaluators.chains import TRAJECTORIES, Chains
from jembench.evaluators.generation import Looker
from jembench.ground import generators
from jembench.langevin import sgld
from jembench.langevin.sgld import SGLD
from jembench.measurements.contract import RecordBatch
from jembench.measurements.embedded import Embedded
from jembench.measurements.trajectory import Trajectory
from jembench.metrics.metric import Metric
from jembench.types import Batch
from jembench.zoo import catalogue

TRACK = data.track("gauss")
MADE = Chains(Looker("pixels", "f" * 64))
SIGMA = gauss.SIGMA
STAYS = 1.5  # above it chains leave the data
N = 150
Columns = dict[str, NDArray[Any]]


class Walk:
    """Chains on the oracle's density, from exact draws of it; further forces may be added."""

    normalized = True
    conditional = False

    def __init__(self, settings: SGLD, push: float = 0.0) -> None:
        self.oracle = jembench.load("oracle", track="gauss")
        self.chain, self.push = settings, push

    def log_density(self, x: Tensor) -> Tensor:
        found: Tensor = self.oracle.log_density(x)
        return found + self.push * x.flatten(1).sum(1) if self.push else found

    def logits(self, x: Tensor) -> Tensor:
        found: Tensor = self.oracle.logits(x)
        return found

    def sample(
        self, n: int, *, generator: Generator, labels: Tensor | None = None, start: str = "fresh", steps: int = 0
    ) -> Tensor:
        found: Tensor = self.oracle.sample(n, generator=generator)
        return found

    def advance(
        self, x: Tensor, *, generator: Generator, labels: Tensor | None = None, settings: SGLD | None = None
    ) -> Tensor:
        return sgld.chain(self.log_density, x, settings=settings or self.chain, generator=generator)

    def persistent(self) -> tuple[Tensor, Tensor]:
        return torch.zeros((0, 1, 8, 8)), torch.zeros(0)


LANGEVIN = SGLD(steps=3, size=0.1 * SIGMA**2, noise=SIGMA * math.sqrt(0.2))


def record(model: Any, n: int = N) -> Columns:
    labels = torch.arange(n) % 10
    batch = Batch(torch.zeros((n, 1, 8, 8)), labels, torch.arange(n), TRACK.levels)
    return {"index": np.arange(n), **Trajectory().columns(model, batch, generators.generator("walk"))}


def batches(made: Chains, walked: Columns | None) -> Iterator[RecordBatch]:
    pixels = catalogue.load(catalogue.extractor("pixels", track="gauss"))
    train = torch.from_numpy(data.load("gauss", "train").pixels())

    def look(x: Tensor, column: str = "", given: Columns | None = None) -> Columns:
        batch = Batch(x, torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)), TRACK.levels, (given,))
        return Embedded(column).columns(pixels, batch, generators.generator("unused"))

    *_, real = made.needs(TRACK)
    yield RecordBatch(real.measurement, "train", look(train), real)
    if walked is not None:
        yield RecordBatch(Trajectory(), CHAINS, walked, TRAJECTORIES)
        for mark, need in made._embeddings().items():
            seen = look(torch.zeros((len(walked["index"]), 1, 8, 8)), f"image_{mark}", walked)
            yield RecordBatch(need.measurement, CHAINS, seen, need)


def judge(walked: Columns | None, made: Chains = MADE) -> dict[str, Metric]:
    return {metric.id: metric for metric in made.metrics(batches(made, walked), TRACK)}


def value(metric: Metric) -> float:
    assert metric.value is not None, metric.reason
    return metric.value


@pytest.fixture(scope="module")
def equilibrium() -> dict[str, Metric]:
    return judge(record(Walk(LANGEVIN)))


def test_chains_in_equilibrium_stay(equilibrium: dict[str, Metric]) -> None:
    """Exact draws remain draws of the mixture, but for a variance that is too large by a / (4 sigma^2)."""
    distances = [value(equilibrium[f"{mark}K/pixels/fd"]) for mark in (0, 1, 5, 20)]
    assert max(distances) < 1.1 * min(distances)
    assert value(equilibrium["chain/runaway"]) == pytest.approx(distances[3] / distances[1])
    assert value(equilibrium["chain/runaway"]) < STAYS
    for mark in (0, 1, 5, 20):
        assert value(equilibrium[f"{mark}K/pixels/coverage"]) > 0.3
        assert value(equilibrium[f"{mark}K/pixels/inception_score"]) > 6


def test_their_log_density_is_the_negative_entropy(equilibrium: dict[str, Metric]) -> None:
    """Of the mixture: that of its noise and log 10, less the information that is left of the class."""
    noise = 32 * math.log(2 * math.pi * math.e * SIGMA**2)
    entropy = noise + math.log(10) - gauss.TRUTH["test/raw/nll"]
    start, end = (equilibrium[f"{mark}K/pixels/log_density"] for mark in (0, 20))
    assert start.low <= -entropy <= start.high
    lost = 64 / 2 * (1 / (1 - 0.05) - 1)  # of the mean of -|x - m|^2 / 2 sigma^2 at the chain's own variance
    assert value(end) == pytest.approx(value(start) - lost, abs=4 * math.sqrt(2 * 32 / N))


def test_they_mix_and_are_worth_more_than_one_draw_each(equilibrium: dict[str, Metric]) -> None:
    share = value(equilibrium["chain/effective_share"])
    assert 1.5 / 20 < share <= 1
    assert 0.02 < value(equilibrium["chain/class_changes"]) < 0.9
    assert equilibrium["chain/class_changes"].n == {"chains": N}


def test_chains_that_leave_the_data_run_away() -> None:
    """A force moves them by 20 K steps of push a: the distance is that of the moved mean."""
    drift = SGLD(steps=3, size=1e-5, noise=0.0)

    class Drifting(Walk):
        def log_density(self, x: Tensor) -> Tensor:
            return self.push * x.flatten(1).sum(1)

    found = judge(record(Drifting(drift, push=200.0)))
    for mark in (0, 1, 5, 20):
        moved = 64 * (mark * 3 * 1e-5 * 200) ** 2
        base = value(found["0K/pixels/fd"])
        cross = 2 * 8 * math.sqrt(moved) * 3 * SIGMA / math.sqrt(N)
        assert value(found[f"{mark}K/pixels/fd"]) == pytest.approx(base + moved, abs=cross + 1e-3)
    assert value(found["chain/runaway"]) > 10 * STAYS


def test_chains_that_do_not_move_are_worth_one_draw_each() -> None:
    found = judge(record(Walk(SGLD(steps=3, size=1e-9, noise=1e-6))))
    assert value(found["chain/runaway"]) == pytest.approx(1, abs=1e-3)
    assert value(found["chain/class_changes"]) == 0
    assert value(found["chain/effective_share"]) == pytest.approx(1 / 20, rel=0.1)


def test_chains_that_end_in_nan_are_a_reason() -> None:
    """Where they are numbers still there are figures."""
    found = judge(record(Walk(SGLD(steps=3, size=1.0, noise=0.0))))
    assert value(found["0K/pixels/fd"]) < 0.1
    for name in ("fd", "recall", "coverage", "inception_score", "log_density"):
        assert found[f"20K/pixels/{name}"].reason == f"{N} of {N} chains are not finite after 20 K steps"
    assert found["chain/runaway"].reason == "the distance at 1 K or 20 K is missing"
    assert found["chain/effective_share"].value is None
    assert found["chain/effective_share"].reason


def test_one_broken_chain_is_not_left_out() -> None:
    walked = record(Walk(LANGEVIN))
    walked["image_20"][3, 5] = np.nan
    assert judge(walked)["20K/pixels/fd"].reason == f"1 of {N} chains are not finite after 20 K steps"


def test_without_chains_every_figure_says_so() -> None:
    found, whole = judge(None), judge(record(Walk(LANGEVIN), 20))
    assert list(found) == list(whole)
    assert {metric.reason for metric in found.values()} == {"the model has no chains"}


@pytest.mark.parametrize("n", [1, 2, 4, 30])
def test_too_few_chains_are_a_line(n: int) -> None:
    for metric in judge(record(Walk(LANGEVIN), n)).values():
        assert (metric.value is None) == (metric.reason is not None), metric.id
        assert metric.reason is None or "\n" not in metric.reason


def test_a_density_alone_sees_no_classes() -> None:
    walked = record(Walk(LANGEVIN))
    walked["seen"] = np.full_like(walked["seen"], -1)
    found = judge(walked)
    assert found["chain/class_changes"].reason == "the model gives no logits"
    assert value(found["chain/effective_share"]) > 0


def test_a_gate_looks_at_the_short_chains_only(equilibrium: dict[str, Metric]) -> None:
    """Ends of long ones differ from one machine type to another."""
    gated = {name for name, metric in equilibrium.items() if metric.tolerance is not None}
    assert gated == {"0K/pixels/fd", "1K/pixels/fd"}


def test_an_fid_is_called_so() -> None:
    made = Chains(Looker("inception-v3", "f" * 64, "fid", "kid"))
    found = judge(record(Walk(LANGEVIN), 40), made)
    assert value(found["chain/runaway"]) == pytest.approx(
        value(found["20K/inception-v3/fid"]) / value(found["1K/inception-v3/fid"])
    )
    assert not any(name.endswith("/fd") for name in found)
