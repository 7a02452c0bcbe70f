"""The measurement ``annealed``: both directions against truth, exact and resampled starts, cost, streams."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

import jembench
from jembench import data
from jembench.ground import generators, seeding
from jembench.langevin.ais import Cube
from jembench.measurements.annealing import KNOTS
from jembench.measurements.partition import ImportanceWeights
from jembench.metrics import log_z
from jembench.metrics.log_z import Bracket
from jembench.types import Batch

Columns = dict[str, NDArray[np.generic]]
LEVELS = 17
CUBE = Cube.of_levels(LEVELS)


class Linear:
    """f(x) = c sum x: log Z = D log((e^{c u} - e^{c l}) / c) on the cube [l, u]^D."""

    def __init__(self, slope: float, *, normalized: bool = False) -> None:
        self.slope, self.normalized, self.forwards = slope, normalized, 0

    def log_density(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        shift = -self.log_z(x[0].numel()) if self.normalized else 0.0
        return self.slope * x.flatten(1).sum(1) + shift

    def log_z(self, dimension: int) -> float:
        c = self.slope
        return dimension * math.log((math.exp(c * CUBE.high) - math.exp(c * CUBE.low)) / c)


class Drawn(Linear):
    """The same, normalised, with samples: exact, or clamped to [0, 1] as a sampler's are."""

    def __init__(self, slope: float, *, clamp: bool) -> None:
        super().__init__(slope, normalized=True)
        self.clamp = clamp

    def sample(self, n: int, *, generator: Generator) -> Tensor:
        u = torch.rand((n, 1, 2, 3), generator=generator, dtype=torch.float64)
        ends = [math.exp(self.slope * end) for end in (CUBE.low, CUBE.high)]
        x = ((ends[0] + u * (ends[1] - ends[0])).log() / self.slope).float()
        return x.clamp(0, 1) if self.clamp else 0.5 + (x - 0.5) * 0.999 / CUBE.width


def batch(n: int, *, shape: tuple[int, ...] = (1, 2, 3), levels: int = LEVELS, forward: Columns | None = None) -> Batch:
    """Rows without images: they are NaN."""
    empty, labels = torch.full((n, *shape), math.nan), torch.zeros(n, dtype=torch.int64)
    return Batch(empty, labels, torch.arange(n), levels, (), () if forward is None else (forward,))


def measure(model: object, n: int, *, stream: str = "s", track: str = "", **options: object) -> tuple[Columns, Columns]:
    """Forward and reverse records, as an engine would join them."""
    shape, levels = (data.track(track).shape, data.track(track).levels) if track else ((1, 2, 3), LEVELS)
    rows = batch(n, shape=shape, levels=levels)
    up = ImportanceWeights("forward", **options).columns(model, rows, generators.generator(stream, "up"))
    given = batch(n, shape=shape, levels=levels, forward=up)
    return up, ImportanceWeights("reverse", **options).columns(model, given, generators.generator(stream, "down"))


def bounds(up: Columns, down: Columns, dimension: int, cube: Cube = CUBE) -> Bracket:
    base = dimension * math.log(cube.width)
    return log_z.bracket(up["log_weight_forward"], down["log_weight_reverse"], log_z0=base, rng=seeding.rng("z"))


@pytest.mark.parametrize("slope", [0.5, 6.0, -6.0])
def test_both_directions_bracket_a_known_constant(slope: float) -> None:
    model = Linear(slope)
    up, down = measure(model, 150)
    found = bounds(up, down, 6)
    assert found.low - 0.02 <= model.log_z(6) <= found.high + 0.02
    assert found.high - found.low < 0.3
    assert not down["exact"].any()


def test_the_oracle_is_right_within_half_a_nat() -> None:
    """log Z = 0 from exact samples, with half of the default temperatures."""
    up, down = measure(jembench.load("oracle", track="gauss"), 128, track="gauss", check=True, most=2000)
    found = bounds(up, down, 64, Cube.of_levels(65536))
    assert down["exact"].all()
    assert abs(found.value) <= 0.5
    assert found.low <= 0 <= found.high


@pytest.mark.slow
def test_the_oracle_is_right_within_half_a_nat_with_the_default_settings() -> None:
    for stream in ("a", "b", "c"):
        up, down = measure(jembench.load("oracle", track="gauss"), 128, track="gauss", check=True, stream=stream)
        found = bounds(up, down, 64, Cube.of_levels(65536))
        assert -0.5 <= found.low <= found.high <= 0.5
        assert max(abs(found.forward.value), abs(found.reverse.value)) <= 0.5


