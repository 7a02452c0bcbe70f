"""The wide residual network: the published layout to the last key, and its logits by an independent forward pass."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from jembench.ground import generators
from jembench.models.wrn import WideResNet, from_official

NORMS = ("none", "batch", "instance", "layer", "act")
ALONE = ("none", "instance", "layer", "act")


def network(norm="none", *, shape=(1, 8, 8), depth=10, width=1, classes=3):
    """A small network whose every tensor is random, also gains, biases and running statistics."""
    made = WideResNet(shape=shape, classes=classes, depth=depth, width=width, norm=norm)
    generator = generators.generator("wrn")
    for name, tensor in made.state_dict().items():
        if tensor.is_floating_point():
            low = 0.5 if name.endswith(("running_var", "scale")) else -0.3
            tensor.copy_(low + torch.rand(tensor.shape, generator=generator) * 0.6)
    return made


def images(n, shape=(1, 8, 8)):
    return torch.rand((n, *shape), generator=generators.generator("x", n))


def official(*, channels, classes, depth, width, norm):
    """Names and shapes of a published state dict, typed from wgrathwohl/JEM, unused tensors included."""
    norms = {
        "none": lambda c: {},
        "batch": lambda c: {
            "weight": (c,),
            "bias": (c,),
            "running_mean": (c,),
            "running_var": (c,),
            "num_batches_tracked": (),
        },
        "instance": lambda c: {"weight": (c,), "bias": (c,)},
        "layer": lambda c: {"weight": (c,), "bias": (c,)},
        "act": lambda c: {"loc": (1, c, 1, 1), "scale": (1, c, 1, 1), "initialized": ()},
    }
    shapes = {}

    def convolution(name, before, after, kernel):
        shapes[f"{name}.weight"] = (after, before, kernel, kernel)
        shapes[f"{name}.bias"] = (after,)

    def normalisation(name, c):
        shapes.update({f"{name}.{key}": shape for key, shape in norms[norm](c).items()})

    convolution("f.conv1", channels, 16, 3)
    before = 16
    for stage, base in ((1, 16), (2, 32), (3, 64)):
        after = base * width
        for i in range((depth - 4) // 6):
            block = f"f.layer{stage}.{i}"
            normalisation(f"{block}.bn1", before)
            convolution(f"{block}.conv1", before, after, 3)
            normalisation(f"{block}.bn2", after)
            convolution(f"{block}.conv2", after, after, 3)
            if before != after or (stage > 1 and i == 0):
                convolution(f"{block}.shortcut.0", before, after, 1)
            before = after
    normalisation("f.bn1", before)
    for head, outputs in (("f.linear", 10), ("energy_output", 1), ("class_output", classes)):
        shapes[f"{head}.weight"], shapes[f"{head}.bias"] = (outputs, before), (outputs,)
    return shapes


def reference(state, x, norm, depth):
    """Logits from the state dict by torch.nn.functional alone, in evaluation mode."""

    def normalised(name, h):
        w = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        match norm:
            case "none":
                return h
            case "batch":
                return F.batch_norm(h, w["running_mean"], w["running_var"], w["weight"], w["bias"])
            case "instance" | "layer":
                dims = (2, 3) if norm == "instance" else (1, 2, 3)
                mean = h.mean(dims, keepdim=True)
                h = (h - mean) / (h.var(dims, keepdim=True, correction=0) + 1e-5).sqrt()
                return h * w["weight"][:, None, None] + w["bias"][:, None, None]
            case "act":
                return (h + w["loc"]) * w["scale"]

    def convolved(name, h, **how):
        return F.conv2d(h, state[f"{name}.weight"], state[f"{name}.bias"], **how)

    def active(h):
        return torch.where(h > 0, h, 0.2 * h)

    h = convolved("f.conv1", x, padding=1)
    for stage in (1, 2, 3):
        for i in range((depth - 4) // 6):
            block, stride = f"f.layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            inner = convolved(f"{block}.conv1", active(normalised(f"{block}.bn1", h)), padding=1)
            inner = convolved(f"{block}.conv2", active(normalised(f"{block}.bn2", inner)), padding=1, stride=stride)
            if f"{block}.shortcut.0.weight" in state:
                h = convolved(f"{block}.shortcut.0", h, stride=stride)
            h = h + inner
    h = F.adaptive_avg_pool2d(active(normalised("f.bn1", h)), 1).flatten(1)
    return F.linear(h, state["class_output.weight"], state["class_output.bias"])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("depth", "width"), [(16, 2), (28, 10)])
def test_keys_and_shapes_are_the_published_ones(norm, depth, width):
    with torch.device("meta"):
        made = WideResNet(shape=(3, 32, 32), classes=100, depth=depth, width=width, norm=norm)
    wanted = official(channels=3, classes=100, depth=depth, width=width, norm=norm)
    wanted = {
        name: shape
        for name, shape in wanted.items()
        if not name.startswith(("f.linear", "energy_output")) and not name.endswith("initialized")
    }
    assert {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()} == wanted


def test_wrn_28_10_has_its_published_size():
    """36.5 M: by the sum over stages of n blocks, in closed form."""

    def convolution(before, after, kernel):
        return (before * kernel**2 + 1) * after

    def stage(before, after, n):
        rest = (n - 1) * 2 * convolution(after, after, 3)
        return convolution(before, after, 3) + convolution(after, after, 3) + convolution(before, after, 1) + rest

    by_hand = convolution(3, 16, 3) + stage(16, 160, 4) + stage(160, 320, 4) + stage(320, 640, 4) + 641 * 10
    with torch.device("meta"):
        made = WideResNet(shape=(3, 32, 32), classes=10, depth=28, width=10)
    assert sum(p.numel() for p in made.parameters()) == by_hand == 36_471_338


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_checkpoint_loads_strictly_and_gives_its_logits(norm, prefix):
    generator = generators.generator("official", norm)
    state = {
        name: torch.rand(shape, generator=generator) * 0.2 if shape else torch.tensor(1)
        for name, shape in official(channels=3, classes=10, depth=16, width=2, norm=norm).items()
    }
    made = WideResNet(shape=(3, 32, 32), classes=10, depth=16, width=2, norm=norm).eval()
    made.load_state_dict(from_official({prefix + name: tensor for name, tensor in state.items()}), strict=True)
    x = images(2, (3, 32, 32))
    assert torch.allclose(made(x), reference(state, x, norm, 16), rtol=1e-5, atol=1e-5)


def test_the_second_names_of_jempp_are_dropped():
    """Its network registers the first convolution, the stages and the last norm a second time."""
    state = network("batch").state_dict()
    twice = dict(state)
    for first, second in (("conv1", "layer_one"), ("layer1", "other_layers.0"), ("bn1", "other_layers.3")):
        start = f"f.{first}."
        twice |= {name.replace(start, f"f.{second}."): t for name, t in state.items() if name.startswith(start)}
    assert len(twice) > len(state)
    assert from_official(twice).keys() == state.keys()


def test_vera_checkpoints_have_their_head_inside():
    made = network()
    names = {"f.": "logp_net.", "class_output.": "logp_net.linear."}
    state = {}
    for name, tensor in made.state_dict().items():
        start = next(start for start in names if name.startswith(start))
        state[names[start] + name.removeprefix(start)] = tensor
    back = from_official(state)
    assert back.keys() == made.state_dict().keys()
    assert all(torch.equal(tensor, made.state_dict()[name]) for name, tensor in back.items())
    with pytest.raises(ValueError, match="VERA network with norm layers"):
        from_official({**state, "logp_net.layer1.0.bn1.weight": torch.ones(16)})


def test_reading_a_checkpoint_changes_nothing():
    state = {f"module.{name}": tensor for name, tensor in network().state_dict().items()}
    before = dict(state)
    made = from_official(state)
    assert state == before
    assert all(made[name.removeprefix("module.")] is tensor for name, tensor in state.items())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 20)])
def test_logits_are_those_of_an_independent_forward_pass(norm, shape):
    made = network(norm, shape=shape, depth=16).eval()
    x = images(3, shape)
    assert torch.allclose(made(x), reference(made.state_dict(), x, norm, 16), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_stem_and_trunk_are_the_network(norm):
    made = network(norm, shape=(3, 8, 8)).eval()
    x = images(2, (3, 8, 8))
    h = made.stem(x)
    assert h.shape == (2, 16, 8, 8)
    assert torch.equal(made.trunk(h), made(x))
    double = made.double()
    a, b = (images(2, (3, 8, 8)).double() * c for c in (1, 2))
    assert torch.allclose(double.stem(a + b), double.stem(a) + double.stem(b) - double.stem(0 * a))  # it is affine


def gradient_of_the_second(made, x):
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(made(x)[1].square().sum(), x)
    return gradient


@pytest.mark.parametrize("norm", ALONE)
@pytest.mark.parametrize("training", [True, False])
def test_an_input_gradient_is_of_one_image_alone(norm, training):
    made = network(norm).train(training)
    gradient = gradient_of_the_second(made, images(3))
    assert gradient[1].abs().max() > 0
    assert gradient[0].abs().max() == gradient[2].abs().max() == 0


def test_batch_norm_mixes_the_batch_in_training_only():
    """JEM++ samples in training mode: its chains see one another, as published."""
    assert gradient_of_the_second(network("batch").train(), images(3))[0].abs().max() > 0
    assert gradient_of_the_second(network("batch").eval(), images(3))[0].abs().max() == 0


def test_running_statistics_are_nine_parts_the_last_batch():
    made = network("batch").train()
    before = made.f.layer1[0].bn1.running_mean.clone()
    x = images(4)
    made(x)
    batch = made.stem(x).mean((0, 2, 3))
    assert torch.allclose(made.f.layer1[0].bn1.running_mean, 0.1 * before + 0.9 * batch, atol=1e-6)


@pytest.mark.parametrize("depth", [4, 12, 27, -2])
def test_another_depth_is_refused(depth):
    with pytest.raises(ValueError, match=rf"must be 6n \+ 4, such as 16 or 28, not {depth}"):
        WideResNet(shape=(1, 8, 8), classes=10, depth=depth, width=1)


def test_another_norm_is_refused():
    build = partial(WideResNet, shape=(1, 8, 8), classes=10, depth=10, width=1)
    with pytest.raises(ValueError, match="norm must be one of none, batch, instance, layer, act, not 'group'"):
        build(norm="group")
