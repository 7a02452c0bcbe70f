"""The buffer: chains go on where they ended, restart the stated fraction, keep their class, and can be shared out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jembench.ground import generators
from jembench.ground.shares import Share
from jembench.langevin.replay import ReplayBuffer
from jembench.langevin.starts import ClassGaussians, Start, Uniform

SHAPE = (1, 2, 2)


class Coded(Start):
    """Every pixel is -1 - the class: what no stored chain of these tests can be, and what tells the class."""

    def forward(self, labels, generator):
        torch.rand(len(labels), generator=generator)
        return (-1.0 - labels)[:, None, None, None].expand(-1, *self.shape).clone()


def uniform():
    return Uniform(shape=SHAPE, classes=3)


def gaussians():
    start = ClassGaussians(shape=SHAPE, classes=3)
    x = torch.rand((60, *SHAPE), generator=generators.generator("fit")) / 4
    start.fit(lambda y: x[y::3] + y / 4)
    return start


def coded():
    return Coded(shape=SHAPE, classes=3)


def whole(total):
    return Share(0, total, total)


def numbered(lanes, length):
    """A buffer whose chain m of lane l is 1 + l * length + m in all pixels, of class (l + m) mod 3."""
    number = torch.arange(lanes * length).reshape(lanes, length)
    labels = (torch.arange(lanes)[:, None] + torch.arange(length)) % 3
    images = (1.0 + number)[:, :, None, None, None].expand(lanes, length, *SHAPE).clone()
    return ReplayBuffer(images, labels, whole(lanes))


def evolved(share, start, *, length, restart, iterations, relabel=False):
    """A buffer after some iterations that move what they draw, and all that was drawn."""
    buffer = ReplayBuffer.fresh(share.total * length, start, share=share, generator=generators.generator("fresh"))
    drawn = []
    for i in range(iterations):
        generator = generators.generator("iteration", i)
        x, y, slots = buffer.draw(start, restart=restart, generator=generator, relabel=relabel)
        drawn.append((x.clone(), y.clone(), slots.clone()))
        buffer.store(slots, 0.9 * x + 0.1 * share.noise_like(x, generator), y)
    return buffer, drawn


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from([1, 2, 4]),
    each=st.integers(1, 4),
    length=st.integers(1, 5),
    restart=st.sampled_from([0.0, 0.3, 1.0]),
    start=st.sampled_from([uniform, gaussians]),
    relabel=st.booleans(),
)
def test_shares_make_up_the_buffer_of_one_process(size, each, length, restart, start, relabel):
    """Bit for bit: what is drawn, its classes, its slots, and what is stored, after several iterations."""
    total = size * each
    options = {"length": length, "restart": restart, "iterations": 6, "relabel": relabel}
    one, all_drawn = evolved(whole(total), start(), **options)
    parts = [evolved(Share(r * each, (r + 1) * each, total), start(), **options) for r in range(size)]
    assert torch.equal(torch.cat([buffer.images for buffer, _ in parts]), one.images)
    assert torch.equal(torch.cat([buffer.labels for buffer, _ in parts]), one.labels)
    for i, drawn in enumerate(all_drawn):
        for k, expected in enumerate(drawn):
            assert torch.equal(torch.cat([found[i][k] for _, found in parts]), expected)


def test_a_share_holds_its_lanes_and_no_others():
    """Memory is divided, not copied: a part is not a view of the whole buffer."""
    part = ReplayBuffer.fresh(24, uniform(), share=Share(2, 4, 8), generator=generators.generator("f"))
    assert part.images.shape == (2, 3, *SHAPE)
    assert part.images.untyped_storage().nbytes() == part.images.numel() * 4


def test_fresh_chains_are_starting_points_of_uniform_classes():
    buffer = ReplayBuffer.fresh(3000, coded(), share=whole(30), generator=generators.generator("fresh"))
    assert torch.equal(-1.0 - buffer.images[:, :, 0, 0, 0], buffer.labels.float())
    assert stats.chisquare(torch.bincount(buffer.labels.flatten()).numpy()).pvalue > 0.01
    noise = ReplayBuffer.fresh(3000, uniform(), share=whole(30), generator=generators.generator("fresh")).images
    assert stats.kstest(noise.flatten().double().numpy(), "uniform").pvalue > 0.01


def test_a_position_draws_from_its_own_lane():
    """So no chain is ever drawn twice in an iteration."""
    buffer, generator = numbered(6, 5), generators.generator("lanes")
    for _ in range(50):
        x, y, slots = buffer.draw(coded(), restart=0.0, generator=generator)
        assert torch.equal(x, buffer.images[torch.arange(6), slots])
        assert torch.equal(y, buffer.labels[torch.arange(6), slots])
        numbers = x[:, 0, 0, 0].long() - 1
        assert (numbers // 5).tolist() == list(range(6))
        assert torch.equal(numbers % 5, slots)


def test_each_chain_of_a_lane_is_drawn_equally_often():
    """A multinomial per lane: 8 lanes of 20 chains have 8 * 19 degrees of freedom."""
    buffer, generator = numbered(8, 20), generators.generator("often")
    counts = torch.zeros(8, 20)
    for _ in range(1000):
        _, _, slots = buffer.draw(coded(), restart=0.3, generator=generator)
        counts[torch.arange(8), slots] += 1
    statistic = ((counts - 50) ** 2 / 50).sum().item()
    assert stats.chi2.ppf(0.001, 8 * 19) < statistic < stats.chi2.ppf(0.999, 8 * 19)


def test_lanes_draw_independently():
    """Two positions draw the same slot as often as chance says, not always and not never."""
    buffer, generator = numbered(2, 4), generators.generator("pairs")
    pairs = torch.zeros(4, 4)
    for _ in range(1600):
        _, _, slots = buffer.draw(coded(), restart=0.0, generator=generator)
        pairs[slots[0], slots[1]] += 1
    assert stats.chisquare(pairs.flatten().numpy()).pvalue > 0.001


@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_the_restart_fraction_is_rho(rho):
    """A chain restarts as a whole, at a starting point of its new class, and the new classes are uniform."""
    x, y, _ = numbered(20_000, 1).draw(coded(), restart=rho, generator=generators.generator("rho"))
    fresh = x.flatten(1) < 0
    assert torch.equal(fresh.all(1), fresh.any(1))
    again = fresh.all(1)
    assert stats.binomtest(int(again.sum()), 20_000, rho).pvalue > 0.01
    assert torch.equal(-1.0 - x[again, 0, 0, 0], y[again].float())
    assert torch.equal(y[~again], numbered(20_000, 1).labels[~again, 0])
    assert stats.chisquare(torch.bincount(y[again]).numpy()).pvalue > 0.01


def test_restart_0_is_never_and_1_is_always():
    buffer = numbered(1000, 2)
    assert (buffer.draw(coded(), restart=0, generator=generators.generator("r"))[0] > 0).all()
    assert (buffer.draw(coded(), restart=1, generator=generators.generator("r"))[0] < 0).all()


def test_restarting_does_not_move_the_other_draws():
    """The slots and the chains that go on are the same for every restart probability."""
    buffer = numbered(200, 7)
    one, other = (buffer.draw(coded(), restart=rho, generator=generators.generator("r")) for rho in (0.0, 0.4))
    assert torch.equal(one[2], other[2])
    kept = other[0][:, 0, 0, 0] > 0
    assert 0.4 < kept.float().mean() < 0.8
    assert torch.equal(one[0][kept], other[0][kept])


@settings(max_examples=20, deadline=None)
@given(restart=st.floats(0, 1), seed=st.integers(0, 10_000))
def test_a_chain_keeps_its_class(restart, seed):
    """However often chains move, restart and are stored: every image still tells the class it was started with."""
    start, share = coded(), whole(4)
    buffer = ReplayBuffer.fresh(12, start, share=share, generator=generators.generator(seed))
    for i in range(15):
        generator = generators.generator(seed, i)
        x, y, slots = buffer.draw(start, restart=restart, generator=generator)
        assert torch.equal((-1 - x[:, 0, 0, 0]).round().long(), y)
        buffer.store(slots, x + 0.01 * torch.rand(x.shape, generator=generator), y)
    assert torch.equal((-1 - buffer.images[:, :, 0, 0, 0]).round().long(), buffer.labels)


def test_relabelled_chains_get_uniform_classes_and_the_same_images():
    """All of them anew, those that go on among them; what was drawn otherwise does not change."""
    buffer = numbered(20_000, 1)
    plain = buffer.draw(coded(), restart=0.1, generator=generators.generator("label"))
    x, y, slots = buffer.draw(coded(), restart=0.1, generator=generators.generator("label"), relabel=True)
    assert torch.equal(x, plain[0])
    assert torch.equal(slots, plain[2])
    fresh = x[:, 0, 0, 0] < 0
    assert torch.equal(y[fresh], plain[1][fresh])
    table = torch.bincount(3 * plain[1][~fresh] + y[~fresh], minlength=9).reshape(3, 3)
    assert stats.chi2_contingency(table.numpy()).pvalue > 0.01  # the new class knows nothing of the old
    assert stats.chisquare(table.sum(0).numpy()).pvalue > 0.01


def test_what_is_stored_is_what_is_drawn():
    """The end of a chain and its class come to its own place, and no other place changes."""
    buffer = numbered(3, 4)
    before = numbered(3, 4)
    x, y, slots = buffer.draw(coded(), restart=0, generator=generators.generator("s"))
    ends = (x + 100).requires_grad_()
    buffer.store(slots, ends, (y + 1) % 3)
    lanes = torch.arange(3)
    assert torch.equal(buffer.images[lanes, slots], ends.detach())
    assert torch.equal(buffer.labels[lanes, slots], (y + 1) % 3)
    changed = (buffer.images != before.images).flatten(2).any(2)
    assert changed.sum() == 3
    assert changed[lanes, slots].all()
    assert not buffer.images.requires_grad
    x, _, again = buffer.draw(coded(), restart=0, generator=generators.generator("s"))
    assert torch.equal(again, slots)
    assert torch.equal(x, ends.detach())


def test_changing_what_was_drawn_does_not_change_the_buffer():
    buffer = numbered(4, 2)
    x, y, _ = buffer.draw(coded(), restart=0, generator=generators.generator("u"))
    x.zero_()
    y.zero_()
    assert torch.equal(buffer.images, numbered(4, 2).images)
    assert torch.equal(buffer.labels, numbered(4, 2).labels)


@pytest.mark.parametrize("restart", [-0.1, 1.1, float("nan")])
def test_impossible_restarts_are_refused(restart):
    with pytest.raises(ValueError, match=r"restart must be in \[0, 1\]"):
        numbered(4, 1).draw(coded(), restart=restart, generator=generators.generator())


@pytest.mark.parametrize(("size", "lanes"), [(0, 4), (6, 4), (3, 4)])
def test_lanes_are_of_one_length(size, lanes):
    with pytest.raises(ValueError, match=f"a buffer of {size} chains cannot be divided into {lanes} lanes"):
        ReplayBuffer.fresh(size, coded(), share=whole(lanes), generator=generators.generator())
