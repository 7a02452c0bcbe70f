"""Networks of timm and torchvision: made for the track's shape, never downloaded, refused in one line."""

import socket

import pytest
import timm
import torch
import torchvision

from jembench.ground import generators
from jembench.models.library import Repeated, from_timm, from_torchvision
from jembench.types import UserError

DIGITS = (1, 8, 8)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No network access, in any library."""

    def refuse(*_, **__):
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def made(function, name, shape, classes=10):
    with generators.forked("library"):
        return function(name, shape=shape, classes=classes)


@pytest.mark.parametrize("shape", [DIGITS, (3, 32, 32), (4, 16, 16)])
def test_a_timm_network_has_the_channels_and_classes_of_the_track(shape):
    network = made(from_timm, "resnet10t", shape, classes=7)
    assert network(torch.rand((2, *shape))).shape == (2, 7)
    assert next(network.parameters()).shape[1] == shape[0]


def test_a_torchvision_network_sees_one_channel_three_times():
    network = made(from_torchvision, "squeezenet1_1", (1, 32, 32)).eval()
    assert isinstance(network, Repeated)
    x = torch.rand((2, 1, 32, 32), generator=generators.generator("x"))
    assert network(x).shape == (2, 10)
    assert torch.equal(network(x), network.network(x.repeat(1, 3, 1, 1)))


def test_three_channels_need_no_wrapper():
    network = made(from_torchvision, "resnet18", (3, 8, 8), classes=5)
    assert isinstance(network, torchvision.models.ResNet)
    assert network(torch.rand((2, 3, 8, 8))).shape == (2, 5)


def test_no_pretrained_weights_are_asked_for(monkeypatch):
    asked = {}

    def spy(library, function):
        def record(name, **options):
            asked[library] = options
            return function(name, **options)

        return record

    monkeypatch.setattr(timm, "create_model", spy("timm", timm.create_model))
    monkeypatch.setattr(torchvision.models, "get_model", spy("torchvision", torchvision.models.get_model))
    made(from_timm, "resnet10t", DIGITS)
    made(from_torchvision, "squeezenet1_1", (1, 32, 32))
    assert asked["timm"]["pretrained"] is False
    assert asked["torchvision"]["weights"] is None


def test_weights_are_those_of_the_global_generator():
    """So that a recipe's seed makes them."""
    first, second = (made(from_timm, "resnet10t", DIGITS).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_trying_a_network_leaves_no_trace():
    """Its running statistics are fresh, and the global generator is where building left it."""
    with generators.forked("trace"):
        tried = from_timm("mobilenetv3_small_050", shape=DIGITS, classes=10)  # it has batch norm and dropout
        after = torch.random.get_rng_state()
    with generators.forked("trace"):
        plain = timm.create_model("mobilenetv3_small_050", pretrained=False, in_chans=1, num_classes=10)
        assert torch.equal(torch.random.get_rng_state(), after)
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in tried.state_dict().items())
    assert tried.training


@pytest.mark.parametrize(
    ("function", "name", "message"),
    [
        (from_timm, "resnet10", "unknown timm model 'resnet10'; did you mean 'resnet10t'"),
        (from_torchvision, "resnet19", "unknown torchvision model 'resnet19'; did you mean 'resnet18'"),
        (from_timm, "hf-hub:timm/resnet10t.c3_in1k", "unknown timm model 'hf-hub:timm/resnet10t.c3_in1k'"),
        (from_timm, "resnet10t.c3_in1k", "unknown timm model 'resnet10t.c3_in1k'; did you mean"),
        (from_torchvision, "zzz", r"unknown torchvision model 'zzz' \(\d+ are known\)"),
        (from_torchvision, "fcn_resnet50", "unknown torchvision model 'fcn_resnet50'"),  # it segments
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(function, name, message):
    with pytest.raises(UserError, match=message) as caught:
        made(function, name, DIGITS)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("function", "name", "shape", "message"),
    [
        (from_timm, "vit_tiny_patch16_224", (3, 32, 32), "fails on images of shape .3, 32, 32.: AssertionError: "),
        (from_torchvision, "alexnet", DIGITS, "fails on images of shape .1, 8, 8.: RuntimeError: "),
        (from_torchvision, "googlenet", (3, 64, 64), "returns GoogLeNetOutputs for 2 images"),
        (from_torchvision, "resnet18", (2, 8, 8), "takes 1 or 3 channels, not 2"),
    ],
)
def test_a_network_that_cannot_take_the_images_is_refused(function, name, shape, message):
    with pytest.raises(UserError, match=message) as caught:
        made(function, name, shape)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
