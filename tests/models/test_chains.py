"""The chains of a model: what they climb, where they start, and which of the persistent ones are taken."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jembench import data
from jembench.ground import generators
from jembench.langevin import sgld
from jembench.langevin.sgld import SGLD
from jembench.langevin.starts import ClassGaussians, Start, Uniform
from jembench.models import chains as chains_of
from jembench.models.chains import ChainSampler, EnergyModel, random_slots
from jembench.models.jem import JEM
from jembench.models.recipes import Recipe
from jembench.models.small import SmallNet
from jembench.models.wrn import WideResNet

SHAPE = (1, 8, 8)
NETWORKS = {"small": lambda: SmallNet(shape=SHAPE, classes=5, width=4)}
NETWORKS |= {"wrn": lambda: WideResNet(shape=SHAPE, classes=5, depth=10, width=1, norm="layer")}


def jem(name="small", *, chain=SGLD(steps=3), buffer=6, origin=None, mean=0.4, std=0.3):  # noqa: B008
    """A JEM of random weights large enough that gradients matter."""
    with generators.forked("jem", name):
        network = NETWORKS[name]()
    for p in network.parameters():
        p.data.mul_(2.5)
    sampler = ChainSampler(origin or Uniform(shape=SHAPE, classes=5), settings=chain, buffer=buffer)
    return JEM(network, sampler=sampler, mean=mean, std=std).eval()


def images(n=6):
    return torch.rand((n, *SHAPE), generator=generators.generator("x", n))


LABELS = torch.tensor([4, 0, 1, 1, 3, 2])


@pytest.mark.parametrize("name", NETWORKS)
def test_stem_and_head_compose_to_the_densities(name):
    """The normalisation of the pixels is in the stem; values and input gradients are those of the whole network."""
    model = jem(name)
    for labels, whole in ((None, model.log_density), (LABELS, lambda x: model.log_conditional(x, LABELS))):
        split, plain = (images().requires_grad_() for _ in range(2))
        one, other = model.head(model.stem(split), labels), whole(plain)
        assert torch.allclose(one, other, atol=1e-6)
        gradients = [torch.autograd.grad(value.sum(), x)[0] for value, x in ((one, split), (other, plain))]
        assert torch.allclose(*gradients, atol=1e-6)
        assert gradients[0].abs().max() > 1e-3
    assert torch.allclose(model.head(model.stem(images()), LABELS), model.logits(images())[range(6), LABELS])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("labels", [None, LABELS])
def test_proximal_sampling_runs_through_stem_and_head(name, labels):
    """The chain of the split network by hand: one pass of the trunk per step, the rest through the first layer."""
    quick = SGLD(steps=4, size=0.1, noise=0.02, inner=3, bounds=(0, 1))
    model, passes = jem(name, chain=quick), {"stem": 0, "trunk": 0}
    for part in passes:
        whole = getattr(model.network, part)

        def counted(x, part=part, whole=whole):
            passes[part] += 1
            return whole(x)

        setattr(model.network, part, counted)
    end = chains_of.climb(model, images(), labels, settings=quick, generator=generators.generator("climb"))
    assert passes == {"trunk": 4, "stem": 4 * 4}

    x, draws = images(), generators.generator("climb")
    first, rest = model.network.stem, model.network.trunk
    for _ in range(4):
        hidden = first((x - 0.4) / 0.3).detach().requires_grad_()
        f = rest(hidden)
        value = f.logsumexp(1) if labels is None else f[range(6), labels]
        (slope,) = torch.autograd.grad(value.sum(), hidden)
        for _ in range(3):
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad((first((x - 0.4) / 0.3) * slope).sum(), x)
            x = (x.detach() + 0.1 * gradient + 0.02 * torch.randn(x.shape, generator=draws)).clamp(0, 1)
    assert torch.allclose(end, x, atol=1e-5)
    assert (end - images()).abs().max() > 0.05


def test_one_move_per_gradient_needs_no_split():
    """A network without stem and trunk can be climbed, and gives what the chain of its density gives."""

    class Plain(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3].sin()

    quick = SGLD(steps=4, size=0.1, noise=0.02)
    model = JEM(Plain(), sampler=ChainSampler(Uniform(shape=SHAPE, classes=3), settings=quick, buffer=2))
    for labels, target in ((None, model.log_density), (LABELS % 3, lambda x: model.log_conditional(x, LABELS % 3))):
        found = chains_of.climb(model, images(), labels, settings=quick, generator=generators.generator("c"))
        expected = sgld.chain(target, images(), settings=quick, generator=generators.generator("c"))
        assert torch.equal(found, expected)
    with pytest.raises(AttributeError, match="stem"):
        chains_of.climb(model, images(), None, settings=SGLD(inner=2), generator=generators.generator())


def test_the_density_climbed_rises_and_labels_make_their_own_rise_most():
    model = jem()
    quick = SGLD(steps=30, size=0.2, noise=0.0)
    free = chains_of.climb(model, images(), None, settings=quick, generator=generators.generator())
    bound = chains_of.climb(model, images(), LABELS, settings=quick, generator=generators.generator())
    with torch.no_grad():
        assert (model.log_density(free) > model.log_density(images()) + 0.1).all()
        assert (model.log_conditional(bound, LABELS) > model.log_conditional(free, LABELS)).all()


def test_the_noise_can_be_given():
    """As a share's rows of a whole batch's."""
    model, calls = jem(), []

    def zeros(x, generator):
        calls.append(x.shape)
        return torch.zeros_like(x)

    loud, quiet = SGLD(steps=3, noise=5.0), SGLD(steps=3, noise=0.0)
    found = chains_of.climb(model, images(), None, settings=loud, generator=generators.generator(), noise=zeros)
    expected = chains_of.climb(model, images(), None, settings=quiet, generator=generators.generator())
    assert torch.equal(found, expected)
    assert len(calls) == 3
    inner = SGLD(steps=3, noise=5.0, inner=2)
    chains_of.climb(model, images(), None, settings=inner, generator=generators.generator(), noise=zeros)
    assert len(calls) == 3 + 6


class Coded(Start):
    """The class, as a grey level."""

    def forward(self, labels, generator):
        assert labels.device == generator.device  # drawn on the CPU, whatever the model's device
        return (labels / 10)[:, None, None, None].expand(-1, *self.shape).clone()


def codes(x):
    return (x[:, 0, 0, 0] * 10).round().long()


def test_fresh_chains_start_at_the_origin_of_their_class():
    model = jem(origin=Coded(shape=SHAPE, classes=5))
    x = model.sample(6, generator=generators.generator("f"), labels=LABELS, steps=0)
    assert torch.equal(codes(x), LABELS)
    drawn = codes(model.sample(3000, generator=generators.generator("f"), steps=0))
    counts = torch.bincount(drawn, minlength=5)
    assert counts.tolist() == pytest.approx([600] * 5, abs=5 * math.sqrt(600 * 0.8))


@pytest.mark.parametrize("start", ["fresh", "buffer"])
def test_a_conditional_sampler_climbs_its_classes_also_without_labels(start):
    """log p(x|y) of the class that the chain was started with; otherwise log p(x)."""
    seen = []

    class Spy(EnergyModel):
        def log_density(self, x):
            seen.append(None)
            return 0 * x.flatten(1).sum(1)

        def log_conditional(self, x, labels):
            seen.append((codes(x.detach()), labels))
            return 0 * x.flatten(1).sum(1)

    sampler = ChainSampler(Coded(shape=SHAPE, classes=5), settings=SGLD(steps=1, noise=0.0), buffer=20)
    sampler.labels.copy_(torch.arange(20) % 5)
    sampler.chains.copy_(sampler.origin(sampler.labels, generators.generator()))
    options = {"generator": generators.generator("spy"), "start": start, "steps": None}
    model = Spy(nn.Identity(), sampler=sampler)
    model.conditional = True
    model.sample(12, labels=None, **options)
    assert torch.equal(*seen.pop())
    wanted = torch.arange(12) % 5
    model.conditional = False
    model.sample(12, labels=wanted, **options)
    of, labels = seen.pop()
    assert torch.equal(of, wanted)
    assert torch.equal(labels, wanted)
    model.sample(12, labels=None, **options)
    assert seen == [None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 12), st.booleans(), st.integers(0, 99), st.data())
def test_chosen_slots_are_different_and_of_their_class_or_refused(labels, n, conditional, seed, drawn):
    held = torch.tensor(labels, dtype=torch.int64)
    wanted = None
    if conditional:
        wanted = torch.tensor(drawn.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=torch.int64)
        lacking = [
            f"{int((held == y).sum())} chains of class {y}, fewer than {int((wanted == y).sum())}"
            for y in range(4)
            if (held == y).sum() < (wanted == y).sum()
        ]
    else:
        lacking = [f"{len(held)} chains, fewer than {n}"] if n > len(held) else []
    if lacking:
        with pytest.raises(ValueError, match=f"the buffer holds {lacking[0]}"):
            random_slots(held, n, labels=wanted, generator=generators.generator(seed))
        return
    slots = random_slots(held, n, labels=wanted, generator=generators.generator(seed))
    assert len(set(slots.tolist())) == len(slots) == n
    if wanted is not None:
        assert torch.equal(held[slots], wanted)
    assert torch.equal(slots, random_slots(held, n, labels=wanted, generator=generators.generator(seed)))


def test_every_chain_of_a_class_is_chosen_equally_often():
    labels, counts = torch.tensor([0, 0, 1, 0, 1, 1, 0]), torch.zeros(7)
    generator = generators.generator("often")
    for _ in range(2000):
        counts[random_slots(labels, 2, labels=torch.tensor([1, 0]), generator=generator)] += 1
    assert counts[labels == 0].tolist() == pytest.approx([500] * 4, abs=5 * math.sqrt(500 * 0.75))
    assert counts[labels == 1].tolist() == pytest.approx([2000 / 3] * 3, abs=5 * math.sqrt(2000 * 2 / 9))


def test_every_chain_is_chosen_equally_often_in_every_place():
    counts, generator = torch.zeros(3, 5), generators.generator("places")
    for _ in range(1500):
        counts[range(3), random_slots(torch.zeros(5), 3, labels=None, generator=generator)] += 1
    assert counts.flatten().tolist() == pytest.approx([300] * 15, abs=5 * math.sqrt(300 * 0.8))


@pytest.mark.parametrize("inner", [1, 2])
def test_samples_are_clamped_and_the_chains_are_not_moved(inner):
    loud = SGLD(steps=1, size=1e-3, noise=3.0, inner=inner)
    model = jem(chain=loud)
    model.sampler.chains.fill_(0.5)
    x = model.sample(6, generator=generators.generator("clamp"), start="buffer")
    assert x.min() == 0
    assert x.max() == 1
    assert (model.sampler.chains == 0.5).all()


def recipe(**sampling):
    return Recipe.model_validate(
        {
            "track": "digits",
            "about": "a test",
            "model": {"kind": "jem", "network": "small", "width": 4},
            "objective": {"log_px": 1.0},
            "training": {"iterations": 1},
            "sampling": sampling,
        }
    )


def test_the_chain_of_a_recipe_is_its_sampling_part():
    """Every key arrives, and none at the place of another."""
    part = {"steps": 7, "inner": 3, "size": 0.11, "noise": 0.07, "clip": 0.9, "precision": "bf16", "buffer": 128}
    assert chains_of.settings(recipe(**part, clamp=True)) == SGLD(
        steps=7, size=0.11, noise=0.07, clip=0.9, bounds=(0.0, 1.0), inner=3, precision="bf16"
    )
    assert chains_of.settings(recipe(buffer=64)) == SGLD()  # the defaults agree
    made = chains_of.from_recipe(recipe(**part), data.track("digits"))
    assert made.chains.shape == (128, 1, 8, 8)
    assert made.settings == chains_of.settings(recipe(**part))
    assert type(made.origin) is Uniform
    assert type(chains_of.from_recipe(recipe(start="gaussian"), data.track("digits")).origin) is ClassGaussians


def test_starts_and_chains_travel_with_the_weights():
    """A fitted origin too, so that an evaluation's fresh chains begin where the training's did."""

    def made():
        return jem(origin=ClassGaussians(shape=SHAPE, classes=5))

    model, other = made(), made()
    model.sampler.origin.fit(lambda y: images(20)[y::5])
    model.sampler.chains.copy_(images())
    model.sampler.labels.copy_(LABELS)
    other.load_state_dict(model.state_dict())
    for start in ("fresh", "buffer"):
        one, same = (
            m.sample(6, generator=generators.generator("s"), labels=LABELS, start=start) for m in (model, other)
        )
        assert torch.equal(one, same)
