"""A name is a stream: the same one always, another for every other name; integers are exactly uniform."""

import hashlib
import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jembench.ground import generators, seeding

KEYS = st.lists(st.integers(-(2**70), 2**70) | st.text(max_size=5), max_size=4)


def words(key: list, count: int) -> np.ndarray:
    """The stream of a name, derived once more: SHAKE-256 of half a SHA-256 of its JSON."""
    half = hashlib.sha256(json.dumps(key, separators=(",", ":")).encode()).digest()[:16]
    return np.frombuffer(hashlib.shake_256(half).digest(4 * count), dtype="<u4")


def first64(*key) -> int:
    return int(torch.empty(1, dtype=torch.int64).random_(generator=generators.generator(*key)))


@given(KEYS)
def test_the_same_name_is_the_same_stream(key):
    one, other = generators.generator(*key), generators.generator(*key)
    assert torch.equal(torch.randn(7, generator=one), torch.randn(7, generator=other))
    assert seeding.rng(*key).random() == seeding.rng(*key).random()


@pytest.mark.parametrize("key", [("a", 1), (0, "logits", "test", 3), ()])
def test_the_whole_state_is_filled_and_runs_as_mersenne_twister(key):
    """torch's float32 draws are 24 low bits of the words that numpy's MT19937 makes from the same state."""
    state = words(list(key), 624)
    own = generators.generator(*key).get_state().numpy()[24 : 24 + 8 * 624].view(np.uint64)
    assert np.array_equal(own, state)
    twister = np.random.MT19937()
    twister.state = {"bit_generator": "MT19937", "state": {"key": state.astype(np.uint32), "pos": 624}}
    expected = (twister.random_raw(2000) % 2**24) / 2**24
    drawn = torch.rand(2000, generator=generators.generator(*key)).numpy()
    assert np.array_equal(drawn, expected.astype(np.float32))


def test_two_thousand_names_have_two_thousand_streams():
    draws = [first64(seed, "logits", "test", chunk) for seed in range(40) for chunk in range(50)]
    assert len(set(draws)) == 2000


def test_seeds_that_agree_in_32_bits_are_different_seeds():
    """``torch.Generator.manual_seed`` starts the Mersenne Twister from 32 bits of its seed: why there is a hash."""
    plain = [torch.rand(1, generator=torch.Generator().manual_seed(seed)).item() for seed in (1, 1 + 2**32)]
    assert plain[0] == plain[1]
    assert first64(1) != first64(1 + 2**32)


def test_names_are_not_glued():
    """The parts of a name and their types count, not only their text."""
    names = [("a", "b"), ("ab",), ("a,b",), ("a", "b", ""), ("b", "a"), ("a", 1), ("a", "1"), ("a1",)]
    assert len({first64(*name) for name in names}) == len(names)


