"""Measurement ``samples``: the model's own chains, from its own starts; the buffer, each chain once."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

import jembench
from jembench import data
from jembench.choices.request import Request
from jembench.data.sets import CHAINS
from jembench.engine.plan import plan
from jembench.ground import generators
from jembench.langevin.sgld import SGLD
from jembench.langevin.starts import Uniform
from jembench.measurements.contract import describe
from jembench.measurements.samples import Samples, tempered
from jembench.models.chains import ChainSampler
from jembench.models.igebm import IGEBM
from jembench.models.jem import JEM
from jembench.types import Batch
from jembench.zoo.catalogue import resolve
from jembench.zoo.references import parse

SHAPE = (1, 8, 8)
CLASSES = 3
CHAIN = SGLD(steps=4, size=0.01, noise=0.02)
Columns = dict[str, NDArray[Any]]


class Bowls(nn.Module):
    """f(x)[y] = -|x - m_y|^2: linear gradients, so that a chain is an AR(1) process."""

    def forward(self, x: Tensor) -> Tensor:
        means = torch.linspace(0.2, 0.8, CLASSES)
        return -(x.flatten(1)[:, None] - means[:, None]).square().sum(2)

    def energies(self, x: Tensor) -> Tensor:
        return -self(x)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        return self.energies(x).gather(1, y[:, None]).squeeze(1)


def chains(buffer: int = 7, settings: SGLD = CHAIN, *, labelled: bool = False) -> ChainSampler:
    origin = Uniform(shape=SHAPE, classes=CLASSES)
    sampler = ChainSampler(origin, settings=settings, buffer=buffer, labelled=labelled)
    sampler.chains.copy_(torch.rand((buffer, *SHAPE), generator=generators.generator("buffer")))
    sampler.labels.copy_(torch.arange(buffer) % CLASSES)
    return sampler


def jem(buffer: int = 7, settings: SGLD = CHAIN) -> JEM:
    return JEM(Bowls(), sampler=chains(buffer, settings))


def igebm(buffer: int = 7) -> IGEBM:
    return IGEBM(Bowls(), classes=CLASSES, sampler=chains(buffer, labelled=True))  # type: ignore[arg-type]


def batch(start: int, stop: int) -> Batch:
    index = torch.arange(start, stop)
    return Batch(torch.zeros((stop - start, *SHAPE)), index % CLASSES, index, 17)


def draw(model: Any, samples: Samples, start: int = 0, stop: int = 6) -> Columns:
    return samples.columns(model, batch(start, stop), generators.generator("samples"))


def test_fresh_chains_are_those_of_the_model() -> None:
    """The starts first, then the noise of each step: what ``sample`` does with the same generator."""
    found = draw(jem(), Samples())
    expected = jem().sample(6, generator=generators.generator("samples"))
    np.testing.assert_array_equal(found["image"], expected.flatten(1).numpy())
    assert found["asked"].tolist() == [-1] * 6
    assert found["there"].all()


def test_shipped_models_agree_with_their_own_sample() -> None:
    """Also with proximal steps, class Gaussians, and a flow."""
    for name in ("jem", "jempp", "igebm", "glow", "glow-cond"):
        model, given = jembench.load(name), batch(0, 5)
        found = Samples().columns(model, given, generators.generator("s"))
        labels = given.labels if name == "igebm" else None
        expected = model.sample(5, generator=generators.generator("s"), labels=labels)
        np.testing.assert_allclose(found["image"], expected.detach().flatten(1).numpy(), atol=1e-6)
        assert 0 <= found["image"].min() <= found["image"].max() <= 1


def test_no_steps_are_the_start() -> None:
    found = draw(jem(), Samples(steps=0))
    generator = generators.generator("samples")
    torch.randint(CLASSES, (6,), generator=generator)  # a class is drawn for every chain
    np.testing.assert_array_equal(found["image"], torch.rand((6, *SHAPE), generator=generator).flatten(1).numpy())
    assert found["gradients"].tolist() == [0] * 6


@pytest.mark.parametrize("steps", [None, 0, 9])
def test_steps_are_counted(steps: int | None) -> None:
    found = draw(jem(), Samples(steps=steps))
    length = CHAIN.steps if steps is None else steps
    assert found["gradients"].tolist() == [length] * 6
    assert found["forwards"].tolist() == [length + 1] * 6  # the confidence


def test_a_temperature_sets_the_noise_to_the_root_of_2_a_t() -> None:
    moved = tempered(CHAIN, steps=None, temperature=0.3)
    assert moved == SGLD(4, 0.01, math.sqrt(2 * 0.01 * 0.3))
    assert moved.temperature == pytest.approx(0.3)
    assert tempered(CHAIN, steps=2, temperature=None) == SGLD(2, 0.01, 0.02)


def test_the_temperature_is_that_of_what_is_sampled() -> None:
    """On one bowl of curvature 2, a chain of step a and temperature T has the variance T / (2 (1 - a))."""

    class Bowl(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return -(x - 0.5).square().flatten(1).sum(1, keepdim=True)

    model = JEM(Bowl(), sampler=chains(settings=SGLD(steps=60, size=0.1, noise=0.0)))
    for temperature in (0.001, 0.004):
        found = draw(model, Samples(temperature=temperature), 0, 300)["image"]
        n = found.size
        assert found.var() == pytest.approx(temperature / (2 * 0.9), rel=5 * math.sqrt(2 / n))
        assert found.mean() == pytest.approx(0.5, abs=5 * math.sqrt(temperature / n))


def test_conditional_chains_are_asked_for_the_classes_in_turn() -> None:
    found = draw(jem(settings=SGLD(steps=60, size=0.1, noise=0.0)), Samples(conditional=True))
    assert found["asked"].tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(found["image"].mean(1), [0.2, 0.5, 0.8] * 2, atol=1e-3)


def test_chains_of_an_igebm_are_always_asked_for_a_class() -> None:
    """Its chains climb log p(x|y) only; fresh and conditional ones differ by nothing but the name."""
    fresh, conditional = (draw(igebm(), Samples(conditional=flag)) for flag in (False, True))
    assert fresh["asked"].tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_array_equal(fresh["image"], conditional["image"])
    buffer = draw(igebm(), Samples(start="buffer"), 0, 7)
    lying = {tuple(x): int(y) for x, y in zip(igebm().sampler.chains.flatten(1).tolist(), range(7), strict=True)}
    assert [lying[tuple(x)] % CLASSES for x in buffer["image"].tolist()] == buffer["asked"].tolist()


def test_an_unconditional_buffer_was_asked_for_no_class() -> None:
    """Noise has no class and log p(x) does not know one: of the shipped ones, not jem but those of class Gaussians."""
    assert draw(jem(), Samples(start="buffer"))["asked"].tolist() == [-1] * 6
    for name, labelled in (("jem", False), ("jempp", True), ("igebm", True)):
        found = Samples(start="buffer").columns(jembench.load(name), batch(0, 50), generators.generator("unused"))
        assert (found["asked"] >= 0).tolist() == [labelled] * 50


def test_every_persistent_chain_is_taken_once_in_a_fixed_order() -> None:
    """However the rows are cut into chunks, and whatever the generator: they lie there already."""
    whole = draw(jem(), Samples(start="buffer"), 0, 10)
    parts = [
        Samples(start="buffer").columns(jem(), batch(*cut), generators.generator("other")) for cut in ((0, 3), (3, 10))
    ]
    for name in ("image", "there", "confidence"):
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])
    assert whole["there"].tolist() == [True] * 7 + [False] * 3
    assert np.isnan(whole["image"][7:]).all()
    lying = jem().sampler.chains.flatten(1).numpy()
    rows = {tuple(row) for row in whole["image"][:7].tolist()}
    assert rows == {tuple(row) for row in lying.tolist()}
    assert not np.array_equal(whole["image"][:7], lying)  # a prefix is a random sample


def test_an_empty_buffer_has_nothing() -> None:
    found = draw(jem(buffer=0), Samples(start="buffer"))
    assert not found["there"].any()
    assert np.isnan(found["image"]).all()


def test_the_confidence_is_the_models_own() -> None:
    found = draw(jem(), Samples())
    x = torch.from_numpy(found["image"]).reshape(6, *SHAPE)
    np.testing.assert_allclose(found["confidence"], jem().logits(x).softmax(1).amax(1).numpy(), rtol=1e-6)

    class SamplerOnly:
        def sample(self, n: int, *, generator: Generator, labels: Tensor | None = None) -> Tensor:
            return 3 * torch.rand((n, *SHAPE), generator=generator) - 1

    found = draw(SamplerOnly(), Samples())
    assert np.isnan(found["confidence"]).all()
    assert (found["image"].min(), found["image"].max()) == (0, 1)  # clamped


def test_chains_that_diverge_are_recorded_as_they_are() -> None:
    found = draw(jem(settings=SGLD(steps=300, size=50.0, noise=0.0)), Samples())
    assert np.isnan(found["image"]).any()
    assert found["image"].shape == (6, 64)


def test_samples_of_a_chunk_depend_on_seed_and_chunk_only() -> None:
    """Of two results of different lengths the common chunks are the same jobs, with streams of their own."""
    spec, track = resolve(parse("jem"), track="digits"), data.track("digits")

    def jobs(**options: Any) -> list[Any]:
        made = plan(spec, "generation", track=track, request=Request(**options))
        return [job for need, part in made.parts for job in part if need.measurement == Samples() and not need.model]

    whole, part, other = jobs(), jobs(limit=360), jobs(seed=1)
    assert [job.key for job in part] == [job.key for job in whole[:2]]
    assert len({job.stream for job in whole}) == len(whole)
    assert not {job.stream for job in whole} & {job.stream for job in other}
    assert {job.source for job in whole} == {CHAINS}


def test_what_they_need_and_what_they_are_called() -> None:
    assert Samples().requires == {"sampler"}
    assert Samples(start="buffer").requires == {"sampler", "chain"}
    assert Samples(conditional=True).requires == {"sampler", "classifier"}
    titles = {Samples().title, Samples(start="buffer").title, Samples(conditional=True).title}
    assert titles == {"samples, fresh", "samples, buffer", "samples, conditional"}
    described = describe(Samples(steps=3, temperature=0.5))
    assert described == {
        "name": "samples",
        "version": 2,
        "start": "fresh",
        "conditional": False,
        "steps": 3,
        "temperature": 0.5,
    }
