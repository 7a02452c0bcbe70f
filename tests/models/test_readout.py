"""Readout: what enters a layer, without a trace in the network."""

import pytest
import torch
from torch import nn

from jembench.models.readout import entering, last_linear


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def test_the_last_linear_layer_is_the_one_registered_last():
    made = network()
    assert last_linear(made) is made[3]
    assert last_linear(nn.Sequential(nn.Conv2d(1, 3, 2))) is None


def test_what_enters_a_layer_is_what_it_maps():
    made, x = network(), torch.rand((4, 2, 3))
    assert torch.equal(made[3](entering(made[3], made, x)), made(x))
    assert not made[3]._forward_pre_hooks


def test_gradients_pass_through_it():
    made, x = network(), torch.rand((4, 2, 3), requires_grad=True)
    (gradient,) = torch.autograd.grad(entering(made[3], made, x).sum(), x)
    assert gradient.abs().sum() > 0


def test_a_layer_that_nothing_enters_or_tokens_do_is_refused():
    made, x = network(), torch.rand((4, 2, 3))
    with pytest.raises(ValueError, match="no features"):
        entering(nn.Linear(5, 3), made, x)
    tokens = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="no features"):
        entering(tokens[0], tokens, x)


def test_the_tap_is_gone_after_a_failure():
    made = network()
    with pytest.raises(RuntimeError):
        entering(made[3], made, torch.rand((4, 7)))
    assert not made[3]._forward_pre_hooks
