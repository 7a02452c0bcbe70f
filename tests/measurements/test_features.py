"""Features: a linear readout of them is the logits, whoever shows them, and no foreign module is changed by the tap."""

import numpy as np
import pytest
import torch
from torch import nn

from jembench import data, models
from jembench.ground import generators
from jembench.measurements.features import Features
from jembench.measurements.logits import Logits
from jembench.models.softmax import Softmax
from jembench.types import Batch, Featured, UserError, capabilities
from jembench.zoo import catalogue
from jembench.zoo.references import ModelRef, parse

NAMES = ("jem", "jempp", "sadajem", "softmax", "softmax-adv")


def batch(n=7, track="digits"):
    images = data.load(track, "test")
    return Batch(torch.from_numpy(images.pixels(0, n)), torch.zeros(n), torch.arange(n), images.levels)


def foreign():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))


@pytest.mark.parametrize("name", NAMES)
def test_their_readout_is_the_logits_of_shipped_models(name):
    spec = catalogue.resolve(parse(name), track="digits")
    assert "features" in spec.capabilities
    model, given = catalogue.load(spec), batch()
    assert isinstance(model, Featured)
    found = Features().columns(model, given, generators.generator())["features"]
    with torch.no_grad():
        read = model.readout(torch.from_numpy(found)).numpy()
    assert read == pytest.approx(Logits().columns(model, given, generators.generator())["logits"], abs=1e-4)


@pytest.mark.parametrize("name", ["igebm", "glow", "glow-cond"])
def test_models_without_a_readout_do_not_claim_one(name):
    spec = catalogue.resolve(parse(name), track="digits")
    assert "features" not in spec.capabilities
    assert "features" not in capabilities(catalogue.load(spec))


def test_a_foreign_module_is_tapped_at_its_last_linear_layer():
    """The tap is gone after the pass, and the module's tensors have the names they had."""
    network = foreign()
    model, given = Softmax(network, tapped=True).eval(), batch()
    found = Features().columns(model, given, generators.generator())
    with torch.no_grad():
        assert found["features"] == pytest.approx(network[:3](given.images).numpy())
    assert model.readout is network[3]
    assert not network[3]._forward_pre_hooks
    assert set(found["forwards"]) == {1}
    assert set(dict(model.named_parameters())) == {f"network.{name}" for name, _ in network.named_parameters()}
    assert "features" in catalogue.resolve(ModelRef("object", "m", module=network), track="digits").capabilities


def test_who_does_not_say_that_it_may_be_tapped_is_not():
    model = Softmax(foreign())
    assert model.readout is None
    assert "features" not in capabilities(model)
    with pytest.raises(ValueError, match="shows no linear layer"):
        model.penultimate(batch().images)


@pytest.mark.parametrize("size", [1, 7, 250])
def test_they_do_not_depend_on_the_batch(size):
    model = catalogue.load(catalogue.resolve(parse("jem"), track="digits"))
    whole = Features().columns(model, batch(260), generators.generator())["features"]
    part = Features().columns(model, batch(size), generators.generator())["features"]
    assert np.allclose(part, whole[:size], atol=1e-5)


def test_the_table_of_networks_says_which_show_them():
    assert {name for name, network in models.NETWORKS.items() if network.features} == {"small", "wrn"}
    assert "features" in models.able("jem", "wrn")
    assert "features" not in models.able("jem", "timm")


def test_features_of_another_size_are_one_line():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.readout = nn.Linear(3, 10)

        def penultimate(self, x):
            return x.flatten(1)

    with pytest.raises(UserError, match=r"features of shape \(7, 64\), its last layer takes \(7, 3\)"):
        Features().columns(Odd(), batch(), generators.generator())
