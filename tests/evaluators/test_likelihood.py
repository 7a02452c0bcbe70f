"""Evaluator ``likelihood``: closed forms in bits per dimension, brackets of log Z, empty cells that say why."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import jembench
from jembench import data
from jembench.api import Result
from jembench.data import gauss
from jembench.evaluators.likelihood import BITS, WIDEST, Likelihood
from jembench.ground import generators
from jembench.langevin.ais import Cube
from jembench.measurements.contract import Need, RecordBatch
from jembench.measurements.dequantised import Dequantised, Unnormalised
from jembench.measurements.partition import ImportanceWeights
from jembench.metrics.metric import Metric
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


def chains(forward: object, reverse: object, *, exact: bool = False) -> list[RecordBatch]:
    """Annealed records of log weights relative to the base."""
    parts = {"forward": np.asarray(forward, np.float64), "reverse": np.asarray(reverse, np.float64)}
    return [
        RecordBatch(
            ImportanceWeights(direction),
            "chains",
            {
                f"log_weight_{direction}": weights,
                **({"exact": np.full(len(weights), exact, np.int32)} if direction == "reverse" else {}),
            },
        )
        for direction, weights in parts.items()
    ]


def energies(values: list[float]) -> list[RecordBatch]:
    """Records of a density that is not normalised."""
    measured = {"log_unnormalised": np.array(values, dtype=np.float32)}
    return [*records([math.nan] * len(values), normalized=False), RecordBatch(Unnormalised(), "test", measured)]


def metrics(batches: list[RecordBatch]) -> dict[str, Metric]:
    found = Likelihood().metrics(batches, TRACK)
    assert [metric.id for metric in found] == [
        "test/bits_per_dim",
        "chains/log_z_forward",
        "chains/log_z_reverse",
        "chains/log_z",
        "chains/forward/effective_size",
        "chains/reverse/effective_size",
    ]
    return {metric.variant or metric.name: metric for metric in found}


def bits(batches: list[RecordBatch]) -> Metric:
    found = metrics(batches)["bits_per_dim"]
    assert (found.better, found.tolerance) == ("lower", BITS.tolerance)
    return found


def measured(model: object, track: str, *, chains: int) -> list[RecordBatch]:
    """All that the evaluator needs, measured on a model without an engine: 128 test images, and so many chains."""
    description, images = data.track(track), data.load(track, "test")
    kept: dict[Need, dict[str, np.ndarray]] = {}
    for need in Likelihood().needs(description):
        n = chains if need.source == "chains" else 128
        pixels = torch.from_numpy(images.pixels(0, n)) if need.source == "test" else torch.zeros((n, 1, 8, 8))
        whole = tuple(kept[other] for other in need.whole)
        rows = Batch(pixels, torch.zeros(n, dtype=torch.int64), torch.arange(n), images.levels, (), whole)
        kept[need] = need.measurement.columns(model, rows, generators.generator(track, need.measurement.name, n))
    return [RecordBatch(need.measurement, need.source, columns) for need, columns in kept.items()]


@pytest.mark.parametrize("track", ["digits", "gauss"])
def test_uniform_noise_costs_log2_of_the_levels(track: str) -> None:
    """L equally likely levels a pixel, through measurement and evaluator; a constant sample has no interval."""
    images = data.load(track, "test")
    batch = Batch(torch.from_numpy(images.pixels()), torch.from_numpy(images.labels), torch.arange(360), images.levels)
    columns = Dequantised().columns(Uniform(images.levels), batch, generators.generator("u"))
    found, *_ = Likelihood().metrics([RecordBatch(Dequantised(), "test", columns)], data.track(track))
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
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.2)


def test_chunk_boundaries_do_not_matter_not_even_to_the_bootstrap() -> None:
    values = np.random.default_rng(1).normal(size=100).tolist()
    assert bits(records(values)) == bits(records(values, cuts=(13, 60)))


def test_an_unnormalised_density_has_an_empty_cell_with_the_reason() -> None:
    found = bits(energies([1.0] * 5))
    assert (found.value, found.reason) == (None, "the log density is not normalised: log Z was not measured")


def test_a_model_without_a_density_has_an_empty_cell_with_the_reason() -> None:
    for found in metrics([]).values():
        assert (found.value, found.reason) == (None, "the model gives no log density")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_density_that_is_no_number_has_an_empty_cell_with_the_reason(bad: float) -> None:
    found = bits(records([1.0, bad, 2.0, bad]))
    assert found.value is None
    assert found.reason == "the dequantised log density is NaN or infinite on 2 of 4 images of test"


def test_its_scalars_are_its_columns_and_give_the_metric() -> None:
    (batch,) = records([3.0, -5.0, 7.0])
    scalars = Likelihood().scalars(batch)
    assert tuple(scalars) == Likelihood.columns[:1]
    mean = scalars["log_px_dequantised"].mean()
    assert bits([batch]).value == pytest.approx(4 - mean / (D * math.log(2)))
    normalised, energy = energies([2.0])
    assert Likelihood().scalars(normalised) == {}
    published = [energy, *chains([1.0], [-1.0])]
    assert [name for each in published for name in Likelihood().scalars(each)] == list(Likelihood.columns[1:])
    for each in chains([math.nan], [math.nan]):
        assert Likelihood().scalars(each) == {}


def test_the_oracle_reaches_the_entropy(oracle: Result) -> None:
    """h(x) = h(x|y) + H(y) - H(y|x), in bits per dimension of 65,536 levels: no density does better."""
    noise = D / 2 * math.log(2 * math.pi * math.e * gauss.SIGMA**2)
    entropy = noise + math.log(10) - gauss.TRUTH["test/raw/nll"]
    truth = entropy / (D * math.log(2)) + math.log2(65535)
    found = oracle.metrics["test/bits_per_dim"]
    assert found.low <= truth <= found.high
    assert found.high - found.low < 0.05
    frame = oracle.records("likelihood")
    assert list(frame) == ["source", "index", "log_px_dequantised", "log_weight_forward", "log_weight_reverse"]
    assert frame["log_px_dequantised"][frame["source"] == "test"].notna().all()
    log_z = oracle.metrics["chains/log_z"]
    assert log_z.method == "AIS bracket"
    assert -0.5 <= log_z.low <= 0 <= log_z.high <= 0.5


def test_log_z_moves_energies_to_a_density() -> None:
    """f = log p + c has bits/dim of p for log Z = c, whatever c; the base of 17 levels has log Z0 = D log(17 / 16)."""
    nats = np.random.default_rng(0).normal(3, 2, 50)
    plain = bits(records(nats.tolist()))
    for c in (0.0, 40.0, -7.0):
        weight = c - D * math.log(17 / 16)
        found = metrics([*energies((nats + c).tolist()), *chains([weight] * 8, [-weight] * 8, exact=True)])
        for metric in ("log_z_forward", "log_z_reverse", "log_z"):
            assert found[metric].value == pytest.approx(c)
            assert found[metric].n == {"chains": 8}
        assert found["bits_per_dim"].value == pytest.approx(plain.value, abs=1e-6)
        assert found["bits_per_dim"].low == pytest.approx(plain.low, abs=1e-6)
        assert found["bits_per_dim"].high == pytest.approx(plain.high, abs=1e-6)
        assert found["bits_per_dim"].method == "bootstrap-t + AIS bracket"


def test_the_base_is_the_volume_of_the_cube_of_dequantised_images() -> None:
    for track in ("digits", "gauss"):
        levels = data.track(track).levels
        *_, log_z, _, _ = Likelihood().metrics([*energies([0.0]), *chains([0.0] * 2, [0.0] * 2)], data.track(track))
        assert log_z.value == pytest.approx(D * math.log(Cube.of_levels(levels).width), rel=1e-9)


def test_the_interval_is_the_sum_of_two() -> None:
    """Of the mean over images, and from the low end of the lower bound to the high end of the upper one."""
    nats, rng = np.random.default_rng(0).normal(3, 2, 50).tolist(), np.random.default_rng(1)
    weights = rng.normal(0, 0.5, (2, 64))
    found = metrics([*energies(nats), *chains(weights[0], weights[1])])
    value, bracket, plain = found["bits_per_dim"], found["log_z"], bits(records(nats))
    unit = D * math.log(2)
    assert value.value == pytest.approx(plain.value + bracket.value / unit)
    assert value.low == pytest.approx(plain.low + bracket.low / unit)
    assert value.high == pytest.approx(plain.high + bracket.high / unit)
    assert bracket.low == min(found["log_z_forward"].low, found["log_z_reverse"].value)
    assert bracket.high == max(found["log_z_reverse"].high, found["log_z_forward"].value)
    assert bracket.method == "AIS bracket, resampled starts"
    assert value.method == f"bootstrap-t + {bracket.method}"


def test_a_wide_bracket_and_a_crossed_one_give_a_reason_instead_of_a_number() -> None:
    steady = np.linspace(-0.1, 0.1, 20)
    for reverse, word in ((steady - 20, "known to 0.4"), (steady + 20, "crossed")):
        found = metrics([*energies([1.0, 2.0]), *chains(steady, reverse)])
        assert found["bits_per_dim"].value is None
        assert word in str(found["bits_per_dim"].reason)
        assert "forward 3.88" in str(found["bits_per_dim"].reason)
        assert found["log_z_forward"].value == pytest.approx(D * math.log(17 / 16), abs=0.01)
    narrow = metrics([*energies([1.0, 2.0]), *chains(steady, steady - WIDEST * D * math.log(2) + 0.2)])
    assert narrow["bits_per_dim"].value is not None


def test_effective_sizes_are_of_their_own_direction() -> None:
    found = metrics([*energies([1.0]), *chains([0.0] * 5, [0.0, 0.0, -1e3, -1e3, -1e3])])
    assert (found["forward"].value, found["reverse"].value) == (5, 2)


def test_weights_that_are_no_numbers_are_named() -> None:
    for bad, reason in (
        ([0.0, math.nan, math.inf], "2 of 3 forward log weights are NaN or infinite"),
        ([-math.inf] * 3, "all forward weights are 0"),
    ):
        found = metrics([*energies([1.0, 2.0]), *chains(bad, [math.nan] * 3)])
        assert found["log_z"].reason == reason
        assert found["bits_per_dim"].reason == f"the log density is not normalised: {reason}"


def test_a_normalised_density_is_annealed_where_truth_is_known_only() -> None:
    found = metrics([*records([1.0, 2.0]), *chains([math.nan] * 2, [math.nan] * 2)])
    assert found["bits_per_dim"].value is not None
    assert found["log_z"].reason == "the density is normalised: log Z = 0 is taken on trust"
    for track, check in (("gauss", True), ("digits", False)):
        annealed = [need.measurement for need in Likelihood().needs(data.track(track)) if need.source == "chains"]
        assert [each.check for each in annealed if isinstance(each, ImportanceWeights)] == [check] * 2


def test_a_linear_energy_is_right_through_all_measurements() -> None:
    """exp(c sum x) on the cube has a closed form, through all four measurements."""

    class Linear:
        normalized = False

        def log_density(self, x: Tensor) -> Tensor:
            return 1.5 * x.flatten(1).sum(1)

    found = {metric.name: metric for metric in Likelihood().metrics(measured(Linear(), "digits", chains=100), TRACK)}
    low, high = -1 / 32, 33 / 32
    truth = D * math.log((math.exp(1.5 * high) - math.exp(1.5 * low)) / 1.5)
    assert found["log_z"].value == pytest.approx(truth, abs=0.3)
    mean = 1.5 * data.load("digits", "test").pixels(0, 128).reshape(128, -1).sum(1).mean()
    expected = (truth - mean) / (D * math.log(2)) + 4
    assert found["bits_per_dim"].value == pytest.approx(expected, abs=0.01)
    assert found["bits_per_dim"].low < expected < found["bits_per_dim"].high


def test_jem_is_in_bits_per_dimension_and_a_little_better_than_noise() -> None:
    found = {
        metric.name: metric
        for metric in Likelihood().metrics(measured(jembench.load("jem"), "digits", chains=24), TRACK)
    }
    value = found["bits_per_dim"]
    assert 4.0 < value.low < value.value < value.high < math.log2(17)


def test_a_classifier_runs_as_a_density(tmp_path: Path) -> None:
    """A linear classifier, read as a density, is close to uniform: log Z is easy, and its columns are published."""
    model = jembench.wrap(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())
    result = jembench.evaluate(model, "likelihood", limit=20, output=tmp_path)
    found = result.metrics["test/bits_per_dim"]
    assert found.value == pytest.approx(math.log2(17), abs=0.2)
    assert found.method == "bootstrap-t + AIS bracket, resampled starts"
    assert list(result.records("likelihood")) == ["source", "index", *Likelihood.columns[1:]]


def test_log_z_of_photographs_is_not_annealed() -> None:
    """Hours would give a bracket too wide to use: the cell says so, and a normalised density needs none."""
    track = data.track("cifar10")
    assert {need.source for need in Likelihood().needs(track)} == {"test"}
    found = {metric.name: metric for metric in Likelihood().metrics(energies([1.0, 2.0]), track)}
    assert found["bits_per_dim"].reason == (
        "the log density is not normalised: log Z is annealed up to 512 dimensions, an image has 3,072"
    )
    found = {metric.name: metric for metric in Likelihood().metrics(records([1.0, 2.0]), track)}
    assert found["bits_per_dim"].value is not None
    assert found["log_z"].reason == "the density is normalised: log Z = 0 is taken on trust"
