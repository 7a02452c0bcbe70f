"""The small network: smooth, and no image of a batch sees another."""

import pytest
import torch

from jembench.ground import generators
from jembench.models.small import SmallNet


def network(shape=(1, 8, 8)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallNet(shape=shape, classes=10, width=4)


def test_an_input_gradient_is_of_one_image_alone():
    """No layer mixes the batch: what SGLD and the approximate mass need."""
    x = torch.rand((3, 1, 8, 8), generator=generators.generator("x"), requires_grad=True)
    (gradient,) = torch.autograd.grad(network()(x)[1].sum(), x)
    assert gradient[1].abs().min() > 0  # every pixel counts
    assert gradient[0].abs().max() == gradient[2].abs().max() == 0


def test_training_and_evaluation_mode_are_one_function():
    x = torch.rand((3, 1, 8, 8), generator=generators.generator("x"))
    assert torch.equal(network().train()(x), network().eval()(x))


def test_it_is_smooth():
    """Gradients by finite differences; and along a line, half the step makes half the change of the slope.

    A kink, such as a ReLU's, changes the slope by as much however small the step.
    """
    model = network((1, 4, 4)).double()
    x = torch.rand((1, 1, 4, 4), generator=generators.generator("s"), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model(x).logsumexp(1), (x,))
    assert torch.autograd.gradgradcheck(lambda x: model(x).logsumexp(1), (x,))

    changes = []
    for steps in (4000, 8000):
        t = torch.linspace(-4, 4, steps + 1, dtype=torch.float64, requires_grad=True)
        line = x.detach() - 0.5 + t[:, None, None, None]
        (slope,) = torch.autograd.grad(model(line).logsumexp(1).sum(), t)
        changes.append(slope.diff().abs().max().item())
    assert changes[0] / changes[1] == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 4, 12)])
def test_it_takes_every_shape_divisible_by_four(shape):
    assert network(shape)(torch.rand((2, *shape))).shape == (2, 10)


def test_stem_and_trunk_are_the_network_and_the_stem_is_one_convolution():
    """Bit for bit; and the names of the weights are those of the shipped ones."""
    model = network()
    x = torch.rand((3, 1, 8, 8), generator=generators.generator("x"))
    h = model.stem(x)
    assert torch.equal(h, torch.nn.functional.silu(torch.conv2d(x, *model.features[0].parameters(), padding=1)))
    assert torch.equal(model.trunk(h), model(x))
    assert torch.equal(model(x), model.head(model.features(x)))
    names = {f"features.{i}.{kind}" for i in (0, 2, 4, 6) for kind in ("weight", "bias")}
    assert set(model.state_dict()) == names | {"head.weight", "head.bias"}
