"""log Z of log weights: closed forms of lognormal weights, Jensen, Markov, coverage, crossed bounds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from jembench.ground import seeding
from jembench.metrics.log_z import Bracket, bracket, effective_size, log_mean_exp

RNG = np.random.default_rng


def lognormal(n: int, sd: float, seed: int, *, log_ratio: float = 0.0) -> np.ndarray:
    """Log weights N(log_ratio - sd^2/2, sd^2): the mean weight is exp(log_ratio)."""
    return RNG(seed).normal(log_ratio - sd**2 / 2, sd, n)


def pair(n: int, sd: float, seed: int, log_z: float) -> Bracket:
    """Both directions of an ideal annealing with var log w = sd^2."""
    forward = lognormal(n, sd, seed, log_ratio=log_z)
    reverse = lognormal(n, sd, seed + 10**6, log_ratio=-log_z)
    return bracket(forward, reverse, log_z0=0.0, rng=seeding.rng("z", seed))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.floats(-1e4, 1e4))
def test_the_value_is_scipys_and_moves_with_the_weights(log_weights: list[float], shift: float) -> None:
    value = log_mean_exp(log_weights, rng=RNG(0)).value
    assert value == pytest.approx(logsumexp(log_weights) - math.log(len(log_weights)), abs=1e-9)
    moved = log_mean_exp(np.array(log_weights) + shift, rng=RNG(0)).value
    assert moved == pytest.approx(value + shift, abs=1e-6)


def test_a_weight_of_zero_counts() -> None:
    found = log_mean_exp([0.0, -math.inf, 0.0, -math.inf], rng=RNG(0))
    assert found.value == pytest.approx(math.log(0.5))


def test_equal_weights_have_no_error_and_a_single_one_has_markovs() -> None:
    assert log_mean_exp([3.0] * 5, rng=RNG(0)) == log_mean_exp([3.0] * 9, rng=RNG(1))
    single = log_mean_exp([3.0], rng=RNG(0))
    assert (single.value, single.high, single.method) == (3.0, None, "markov")
    assert single.low == pytest.approx(3 - math.log(40))


def test_one_weight_above_all_others_falls_back_to_markov() -> None:
    """Its bootstrap interval reaches below 0, of which there is no logarithm."""
    found = log_mean_exp([0.0] * 30 + [50.0], rng=RNG(0))
    assert found.method == "markov"
    assert found.low == pytest.approx(found.value - math.log(40))


@pytest.mark.parametrize("bad", [[], [math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_weights_without_a_mean_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="log_weights"):
        log_mean_exp(bad, rng=RNG(0))
    with pytest.raises(ValueError, match="log_weights"):
        effective_size(bad)


def test_effective_size_of_lognormal_weights() -> None:
    """n / (1 + cv^2), and cv^2 + 1 = exp(sd^2)."""
    n, sd = 200_000, 0.8
    assert effective_size(lognormal(n, sd, 0)) == pytest.approx(n * math.exp(-(sd**2)), rel=0.03)
    assert effective_size([1.0] * 7) == pytest.approx(7)


def test_forward_is_below_and_reverse_above_on_average() -> None:
    """Jensen: the gap of n lognormal weights is about (exp(sd^2) - 1) / (2 n) on each side."""
    brackets = [pair(20, 1.0, seed, 5.0) for seed in range(300)]
    below = 5 - np.mean([found.forward.value for found in brackets])
    above = np.mean([found.reverse.value for found in brackets]) - 5
    gap = (math.e - 1) / 40
    assert below == pytest.approx(gap, abs=0.04)
    assert above == pytest.approx(gap, abs=0.04)


@pytest.mark.parametrize("sd", [0.2, 1.0, 2.0])
def test_the_bracket_holds_log_z(sd: float) -> None:
    """Of 128 chains, up to tails so heavy that a few weights carry the mean."""
    found = [pair(128, sd, seed, -7.0) for seed in range(200)]
    held = np.mean([each.low <= -7 <= each.high for each in found])
    assert held >= 0.93
    assert all(each.low <= each.value <= each.high for each in found)
    assert all(each.low <= min(each.forward.value, each.reverse.value) for each in found)
    assert all(each.high >= max(each.forward.value, each.reverse.value) for each in found)
    assert np.mean([each.crossed for each in found]) <= 0.01


def test_forward_ends_are_below_log_z_as_often_as_they_say() -> None:
    ends = [log_mean_exp(lognormal(128, 1.5, seed), rng=seeding.rng("end", seed)).low for seed in range(300)]
    assert np.mean([end is not None and end <= 0 for end in ends]) >= 0.955


def test_bounds_that_contradict_each_other_are_crossed() -> None:
    forward = lognormal(128, 0.5, 1, log_ratio=3.0)
    honest = bracket(forward, lognormal(128, 0.5, 2, log_ratio=-3.0), log_z0=2.0, rng=RNG(0))
    assert not honest.crossed
    assert honest.value == pytest.approx(5, abs=0.2)
    # Reverse chains that start in one of several modes: its share of Z is missing.
    wrong = bracket(forward, lognormal(128, 0.5, 2, log_ratio=-1.0), log_z0=2.0, rng=RNG(0))
    assert wrong.crossed
    estimate = wrong.estimate("AIS bracket")
    assert (estimate.value, estimate.method) == (wrong.value, "AIS bracket")


def test_the_sign_of_the_reverse_direction() -> None:
    """Planted bug: reverse weights used as if they were forward give another log Z."""
    found = bracket([2.0, 2.5], [-2.0, -2.5], log_z0=10.0, rng=RNG(0))
    assert found.forward.value == pytest.approx(10 + logsumexp([2.0, 2.5]) - math.log(2))
    assert found.reverse.value == pytest.approx(10 - logsumexp([-2.0, -2.5]) + math.log(2))
    assert found.reverse.high > found.reverse.value