def test_jem_is_bracketed_to_a_thousandth_of_a_bit() -> None:
    up, down = measure(jembench.load("jem"), 32, track="digits")
    found = bounds(up, down, 64, Cube.of_levels(17))
    assert not found.crossed
    assert found.high - found.low < 0.1
    again = bounds(*measure(jembench.load("jem"), 32, track="digits", stream="other"), 64, Cube.of_levels(17))
    assert again.value == pytest.approx(found.value, abs=0.1)


def test_samples_that_touch_the_clamp_are_not_exact() -> None:
    _, down = measure(Drawn(2.0, clamp=True), 40, check=True)
    assert not down["exact"].any()
    up, down = measure(Drawn(2.0, clamp=False), 40, check=True)
    assert down["exact"].all()
    assert down["gradients"][0] == up["temperatures"][0] + 1  # nothing is spent on settling


def test_a_normalised_density_costs_nothing_unless_it_is_checked() -> None:
    model = Linear(2.0, normalized=True)
    up, down = measure(model, 5)
    assert model.forwards == 0
    for columns, name in ((up, "log_weight_forward"), (down, "log_weight_reverse")):
        assert np.isnan(columns[name]).all()
        assert not columns["forwards"].any()
        assert not columns["gradients"].any()
        assert {len(column) for column in columns.values()} == {5}
    up, down = measure(model, 100, check=True)
    assert bounds(up, down, 6).value == pytest.approx(0, abs=0.1)


def test_the_cost_is_what_was_spent() -> None:
    model = Linear(3.0)
    up, down = measure(model, 7)
    assert model.forwards == 7 * (int(up["forwards"][0]) + int(down["forwards"][0]))
    assert up["gradients"].tolist() == up["forwards"].tolist()
    assert int(down["forwards"][0]) == 64 + 1 + 50 + 1


def test_temperatures_follow_the_squared_length_of_the_path() -> None:
    few, many = (measure(Linear(slope), 60)[0]["temperatures"][0] for slope in (0.5, 30.0))
    assert few == 64
    assert many > 100
    assert measure(Linear(30.0), 60, most=80)[0]["temperatures"][0] == 80
    assert measure(Linear(0.5), 10, least=9)[0]["temperatures"][0] == 9


def test_what_reverse_needs_is_kept() -> None:
    up, _ = measure(Linear(3.0), 6)
    assert up["end"].shape == (6, 6)
    assert CUBE.low <= up["end"].min() <= up["end"].max() <= CUBE.high
    assert up["betas"].shape == up["sizes"].shape == (6, KNOTS)
    assert (up["betas"][:, 0] == 0).all()
    assert (up["betas"][:, -1] == 1).all()
    assert (up["betas"] == up["betas"][0]).all()
    assert (up["acceptance"] > 0).all()
    assert (up["acceptance"] <= 1).all()


def test_reverse_starts_in_proportion_to_the_forward_weights() -> None:
    """Two bimodal ends, one with all the weight: without settling, no chain starts at the other."""
    up, _ = measure(Linear(0.5), 4)
    up["log_weight_forward"] = np.array([0.0, -1e3, -1e3, -1e3])
    seen = []

    class Watch(Linear):
        def log_density(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            return super().log_density(x)

    ImportanceWeights("reverse", settle=0).columns(Watch(0.5), batch(9, forward=up), generators.generator("w"))
    np.testing.assert_allclose(seen[0].flatten(1), np.tile(up["end"][0], (9, 1)))


def test_a_density_that_is_no_number_is_recorded() -> None:
    class Broken(Linear):
        def log_density(self, x: Tensor) -> Tensor:
            return super().log_density(x) * math.nan

    up, down = measure(Broken(1.0), 4)
    assert np.isnan(up["log_weight_forward"]).all()
    assert np.isnan(down["log_weight_reverse"]).all()
    assert not ImportanceWeights.finite


def test_noise_comes_from_the_given_stream_alone() -> None:
    with generators.forked("elsewhere"):
        first = measure(Linear(2.0), 6)
    again, other = measure(Linear(2.0), 6), measure(Linear(2.0), 6, stream="other")
    for one, two, three in zip(first, again, other, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
        name = next(iter(one))
        assert (one[name] != three[name]).any()
