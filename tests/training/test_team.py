"""A team shares a batch: the parts make up the whole, bit for bit. (Two processes: test_distributed.py.)"""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from jembench.ground import generators
from jembench.ground.shares import Share
from jembench.training.team import Team, local, team
from jembench.types import UserError


@st.composite
def partitions(draw):
    """A batch cut into any consecutive shares, empty ones among them."""
    total = draw(st.integers(1, 24))
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=5)))
    edges = [0, *cuts, total]
    return [Share(a, b, total) for a, b in pairwise(edges)]


@given(partitions(), st.sampled_from([torch.float32, torch.float64]))
def test_the_parts_of_noise_are_the_rows_of_the_whole_draw(shares, dtype):
    """For every partition, and the generator ends in one state everywhere."""
    total = shares[0].total
    whole = torch.randn((total, 2, 3), generator=generators.generator("noise"), dtype=dtype)
    parts, states = [], []
    for share in shares:
        generator = generators.generator("noise")
        own = share.of(torch.zeros((total, 2, 3), dtype=dtype))
        parts.append(share.noise_like(own, generator))
        states.append(generator.get_state())
        assert parts[-1].shape == own.shape
    assert torch.equal(torch.cat(parts), whole)
    assert all(torch.equal(state, states[0]) for state in states)


@given(partitions())
def test_shares_are_slices_in_order(shares):
    batch = torch.arange(shares[0].total)
    assert torch.cat([share.of(batch) for share in shares]).tolist() == batch.tolist()


@given(st.integers(1, 8), st.integers(1, 8))
def test_a_team_shares_evenly_and_completely(size, each):
    shares = [Team(rank, size).share(size * each) for rank in range(size)]
    assert [share.stop - share.start for share in shares] == [each] * size
    assert [i for share in shares for i in range(share.start, share.stop)] == list(range(size * each))
    assert {share.total for share in shares} == {size * each}


@given(st.integers(2, 8), st.integers(1, 64))
def test_a_batch_that_cannot_be_shared_evenly_is_refused(size, total):
    if total % size:
        with pytest.raises(UserError, match=f"training.batch = {total} cannot be shared out to {size} processes"):
            Team(0, size).share(total)
    else:
        assert Team(size - 1, size).share(total).stop == total


def test_a_team_of_one_does_everything_alone():
    alone, x = Team(), torch.arange(3.0)
    module = nn.Linear(2, 2)
    assert alone.leads
    assert alone.share(7) == Share(0, 7, 7)
    assert alone.mean(x) is x
    assert alone.gather(x) is x
    assert alone.broadcast(b"content") == b"content"
    assert alone.parallel(module) is module
    assert [Team(rank, 3).leads for rank in range(3)] == [True, False, False]


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE", "both"])
def test_without_torchrun_there_is_a_team_of_one(monkeypatch, missing):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
        if missing in (name, "both"):
            monkeypatch.delenv(name)
    with team("cpu") as members:
        assert members == Team()
    assert not torch.distributed.is_initialized()


def test_a_gpu_is_the_one_of_the_processes_place(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [local(device) for device in ("cuda", "cpu", "cuda:1")] == ["cuda:3", "cpu", "cuda:1"]
    monkeypatch.delenv("LOCAL_RANK")
    assert local("cuda") == "cuda"
