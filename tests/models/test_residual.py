"""The residual energy network: unit spectral norms, one energy however it is asked for, and what the norms imply."""

import math

import pytest
import torch

from jembench.ground import generators
from jembench.models.residual import ResidualEBM

SHAPE = (1, 8, 8)


def network(shape=SHAPE, *, classes=3, width=4, iterations=0):
    """A network whose classes differ, after some power iterations."""
    with generators.forked("residual"):
        made = ResidualEBM(shape=shape, classes=classes, width=width)
        with torch.no_grad():
            for block in made.blocks:
                block.gain.add_(torch.randn(block.gain.shape))
                block.bias.add_(torch.randn(block.bias.shape))
            x = torch.rand((1, *shape))
            for _ in range(iterations):
                made.energy(x, torch.zeros(1, dtype=torch.int64))
    return made.eval()


def images(n, shape=SHAPE):
    return torch.rand((n, *shape), generator=generators.generator("x", n))


def layers(made):
    return {name: layer for name, layer in made.named_modules() if hasattr(layer, "parametrizations")}


def vectors(made):
    return {name: b.clone() for name, b in made.named_buffers() if name.endswith(("_u", "_v"))}


def test_every_layer_has_spectral_norm_one():
    """By a singular value decomposition of the weight as a matrix; the power iteration knows nothing of it."""
    made = network(iterations=300)
    found = layers(made)
    assert len(found) == 9  # stem, two in each of three blocks, one shortcut, head
    parameters = {name.partition(".parametrizations")[0] for name, p in made.named_parameters() if p.ndim > 2}
    assert parameters <= set(found)
    for name, layer in found.items():
        largest = torch.linalg.svdvals(layer.weight.detach().flatten(1).double())[0].item()
        assert largest == pytest.approx(1, abs=1e-4), name


def test_the_norm_is_one_whatever_the_size_of_the_weights():
    made = network(iterations=300)
    x, y = images(5), torch.arange(5) % 3
    before = made.energy(x, y)
    with torch.no_grad():
        for layer in layers(made).values():
            layer.parametrizations.weight.original.mul_(37)
    assert torch.allclose(made.energy(x, y), before, rtol=1e-4)


def test_training_mode_makes_one_power_iteration_and_evaluation_mode_none():
    made = network()
    before = vectors(made)
    weights = {name: layer.parametrizations.weight.original.detach().flatten(1) for name, layer in layers(made).items()}
    made.energies(images(2))
    assert all(torch.equal(b, before[name]) for name, b in vectors(made).items())
    made.train().energies(images(2))
    after = vectors(made)
    for name, w in weights.items():
        u = w @ before[f"{name}.parametrizations.weight.0._v"]
        u = u / u.norm()
        v = w.T @ u
        assert torch.allclose(after[f"{name}.parametrizations.weight.0._u"], u, atol=1e-5)
        assert torch.allclose(after[f"{name}.parametrizations.weight.0._v"], v / v.norm(), atol=1e-5)


def test_energies_of_all_classes_are_the_energies_of_each():
    made = network(classes=4)
    x = images(5)
    energies = made.energies(x)
    assert energies.shape == (5, 4)
    for b in range(5):
        for y in range(4):
            assert torch.allclose(energies[b, y], made.energy(x[b : b + 1], torch.tensor([y]))[0], rtol=1e-5, atol=1e-6)
    assert energies.std(1).min() > 0.01
    assert torch.equal(made(x), -energies)


def test_a_class_has_gains_and_biases_of_its_own():
    """The energy of one class has no gradient in those of another, and an untrained network knows no class."""
    made = network()
    made.energy(images(4), torch.full((4,), 1)).sum().backward()
    for block in made.blocks:
        for parameter in (block.gain, block.bias):
            assert parameter.grad[1].abs().min() > 0
            assert parameter.grad[[0, 2]].abs().max() == 0
    energies = ResidualEBM(shape=SHAPE, classes=3, width=4).eval().energies(images(4))
    assert torch.allclose(energies, energies[:, :1].expand(-1, 3))


@pytest.mark.parametrize("training", [True, False])
def test_an_input_gradient_is_of_one_image_alone(training):
    x = images(3).requires_grad_()
    made = network().train(training)
    (gradient,) = torch.autograd.grad(made.energies(x)[1].sum(), x)
    assert gradient[1].abs().min() > 0
    assert gradient[0].abs().max() == gradient[2].abs().max() == 0


def lipschitz(made, y):
    """A bound on the change of E(., y) per change of the image, by hand.

    A 3x3 convolution reads every pixel at most 9 times, so its norm is at most 3 times that of its matrix, which is 1;
    a 1x1 convolution's is 1; 2 SiLU has slope at most 2.2; a mean of 2x2 pixels has norm 1/2, a sum of 4 norm 2.
    """
    bound, slope = 3.0, 2.2
    for block, pool in zip(made.blocks, (0.5, 0.5, 1.0), strict=True):
        branch = slope * 3 * slope * 3 * block.gain[y].abs().max().item()
        bound *= pool * (1 + branch)
    return bound * slope * 2


def test_the_norms_bound_the_slope_of_the_energy():
    """|E(x, y) - E(x', y)| <= L |x - x'|, also along the steepest direction; 100-fold weights change nothing."""
    made = network(iterations=300)
    with torch.no_grad():
        for layer in layers(made).values():
            layer.parametrizations.weight.original.mul_(100)
    for y in range(3):
        x = (4 * images(64) - 2).requires_grad_()
        labels = torch.full((64,), y)
        energy = made.energy(x, labels)
        (gradient,) = torch.autograd.grad(energy.sum(), x)
        bound = lipschitz(made, y)
        assert 0 < gradient.flatten(1).norm(dim=1).max() <= bound
        moved = (x + gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]).detach()
        assert (made.energy(moved, labels) - energy).abs().max() <= bound


def test_the_energy_is_smooth():
    made = network((1, 4, 4), width=2).double()
    x = images(1, (1, 4, 4)).double().requires_grad_()
    assert torch.autograd.gradcheck(made.energies, (x,))
    assert torch.autograd.gradgradcheck(made.energies, (x,))


def test_it_learns_two_classes():
    """Unit norms leave enough signal for a few steps of Adam: bright and dark images are told apart."""
    with generators.forked("learns"):
        made = ResidualEBM(shape=SHAPE, classes=2, width=4)
    y = torch.arange(32) % 2
    x = images(32) * 0.5 + 0.5 * y[:, None, None, None]
    optimiser = torch.optim.Adam(made.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(made(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses[-1] < 0.2


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 32, 32), (2, 9, 5)])
def test_it_takes_images_of_every_size(shape):
    assert network(shape).energies(images(2, shape)).shape == (2, 3)


def test_the_state_dict_is_the_network():
    """The singular vectors travel with the weights: a loaded network has the same energies to the bit."""
    made, other = network(iterations=3), network()
    other.load_state_dict(made.state_dict())
    assert torch.equal(made.energies(images(3)), other.energies(images(3)))
