"""Evaluator ``likelihood``: closed forms in bits per dimension, and empty cells that say why."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import jembench
from jembench import data, seeding
from jembench.api import Result
from jembench.data import gauss
from jembench.evaluators.contract import Metric, RecordBatch
from jembench.evaluators.dequantised import Dequantised
from jembench.evaluators.likelihood import BITS, Likelihood
from jembench.types import Batch

TRACK = data.track("digits")
D = 64


class Uniform:
    """Uniform over the dequantised images: pixels from half a cell below 0 to half a cell above 1."""

    normalized = True

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def log_density(self, x: Tensor) -> Tensor:
        margin = 0.5 / (self.levels - 1) + 1e-6
        inside = ((x >= -margin) & (x <= 1 + margin)).flatten(1).all(dim=1)
        width = self.levels / (self.levels - 1)
        return torch.where(inside, -x[0].numel() * math.log(width), -math.inf)


def records(values: list[float], *, normalized: bool = True, cuts: tuple[int, ...] = ()) -> list[RecordBatch]:
    parts = np.split(np.array(values, dtype=np.float32), cuts)
    return [
        RecordBatch(Dequantised(), "test", {"log_density": v, "normalized": np.full(len(v), normalized, np.int32)})
        for v in parts
    ]


def bits(batches: list[RecordBatch]) -> Metric:
    (found,) = Likelihood().metrics(batches, TRACK)
    assert found.id == "test/bits_per_dim"
    assert (found.better, found.tolerance) == ("lower", BITS.tolerance)
    return found


@pytest.mark.parametrize("track", ["digits", "gauss"])
def test_uniform_noise_costs_log2_of_the_levels(track: str) -> None:
    """L equally likely levels a pixel, through measurement and evaluator; a constant sample has no interval."""
    images = data.load(track, "test")
    batch = Batch(torch.from_numpy(images.pixels()), torch.from_numpy(images.labels), torch.arange(360), images.levels)
    columns = Dequantised().columns(Uniform(images.levels), batch, seeding.generator("u"))
    (found,) = Likelihood().metrics([RecordBatch(Dequantised(), "test", columns)], data.track(track))
    assert found.value == pytest.approx(math.log2(images.levels), abs=1e-5)
    assert (found.n, found.low, found.high) == ({"test": 360}, None, None)


def test_a_hand_made_record() -> None:
    """A density of 2^D everywhere saves a bit per dimension of the log2(L - 1) = 4 of unit density."""
    nats = [D * math.log(2), 0.0, -D * math.log(2)]
    assert bits(records(nats[:1])).value == pytest.approx(3)
    found = bits(records(nats))
    assert found.value == pytest.approx(4)
    assert found.n == {"test": 3}
    assert bits(records(np.repeat(nats, 20).tolist())).method == "bootstrap-t"


def test_the_interval_is_of_the_mean_over_images() -> None:
    values = np.random.default_rng(0).normal(0, D * math.log(2), 400).tolist()  # a deviation of 1 bit per dimension
    found = bits(records(values))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.2)


def test_chunk_boundaries_do_not_matter_not_even_to_the_bootstrap() -> None:
    values = np.random.default_rng(1).normal(size=100).tolist()
    assert bits(records(values)) == bits(records(values, cuts=(13, 60)))


def test_an_unnormalised_density_has_an_empty_cell_with_the_reason() -> None:
    found = bits(records([math.nan] * 5, normalized=False))
    assert (found.value, found.reason) == (None, "the log density is not normalised: bits/dim need log Z")


def test_a_model_without_a_density_has_an_empty_cell_with_the_reason() -> None:
    found = bits([])
    assert (found.value, found.reason) == (None, "the model gives no log density")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_density_that_is_no_number_has_an_empty_cell_with_the_reason(bad: float) -> None:
    found = bits(records([1.0, bad, 2.0, bad]))
    assert found.value is None
    assert found.reason == "the dequantised log density is NaN or infinite on 2 of 4 images of test"


def test_its_scalars_are_its_columns_and_give_the_metric() -> None:
    (batch,) = records([3.0, -5.0, 7.0])
    scalars = Likelihood().scalars(batch)
    assert tuple(scalars) == Likelihood.columns
    mean = scalars["log_px_dequantised"].mean()
    assert bits([batch]).value == pytest.approx(4 - mean / (D * math.log(2)))
    (unnormalised,) = records([math.nan], normalized=False)
    assert Likelihood().scalars(unnormalised) == {}


def test_the_oracle_reaches_the_entropy(oracle: Result) -> None:
    """h(x) = h(x|y) + H(y) - H(y|x), in bits per dimension of 65,536 levels: no density does better."""
    noise = D / 2 * math.log(2 * math.pi * math.e * gauss.SIGMA**2)
    entropy = noise + math.log(10) - gauss.TRUTH["test/raw/nll"]
    truth = entropy / (D * math.log(2)) + math.log2(65535)
    found = oracle.metrics["test/bits_per_dim"]
    assert found.low is not None
    assert found.high is not None
    assert found.low <= truth <= found.high
    assert found.high - found.low < 0.05
    frame = oracle.records("likelihood")
    assert list(frame) == ["source", "index", "log_px_dequantised"]
    assert frame["log_px_dequantised"].notna().all()


def test_a_classifier_runs_and_says_why_its_cell_is_empty(tmp_path: Path) -> None:
    """No forward pass is spent on it, and no column is published."""
    model = jembench.wrap(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())
    result = jembench.evaluate(model, "likelihood", limit=20, output=tmp_path)
    found = result.metrics["test/bits_per_dim"]
    assert found.value is None
    assert "not normalised" in str(found.reason)
    assert result.outcome.document.cost.forwards == 0
    assert list(result.records("likelihood")) == ["source", "index"]
    assert "| — " in result.to_markdown()
    assert "bits/dim need log Z" in result.to_markdown()
