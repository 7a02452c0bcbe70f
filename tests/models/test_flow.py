"""The flow inverts, its log-det is the Jacobian's, and it is the Glow of normflows on the same weights."""

import math
import warnings

import normflows as nf
import pytest
import torch
from torch import nn
from torch.nn.functional import pixel_unshuffle

from jembench.ground import generators
from jembench.models.flow import BOUND, ActNorm, Chain, Coupling, Flow, InvertibleConv

SHAPES = [
    ((1, 2, 2), 1),
    ((1, 8, 8), 1),
    ((1, 8, 8), 2),
    ((1, 8, 8), 3),
    ((3, 8, 8), 2),
    ((3, 8, 8), 3),
    ((2, 4, 8), 2),
]


def perturbed(module, sigma=0.03):
    """Every parameter moved by noise, so that no part of the module is the identity any more."""
    noise = generators.generator("perturbed")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += sigma * torch.randn(parameter.shape, generator=noise)
    return module


def flow(shape, scales, *, width=8, depth=3, sigma=0.03):
    with generators.forked("flow"):
        return perturbed(Flow(shape=shape, width=width, depth=depth, scales=scales), sigma)


def images(n, shape, dtype=torch.float32):
    return torch.rand((n, *shape), generator=generators.generator("images"), dtype=dtype)


@pytest.mark.parametrize(("shape", "scales"), SHAPES)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_it_inverts_both_ways(shape, scales, dtype, error):
    model, x = flow(shape, scales).to(dtype), images(64, shape, dtype)
    z, log_det = model(x)
    assert z.shape == (64, math.prod(shape))
    assert z.dtype == log_det.dtype == dtype
    assert (model.inverse(z) - x).abs().max() <= error
    given = torch.randn(z.shape, generator=generators.generator("z"), dtype=dtype)
    assert (model(model.inverse(given))[0] - given).abs().max() <= 5 * error


@pytest.mark.parametrize(("shape", "scales"), [*SHAPES[:4], ((3, 4, 4), 2), ((2, 4, 8), 2)])
def test_its_log_det_is_that_of_its_jacobian(shape, scales):
    model, x = flow(shape, scales, sigma=0.1).double(), images(3, shape, torch.float64)
    _, found = model(x)
    for image, log_det in zip(x, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat: model(flat.reshape(1, *shape))[0][0], image.flatten()
        )
        assert log_det.item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8)
    assert found.std() > 1e-3  # it depends on the image


@pytest.mark.parametrize("kind", [ActNorm, InvertibleConv, lambda channels: Coupling(channels, 5)])
def test_so_are_its_layers(kind):
    with generators.forked("layer"):
        layer = perturbed(kind(6), 0.1).double()
    x = images(2, (6, 2, 3), torch.float64)
    y, found = layer(x)
    for index, log_det in enumerate(found.expand(2)):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat: layer(flat.reshape(1, 6, 2, 3))[0].flatten(), x[index].flatten()
        )
        assert log_det.item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-10)
    assert torch.allclose(layer.inverse(y), x, atol=1e-12)


