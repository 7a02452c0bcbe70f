"""The buffer gives different chains, restarts the stated fraction, and keeps what it is given."""

import pytest
import torch
from scipy import stats

from jembench import seeding
from jembench.replay import ReplayBuffer

SHAPE = (1, 2, 2)


def numbered(size):
    """A buffer whose image in slot i is i + 10 in all pixels, which no fresh noise can be."""
    return ReplayBuffer(torch.arange(10.0, 10 + size)[:, None, None, None].expand(size, *SHAPE).clone())


def test_a_fresh_buffer_is_uniform_noise():
    buffer = ReplayBuffer.fresh(3000, SHAPE, generator=seeding.generator("fresh"))
    assert stats.kstest(buffer.images.flatten().double().numpy(), "uniform").pvalue > 0.01


def test_no_chain_is_drawn_twice_and_each_equally_often():
    buffer, generator = numbered(20), seeding.generator("slots")
    counts = torch.zeros(20)
    for _ in range(500):
        images, slots = buffer.draw(8, restart=0, generator=generator)
        assert len(set(slots.tolist())) == 8
        assert torch.equal(images, buffer.images[slots])
        counts[slots] += 1
    # Without replacement a slot's count has variance 500 * .4 * .6; chi-square holds after rescaling, 19 degrees.
    statistic = ((counts - 200) ** 2 / 200).sum().item() / (1 - 8 / 20) * (19 / 20)
    assert statistic < stats.chi2.ppf(0.999, 19)


def test_all_chains_at_once_are_a_permutation():
    _, slots = numbered(20).draw(20, restart=0.5, generator=seeding.generator("all"))
    assert sorted(slots.tolist()) == list(range(20))


@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_the_restart_fraction_is_rho(rho):
    images, _ = numbered(20_000).draw(20_000, restart=rho, generator=seeding.generator("rho"))
    fresh = images.flatten(1) < 1
    assert torch.equal(fresh.all(1), fresh.any(1))  # a chain restarts as a whole
    assert stats.binomtest(int(fresh.all(1).sum()), 20_000, rho).pvalue > 0.01
    assert stats.kstest(images[fresh.all(1)].flatten().double().numpy(), "uniform").pvalue > 0.01


def test_restart_0_is_never_and_1_is_always():
    buffer = numbered(1000)
    assert (buffer.draw(1000, restart=0, generator=seeding.generator("r"))[0] >= 10).all()
    assert (buffer.draw(1000, restart=1, generator=seeding.generator("r"))[0] < 1).all()


def test_what_is_stored_is_what_is_drawn():
    buffer = numbered(6)
    images, slots = buffer.draw(3, restart=0, generator=seeding.generator("s"))
    images = (images + 100).requires_grad_()
    others = buffer.images[[i for i in range(6) if i not in slots]].clone()
    buffer.store(slots, images)
    drawn, found = buffer.draw(6, restart=0, generator=seeding.generator("t"))
    for slot, image in zip(slots, images, strict=True):
        assert torch.equal(drawn[found == slot][0], image.detach())
    assert torch.equal(buffer.images[[i for i in range(6) if i not in slots]], others)
    assert not buffer.images.requires_grad


def test_changing_what_was_drawn_does_not_change_the_buffer():
    buffer = numbered(4)
    images, _ = buffer.draw(4, restart=0, generator=seeding.generator("u"))
    images.zero_()
    assert torch.equal(buffer.images, numbered(4).images)


@pytest.mark.parametrize(("n", "restart"), [(0, 0.5), (5, 0.5), (2, -0.1), (2, 1.1), (2, float("nan"))])
def test_impossible_draws_are_refused(n, restart):
    with pytest.raises(ValueError, match="need 1 <= n <= 4"):
        numbered(4).draw(n, restart=restart, generator=seeding.generator())


def test_an_empty_buffer_is_refused():
    with pytest.raises(ValueError, match="at least one chain"):
        ReplayBuffer.fresh(0, SHAPE, generator=seeding.generator())