def test_draws_are_uniform_and_normal_within_a_stream_and_over_streams():
    """Over streams too: the first draw of every chunk must not repeat a pattern."""
    stream = generators.generator("sanity")
    firsts = [torch.rand(1, generator=generators.generator("sanity", i)).item() for i in range(4000)]
    assert stats.kstest(torch.rand(50_000, generator=stream, dtype=torch.float64).numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(torch.randn(50_000, generator=stream, dtype=torch.float64).numpy(), "norm").pvalue > 0.01
    assert stats.kstest(firsts, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 4 / np.sqrt(4000)


HIGH = 3 * 2**29  # 2**32 = 2 * HIGH + 2**30: under `words % HIGH` the values below 2**30 come in three ways, not two


def low_third(values: np.ndarray) -> float:
    """p-value of: two thirds of the values are below 2**30."""
    return stats.binomtest(int((values < 2**30).sum()), len(values), 2 / 3).pvalue


def test_integers_are_exact_where_a_remainder_is_biased():
    n = 20_000
    assert low_third(seeding.integers("exact", count=n, high=HIGH)) > 0.01
    assert low_third(words(["exact"], n).astype(np.int64) % HIGH) < 1e-9


@pytest.mark.parametrize("high", [2, 10, 17, 1000])
def test_integers_are_uniform(high):
    counts = np.bincount(seeding.integers("uniform", high, count=50_000, high=high), minlength=high)
    assert len(counts) == high
    assert stats.chisquare(counts).pvalue > 0.01


@given(
    high=st.integers(1, 2**31) | st.sampled_from([1, 2**31, 2**31 - 1, 2**30 + 1, 2**32 // 3 + 1]),
    count=st.integers(0, 50),
    more=st.integers(0, 300),
)
def test_integers_are_in_range_and_prefix_stable(high, count, more):
    """More draws never change the first ones; 2**32 // 3 + 1 rejects most words, a third of them."""
    few = seeding.integers("prefix", high, count=count, high=high)
    many = seeding.integers("prefix", high, count=count + more, high=high)
    assert np.array_equal(few, many[:count])
    assert len(few) == count
    assert ((many >= 0) & (many < high)).all()


@pytest.mark.parametrize("high", [0, -1, 2**31 + 1])
def test_an_impossible_range_is_refused(high):
    with pytest.raises(ValueError, match="high must be in"):
        seeding.integers("bad", count=1, high=high)


@given(st.integers(0, 300), KEYS)
def test_a_permutation_is_one(n, key):
    order = seeding.permutation(*key, n=n)
    assert np.array_equal(np.sort(order), np.arange(n))


def test_every_permutation_comes_equally_often():
    seen = [tuple(seeding.permutation("all", i, n=3).tolist()) for i in range(3000)]
    _, counts = np.unique(seen, axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01


def test_the_values_of_today_are_the_values_of_every_platform():
    """Data sets are made of these: a change of any is a new track version."""
    assert seeding.integers("pin", 0, count=6, high=10).tolist() == [8, 8, 1, 4, 0, 9]
    assert seeding.integers("pin", 0, count=4, high=HIGH).tolist() == [328750248, 455470472, 736514705, 1545718938]
    assert seeding.permutation("pin", n=8).tolist() == [4, 6, 1, 2, 5, 0, 7, 3]
    assert seeding.rng("pin").integers(0, 2**32, 3).tolist() == [3667329846, 273363526, 1667836001]
    state = generators.generator("pin").get_state()[24 : 24 + 16].tolist()
    assert state == [110, 174, 239, 199, 0, 0, 0, 0, 49, 50, 95, 123, 0, 0, 0, 0]


def test_an_unknown_layout_of_the_state_is_an_error_not_a_wrong_stream(monkeypatch):
    monkeypatch.setattr(generators, "_STATE_BYTES", 5000)
    with pytest.raises(RuntimeError, match="seeding must be adapted"):
        generators.generator("layout")


def draws() -> list[float]:
    """A number of each global generator."""
    return [torch.rand(1, dtype=torch.float64).item(), np.random.rand(), random.random()]  # noqa: NPY002


def states() -> tuple[bytes, bytes, object]:
    return torch.random.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes(), random.getstate()  # noqa: NPY002


def test_forked_gives_the_same_draws_for_the_same_key_and_leaves_no_trace():
    """Of torch, numpy and Python; whatever was drawn before, nested, and if the work in it fails."""
    before = states()
    with generators.forked("a", 1):
        first = draws()
        with generators.forked("b"):
            inner = draws()
        more = draws()
    assert states() == before
    draws()
    before = states()
    with generators.forked("a", 1):
        assert draws() == first
        assert draws() == more
    with pytest.raises(KeyError), generators.forked("b"):
        raise KeyError(draws() == inner)
    assert states() == before
    with generators.forked("b"):
        assert draws() == inner
    assert all(one != other for one, other in zip(first, inner, strict=True))


def test_forked_fills_the_whole_state_of_torch():
    """Not the 32 bits that ``torch.manual_seed`` starts from."""
    with generators.forked("a"):
        drawn = torch.rand(700)
    assert torch.equal(drawn, torch.rand(700, generator=generators.generator("a")))