class Bounded(nn.Module):
    """Our bound on the log-scale behind normflows' coupling network, whose odd channels are log-scales."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        out = self.network(x)
        shift, raw = out[:, 0::2], out[:, 1::2]
        return torch.stack([shift, BOUND * torch.tanh(raw / BOUND)], dim=2).flatten(1, 2)


@torch.no_grad()
def theirs(actnorm, conv, coupling):
    """normflows' block with the weights of one step; it maps latents to data, so its affine maps are the inverses."""
    convolutions = [module for module in coupling.network if isinstance(module, nn.Conv2d)]
    channels, width = len(conv.sign), convolutions[0].out_channels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it calls the deprecated torch.lu
        block = nf.flows.GlowBlock(channels, width, scale_map="exp")
    affine, mixing, norm = block.flows
    network = affine.flows[1].param_map
    for own, copy in zip(convolutions, [m for m in network.net if isinstance(m, nn.Conv2d)], strict=True):
        weight, bias = own.weight, own.bias
        if own is convolutions[-1]:  # t and r one after the other here, in turns there
            weight, bias = (
                -p.reshape(2, channels // 2, *p.shape[1:]).transpose(0, 1).flatten(0, 1) for p in (weight, bias)
            )
        copy.weight.copy_(weight)
        copy.bias.copy_(bias)
    affine.flows[1].param_map = Bounded(network)
    mixing.P.copy_(conv.permutation)
    mixing.sign_S.copy_(conv.sign)
    for own, copy in ((conv.lower, mixing.L), (conv.upper, mixing.U), (conv.log_scale, mixing.log_S)):
        copy.copy_(own)
    norm.s.copy_(-actnorm.log_scale[None])
    norm.t.copy_(-actnorm.bias[None])
    norm.data_dep_init_done.fill_(1)
    return block


def multiscale(model):
    """normflows' multi-scale flow with the weights of ``model``, the coarsest scale first."""
    scales = []
    for scale in model.scales:
        _, *layers = scale
        steps = [theirs(*layers[start : start + 3]) for start in range(0, len(layers), 3)]
        scales.append([*reversed(steps), nf.flows.Squeeze()])
    scales.reverse()
    bases = [nn.Identity() for _ in scales]
    return nf.MultiscaleFlow(bases, scales, [nf.flows.Merge() for _ in scales[1:]])


@pytest.mark.parametrize(("shape", "scales"), [((1, 8, 8), 1), ((1, 8, 8), 3), ((3, 8, 8), 2)])
def test_it_is_the_glow_of_normflows(shape, scales):
    """Same weights, same latents and log-dets, through every layer, squeeze and split."""
    ours = flow(shape, scales, sigma=0.1)
    other, x = multiscale(ours).double(), images(10, shape, torch.float64)
    z, log_det = ours.double()(x)
    latents, expected = other.inverse_and_log_det(x)
    assert torch.allclose(z, torch.cat([part.flatten(1) for part in reversed(latents)], dim=1), atol=1e-9)
    assert torch.allclose(log_det, expected, atol=1e-9)


def test_initialising_gives_every_actnorm_mean_0_and_variance_1():
    """Of what it sees: the earlier ones are initialised before it. No forward pass does it by itself."""
    model, x = flow((3, 8, 8), 2), 5 + 3 * images(200, (3, 8, 8))
    before = [parameter.clone() for parameter in model.parameters()]
    model(x)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    model.initialise(x)
    seen = []
    layers = [module for module in model.modules() if isinstance(module, ActNorm)]
    for layer in layers:
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(output[0]))
    model(x)
    assert len(seen) == len(layers) == 6
    for y in seen:
        assert y.mean(dim=(0, 2, 3)).abs().max() < 1e-4
        assert (y.var(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-3
    again = [parameter.clone() for parameter in model.parameters()]
    model(2 * x)
    assert all(torch.equal(old, new) for old, new in zip(again, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_constant_channel_keeps_its_scale():
    layer = ActNorm(2)
    layer.initialise(torch.stack([torch.full((50, 3, 3), 0.7), images(50, (3, 3))], dim=1))
    assert layer.log_scale[0].item() == 0
    assert layer.bias[0].item() == pytest.approx(-0.7)
    assert layer.log_scale[1].item() == pytest.approx(math.log(math.sqrt(12)), abs=0.1)


def test_it_starts_volume_preserving_and_near_identity():
    """Squeezes, rotations and identities: an isometry."""
    with generators.forked("fresh"):
        model = Flow(shape=(1, 8, 8), width=8, depth=3, scales=2)
    x = images(5, (1, 8, 8))
    z, log_det = model(x)
    assert log_det.abs().max() < 1e-4
    assert torch.allclose(z.norm(dim=1), x.flatten(1).norm(dim=1), rtol=1e-5)
    with generators.forked("conv"):
        conv = InvertibleConv(12).double()
    weight = conv(torch.eye(12, dtype=torch.float64)[:, :, None, None])[0].flatten(1)
    assert torch.allclose(weight @ weight.T, torch.eye(12, dtype=torch.float64), atol=1e-6)
    assert conv.permutation.sum(0).tolist() == conv.permutation.sum(1).tolist() == [1.0] * 12


def test_its_rotations_come_from_the_global_generator():
    def made(name):
        with generators.forked(name):
            return Flow(shape=(1, 4, 4), width=4, depth=2, scales=1).state_dict()

    first, again, other = made("a"), made("a"), made("b")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["scales.0.2.lower"], other["scales.0.2.lower"])
    assert not torch.equal(first["scales.0.2.lower"], first["scales.0.5.lower"])


def test_a_coupling_stretches_by_at_most_its_bound():
    """However wild its network, so that the inverse does not explode."""
    with generators.forked("wild"):
        layer = perturbed(Coupling(4, 8), 30.0)
    x = images(20, (4, 6, 6))
    y, log_det = layer(x)
    assert log_det.abs().max() <= BOUND * 2 * 36 * (1 + 1e-6)
    assert log_det.abs().max() > BOUND
    assert (layer.inverse(y) - x).abs().max() / y.abs().max() < 1e-5
    assert torch.equal(y[:, :2], x[:, :2])


def test_an_image_does_not_depend_on_its_batch():
    model, x = flow((1, 8, 8), 2), images(6, (1, 8, 8))
    together, alone = model(x), model(x[2:3])
    assert torch.allclose(together[0][2:3], alone[0], atol=1e-5)
    assert torch.allclose(together[1][2:3], alone[1], atol=1e-5)


def test_a_latent_is_the_finest_factor_first():
    """Of a flow whose layers are all the identity: second halves of the channels after each squeeze."""
    model = Flow(shape=(1, 4, 4), width=4, depth=1, scales=2)
    for scale in model.scales:
        assert isinstance(scale, Chain)
        del scale[1:]
    x = images(3, (1, 4, 4))
    first = pixel_unshuffle(x, 2)
    second = pixel_unshuffle(first[:, :2], 2)
    assert torch.equal(model(x)[0], torch.cat([first[:, 2:].flatten(1), second.flatten(1)], dim=1))


@pytest.mark.parametrize(
    ("shape", "scales", "message"),
    [
        ((1, 8, 8), 4, "4 scales need a height and width divisible by 16, not 8x8"),
        ((3, 6, 8), 2, "2 scales need a height and width divisible by 4, not 6x8"),
        ((3, 8, 7), 1, "1 scales need a height and width divisible by 2, not 8x7"),
    ],
)
def test_a_shape_that_cannot_be_squeezed_is_refused(shape, scales, message):
    with pytest.raises(ValueError, match=message):
        Flow(shape=shape, width=4, depth=1, scales=scales)
