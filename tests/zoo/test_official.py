"""Official checkpoints: the same logits, gradients and chains as an independent network on the published tensors."""

import hashlib
import json
import pickle
import resource
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from jembench import data
from jembench.data import external
from jembench.ground import generators
from jembench.langevin.starts import ClassGaussians
from jembench.models.recipes import Recipe, read_recipe
from jembench.types import UserError
from jembench.zoo import baselines, catalogue, official
from jembench.zoo.references import parse

PUBLISHED = {"jem": "none", "jempp": "batch", "sadajem": "batch", "vera": "none"}
DIGITS = (1, 8, 8)
PHOTOGRAPHS = (3, 32, 32)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))


def table(*, layout, norm, depth=10, width=1, channels=1, classes=10):
    """Names and shapes of a published state dict, from the table in docs/checkpoints.md, unused tensors included."""
    norms = {
        "none": {},
        "batch": {"weight": "C", "bias": "C", "running_mean": "C", "running_var": "C", "num_batches_tracked": ""},
        "instance": {"weight": "C", "bias": "C"},
        "layer": {"weight": "C", "bias": "C"},
        "act": {"loc": "1C11", "scale": "1C11", "initialized": ""},
    }[norm]
    shapes = {}

    def affine(name, *shape):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    def normal(name, c):
        for key, form in norms.items():
            shapes[f"{name}.{key}"] = tuple(c if letter == "C" else 1 for letter in form)

    affine("conv1", 16, channels, 3, 3)
    before = 16
    for stage in (1, 2, 3):
        after = 16 * width * 2 ** (stage - 1)
        for i in range((depth - 4) // 6):
            block = f"layer{stage}.{i}"
            normal(f"{block}.bn1", before)
            affine(f"{block}.conv1", after, before, 3, 3)
            normal(f"{block}.bn2", after)
            affine(f"{block}.conv2", after, after, 3, 3)
            if i == 0 and (stage > 1 or before != after):
                affine(f"{block}.shortcut.0", after, before, 1, 1)
            before = after
    normal("bn1", before)
    if layout == "vera":
        affine("linear", classes, before)
        return {f"logp_net.{name}": shape for name, shape in shapes.items()}
    if layout == "jem":
        affine("linear", 10, before)
    shapes = {f"f.{name}": shape for name, shape in shapes.items()}
    affine("energy_output", 1, before)
    affine("class_output", classes, before)
    return shapes


def published(layout, *, norm=None, seed=0, **how):
    """A state dict of random tensors under the published names."""
    generator = generators.generator("published", layout, seed)
    state = {}
    for name, shape in table(layout=layout, norm=norm or PUBLISHED[layout], **how).items():
        if name.endswith(("num_batches_tracked", "initialized")):
            state[name] = torch.tensor(1)
        else:
            low = 0.5 if name.endswith(("running_var", "scale")) else -0.2
            state[name] = low + 0.4 * torch.rand(shape, generator=generator)
    if layout == "jempp":  # its split network registers its layers twice, as the same tensors
        for first, second in {"conv1": "layer_one", "layer1": "other_layers.0", "bn1": "other_layers.3"}.items():
            start = f"f.{first}."
            state |= {n.replace(start, f"f.{second}."): t for n, t in state.items() if n.startswith(start)}
    return state


def buffer(n=4, shape=DIGITS, seed=0):
    return 2 * torch.rand((n, *shape), generator=generators.generator("buffer", seed)) - 1


def saved(path, content, *, old=False):
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


def checkpoint(path, layout, *, n=4, shape=DIGITS, **how):
    """A file as the authors' code writes it."""
    state = published(layout, channels=shape[0], **how)
    if layout == "vera":
        return saved(path, {"epoch": 3, "train_accs": [0.5], "model": {"logp_net": state, "g": {"x": torch.ones(1)}}})
    return saved(path, {"model_state_dict": state, "replay_buffer": buffer(n, shape)})


def logits(state, u):
    """The published network on pixels u in [-1, 1], from its tensors alone, in evaluation mode."""
    start = "logp_net." if any(name.startswith("logp_net.") for name in state) else "f."
    head = "logp_net.linear" if start == "logp_net." else "class_output"

    def convolved(name, h, **how):
        return F.conv2d(h, state[f"{start}{name}.weight"], state[f"{start}{name}.bias"], **how)

    def active(name, h):
        if f"{start}{name}.running_mean" in state:
            mean, var, gain, bias = (
                state[f"{start}{name}.{key}"][:, None, None]
                for key in ("running_mean", "running_var", "weight", "bias")
            )
            h = (h - mean) / (var + 1e-5).sqrt() * gain + bias
        return h.clamp(min=0) + 0.2 * h.clamp(max=0)

    h = convolved("conv1", u, padding=1)
    for stage in (1, 2, 3):
        i = 0
        while f"{start}layer{stage}.{i}.conv1.weight" in state:
            block, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            inner = convolved(f"{block}.conv1", active(f"{block}.bn1", h), padding=1)
            inner = convolved(f"{block}.conv2", active(f"{block}.bn2", inner), padding=1, stride=stride)
            if f"{start}{block}.shortcut.0.weight" in state:
                h = convolved(f"{block}.shortcut.0", h, stride=stride)
            h, i = h + inner, i + 1
    return active("bn1", h).mean((2, 3)) @ state[f"{head}.weight"].T + state[f"{head}.bias"]


def climbed(energy, x):
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(x).sum(), x)
    return gradient


def assert_equal(model, state, shape, n=3):
    """Logits, log p(x) and its gradient, all to 1e-5 of their size."""
    x = torch.rand((n, *shape), generator=generators.generator("x"))
    theirs = logits(state, 2 * x - 1)
    for mine, wanted in (
        (model.logits(x), theirs),
        (model.log_density(x), theirs.logsumexp(1)),
        (climbed(model.log_density, x), climbed(lambda x: logits(state, 2 * x - 1).logsumexp(1), x)),
    ):
        assert (mine - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert theirs.std() > 0.1


@pytest.mark.parametrize("layout", PUBLISHED)
@pytest.mark.parametrize(("depth", "width"), [(16, 2), (10, 3)])
def test_a_checkpoint_gives_its_logits_and_gradients(tmp_path, layout, depth, width):
    path = checkpoint(tmp_path / "CIFAR10_MODEL.pt", layout, depth=depth, width=width, shape=PHOTOGRAPHS)
    state = published(layout, depth=depth, width=width, channels=3)
    spec = catalogue.resolve(parse(layout, weights=path), track="cifar10")
    assert spec.name == f"{layout}@CIFAR10_MODEL"
    assert_equal(catalogue.load(spec), state, PHOTOGRAPHS)


def wrapped(state):
    """Every way in which a state dict comes, and whether chains come with it."""
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    return {
        "whole": ({"model_state_dict": state, "replay_buffer": buffer()}, True),
        "parallel": ({"model_state_dict": prefixed, "replay_buffer": buffer()}, True),
        "compiled": ({"model_state_dict": {f"_orig_mod.{n}": t for n, t in prefixed.items()}}, False),
        "a part compiled": ({n.replace("f.", "f._orig_mod.", 1): t for n, t in state.items()}, False),
        "bare": (state, False),
        "bare, parallel": (prefixed, False),
        "state_dict": ({"state_dict": state, "epoch": 7}, False),
        "no chains": ({"model_state_dict": state, "replay_buffer": []}, False),
    }


@pytest.mark.parametrize("layout", ["jem", "jempp", "sadajem"])
@pytest.mark.parametrize("how", wrapped({}))
@pytest.mark.parametrize("old", [False, True])
def test_a_checkpoint_is_read_whatever_it_is_wrapped_in(tmp_path, layout, how, old):
    state = published(layout)
    content, chains = wrapped(state)[how]
    spec = catalogue.resolve(parse(layout, weights=saved(tmp_path / "x.pt", content, old=old)), track="digits")
    assert ("sampler" in spec.capabilities) is chains
    assert_equal(catalogue.load(spec), state, DIGITS)


@pytest.mark.parametrize("layout", ["jem", "jempp", "sadajem"])
@pytest.mark.parametrize("old", [False, True])
def test_the_chains_are_the_replay_buffer_in_our_units(tmp_path, layout, old):
    path = saved(tmp_path / "x.pt", {"model_state_dict": published(layout), "replay_buffer": buffer(130)}, old=old)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    spec = catalogue.resolve(parse(layout, weights=path), track="digits")
    chains, labels = catalogue.load(spec).persistent()
    assert torch.equal(chains, buffer(130)[:128] / 2 + 0.5)  # two lanes of each of 64 positions
    assert (labels == -1).all()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before  # it is mapped, and scaled in place
    assert "Of 130 chains the first 128 are kept" in Path(spec.ref.place).read_text()


@pytest.mark.parametrize("reach", [0.5, 1.0, 1.5])
def test_chains_that_are_not_clamped_may_leave_their_range_a_little(tmp_path, reach):
    x = reach * buffer()
    read = official.read(saved(tmp_path / "x.pt", {"model_state_dict": published("jem"), "replay_buffer": x}))
    assert torch.equal(read.chains, x / 2 + 0.5)


@pytest.mark.parametrize("place", ["x.safetensors", "x.pt", "folder/model.safetensors"])
def test_a_checkpoint_in_safetensors_is_one_too(tmp_path, place):
    """Without chains, which safetensors hold no place for; in a folder of Hugging Face as well."""
    state, path = published("jem"), tmp_path / place
    path.parent.mkdir(exist_ok=True)
    save_file(state, path)
    path = path.parent if path.parent.name == "folder" else path
    assert official.recognised(path)
    spec = catalogue.resolve(parse("softmax", weights=path), track="digits")
    assert_equal(catalogue.load(spec), state, DIGITS)


def theirs(layout, state, u, generator):
    """A published chain in [-1, 1], on log p(u) of the published tensors: the settings as the papers have them."""

    def energy(u):
        return logits(state, u).logsumexp(1)

    if layout == "jem":
        for _ in range(20):
            u = u + 1.0 * climbed(energy, u) + 0.01 * torch.randn(u.shape, generator=generator)
        return u
    if layout == "sadajem":
        for _ in range(10):
            u = (u + 1.0 * climbed(energy, u).clamp(-1, 1)).clamp(-1, 1)
        return u
    weight, bias = state["f.conv1.weight"], state["f.conv1.bias"]

    def first(u):
        return F.conv2d(u, weight, bias, padding=1)

    identity = torch.zeros(16, 16, 3, 3)
    identity[range(16), range(16), 1, 1] = 1
    rest = {**state, "f.conv1.weight": identity, "f.conv1.bias": torch.zeros(16)}
    for _ in range(10):
        h = first(u)
        p = climbed(lambda h: logits(rest, h).logsumexp(1), h)
        for _ in range(5):
            u = (u + 0.2 * climbed(lambda u, p=p: (first(u) * p).flatten(1).sum(1), u).clamp(-1, 1)).clamp(-1, 1)
    return u


@pytest.mark.parametrize("layout", ["jem", "jempp", "sadajem"])
def test_a_chain_is_the_published_one(tmp_path, layout):
    """Steps, noise, bound and clamp are of [0, 1] pixels, and move x by half of what theirs move u."""
    state, start = published(layout), buffer(6, seed=1)
    for _ in range(3):  # so that some elements of the gradient are above the bound of 1, and most are not
        largest = climbed(lambda u: logits(state, u).logsumexp(1), start).abs().max()
        state["class_output.weight"] *= 1.5 / largest
    path = saved(tmp_path / "x.pt", {"model_state_dict": state, "replay_buffer": buffer(6)})
    model = catalogue.load(catalogue.resolve(parse(layout, weights=path), track="digits"))
    with torch.no_grad():
        ours = model.advance(start / 2 + 0.5, generator=generators.generator("noise"))
    wanted = theirs(layout, state, start, generators.generator("noise"))
    assert (2 * ours - 1 - wanted).abs().max() < 1e-4
    assert (wanted - start).abs().max() > 1  # it moved, to the bounds where there are some


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "layer", "act"])
@pytest.mark.parametrize(("depth", "width"), [(10, 1), (22, 4)])
def test_a_network_is_told_by_its_tensors(tmp_path, norm, depth, width):
    path = checkpoint(tmp_path / "x.pt", "sadajem", norm=norm, depth=depth, width=width, classes=7)
    twins = norm in ("instance", "layer")
    if twins:
        with pytest.raises(UserError, match="say which by `jembench convert --norm instance` or `--norm layer`"):
            official.read(path)
    found = official.read(path, norm=norm if twins else None)
    assert (found.depth, found.width, found.norm, found.channels, found.classes) == (depth, width, norm, 1, 7)


@pytest.mark.parametrize("lost", ["f.bn1.running_mean", "f.bn1.", "f.layer1.0.bn1.running_var"])
def test_a_norm_is_told_by_all_of_its_layers(tmp_path, lost):
    """What one layer lacks is missing; it does not make another norm of all of them."""
    state = {name: tensor for name, tensor in published("sadajem").items() if not name.startswith(lost)}
    with pytest.raises(UserError, match=rf"not a whole WRN-10-1 with norm batch: \d tensors are missing, '{lost}"):
        official.read(saved(tmp_path / "x.pt", state))


@pytest.mark.parametrize("layout", PUBLISHED)
def test_a_layout_is_told_by_its_names(tmp_path, layout):
    path = checkpoint(tmp_path / "x.pt", layout)
    assert official.read(path).layout == layout
    for other in official.LAYOUTS:
        if ({layout, other} <= {"jempp", "sadajem"} and (layout, other) != ("jempp", "sadajem")) or other == layout:
            assert official.read(path, layout=other).layout == other
        else:
            with pytest.raises(UserError, match=f"has the layout of .*: ask for '{layout}'"):
                official.read(path, layout=other)


def test_vera_has_no_chains_and_is_a_classifier_with_a_density(tmp_path):
    spec = catalogue.resolve(parse("vera", weights=checkpoint(tmp_path / "x.pt", "vera")), track="digits")
    assert spec.capabilities == {"classifier", "density", "features"}
    assert read_recipe(Path(spec.ref.place)).model.kind == "softmax"


def test_any_of_them_is_a_softmax_classifier_if_asked(tmp_path):
    path = checkpoint(tmp_path / "x.pt", "jem")
    jem, softmax = (catalogue.resolve(parse(name, weights=path), track="digits") for name in ("jem", "softmax"))
    assert jem.fingerprint != softmax.fingerprint
    assert "sampler" not in softmax.capabilities
    assert_equal(catalogue.load(softmax), published("jem"), DIGITS)


def test_a_checkpoint_is_converted_once(tmp_path, monkeypatch):
    path = checkpoint(tmp_path / "x.pt", "jem")
    first = catalogue.resolve(parse("jem", weights=path), track="digits")
    monkeypatch.setattr(official, "read", None)
    assert catalogue.resolve(parse("jem", weights=path), track="digits") == first
    monkeypatch.undo()
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "elsewhere"))
    assert catalogue.resolve(parse("jem", weights=path), track="digits").fingerprint == first.fingerprint
    other = checkpoint(tmp_path / "y.pt", "jem", seed=1)
    assert catalogue.resolve(parse("jem", weights=other), track="digits").fingerprint != first.fingerprint


@pytest.mark.parametrize("how", ["zip", "old", "pickle", "beside", "legacy pickle"])
@pytest.mark.parametrize("ask", ["read", "resolve", "convert"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, how, ask, call, Bomb):
    target, path, state = tmp_path / "ran", tmp_path / "x.pt", published("jem")
    content = {"model_state_dict": state, "replay_buffer": Bomb(target)}
    if "pickle" in how:
        path.write_bytes(pickle.dumps(content, protocol=2 if how == "legacy pickle" else 4))
    else:
        if how == "beside":
            content = {"model_state_dict": state, "replay_buffer": buffer(), "args": {"x": [Bomb(target)]}}
        saved(path, content, old=how == "old")
    if ask == "convert":
        answer = call("convert", path, tmp_path / "out", "--track", "digits")
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        line = answer.err
    else:
        with pytest.raises(UserError) as error:
            official.read(path) if ask == "read" else catalogue.resolve(parse("jem", weights=path), track="digits")
        line = str(error.value)
        assert "\n" not in line
    assert not target.exists()
    assert not (tmp_path / "out").exists()
    if "pickle" not in how:
        assert "which can run code, so it was not loaded" in line
        torch.load(path, weights_only=False)
        assert target.exists()  # the bomb was live


@pytest.mark.parametrize("old", [False, True])
def test_a_truncated_file_is_refused(tmp_path, old):
    whole = saved(tmp_path / "whole.pt", {"model_state_dict": published("jem"), "replay_buffer": buffer()}, old=old)
    content = whole.read_bytes()
    path = tmp_path / "x.pt"
    for length in np.linspace(2, len(content) - 1, 30).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"x\.pt: .*damaged or incomplete") as error:
            official.read(path)
        assert "\n" not in str(error.value)


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


def endless():
    """A dict that holds itself, as a pickle may."""
    content = {"epoch": 1}
    content["model"] = content
    return content


JEM = published("jem")


def chains(x):
    return {"model_state_dict": JEM, "replay_buffer": x}


PIXELS = torch.linspace(0.004, 0.996, 4 * 64).reshape(4, 1, 8, 8)

BAD = {
    "nothing": ({}, "holds no state dict"),
    "numbers": ({"model_state_dict": {"f.conv1.weight": 3.0}}, "holds no state dict"),
    "a tensor": (torch.zeros(3), "holds no state dict"),
    "another network": ({"network.head.weight": torch.zeros(3)}, "no checkpoint of JEM.*'network.head.weight'"),
    "no block": ({n: t for n, t in JEM.items() if "layer1" not in n}, "is no wide residual network"),
    "a tensor less": (without(JEM, "f.layer2.0.conv2.bias"), "not a whole WRN-10-1 .*'f.layer2.0.conv2.bias'"),
    "a tensor more": (JEM | {"f.layer4.0.conv1.weight": torch.zeros(1)}, "not a whole WRN-10-1 .* unknown"),
    "a shape": (JEM | {"f.layer2.0.conv2.bias": torch.zeros(3)}, r"conv2.bias has shape \(3,\)"),
    "a type": (JEM | {"f.layer2.0.conv2.bias": torch.zeros(32).int()}, "has type torch.int32"),
    "a huge claim": (chains(torch.zeros(1).expand(10**9, 1, 8, 8)), "replay_buffer is not a plain tensor"),
    "chains of integers": (chains(torch.zeros(4, 1, 8, 8).int()), "no tensor of im"),
    "flat chains": (chains(torch.zeros(4, 64)), "no tensor of images"),
    "colour chains": (chains(torch.zeros(4, 3, 8, 8)), r"\(4, 3, 8, 8\)"),
    "one chain": (chains(torch.zeros(1, 1, 8, 8)), r"\(1, 1, 8, 8\)"),
    "dead chains": (chains(torch.full((4, 1, 8, 8), torch.nan)), "NaN"),
    "chains of bytes": (chains(PIXELS * 255), r"pixels from .* to 25.: chains of JEM are on -1..1"),
    "chains of bytes, half": (chains((PIXELS * 255).half()), "chains of JEM are on -1..1"),
    "chains about 128": (chains(PIXELS * 255 - 128), "chains of JEM are on -1..1"),
    "chains on 0..1": (chains(PIXELS), r"replay_buffer has pixels from 0.* to 0.*: chains of JEM are"),
    "vera with norms": (published("vera", norm="batch"), "a VERA network with norm layers"),
    "a number for chains": (chains(torch.tensor(3.0)), "no tensor of images"),
    "a count of chains": (chains(7), "no tensor of images"),
    "chains of nothing": (chains(torch.empty(4, 1, 8, 8, device="meta")), "replay_buffer is not a plain tensor"),
    "sparse chains": (chains(torch.zeros(4, 1, 8, 8).to_sparse()), "replay_buffer is not a plain tensor"),
    "a number for a head": (JEM | {"class_output.weight": torch.tensor(3.0)}, r"'class_output.weight' has shape \(\)"),
    "a head of nothing": (
        JEM | {"class_output.weight": torch.zeros(0, 64)},
        r"'class_output.weight' has shape \(0, 64",
    ),
    "a flat stem": (JEM | {"f.conv1.weight": torch.zeros(16)}, r"'f.conv1.weight' has shape \(16,\)"),
    "a narrow stage": (JEM | {"f.layer1.0.conv1.weight": torch.zeros(8, 16, 3, 3)}, "not a whole WRN-10-1"),
    "a huge stage": (
        JEM | {"f.layer1.0.conv1.weight": torch.zeros(1).expand(2**40, 2**20, 1, 1)},
        "is (no|not a whole) ",
    ),
    "weights of nothing": (
        JEM | {"class_output.weight": torch.empty(10, 64, device="meta")},
        "class_output.weight is not a plain tensor",
    ),
    "dead weights": (JEM | {"f.conv1.bias": torch.full((16,), torch.nan)}, "f.conv1.bias holds NaN or infinite"),
    "endless weights": (
        JEM | {"f.conv1.bias": torch.full((16,), 1e39, dtype=torch.float64)},
        "f.conv1.bias holds NaN or inf",
    ),
    "twice, parallel": (
        JEM | {"module.f.conv1.bias": torch.zeros(16)},
        "holds both 'f.conv1.bias' and 'module.f.conv1.bias'",
    ),
    "twice, vera": ({**published("vera"), "f.conv1.bias": torch.zeros(16)}, "two of its names mean the same tensor"),
    "endless": (endless(), "holds no state dict"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, what):
    content, words = BAD[what]
    path = saved(tmp_path / "x.pt", content)
    with pytest.raises(UserError, match=words) as error:
        official.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("how", "shape", "words"),
    [
        ({"classes": 100}, PHOTOGRAPHS, "is a WRN-10-1, norm none, 100 classes.* track cifar10 has 10 classes"),
        ({}, DIGITS, r"images of shape \(1, 8, 8\); track cifar10 has .* \(3, 32, 32\)"),
        ({}, (3, 16, 16), r"images of shape \(3, 16, 16\)"),
    ],
)
def test_a_checkpoint_of_another_track_is_refused(tmp_path, how, shape, words):
    path = checkpoint(tmp_path / "x.pt", "jem", shape=shape, **how)
    with pytest.raises(UserError, match=words):
        catalogue.resolve(parse("jem", weights=path), track="cifar10")


def test_a_model_that_takes_no_checkpoint_says_what_does(tmp_path):
    path = checkpoint(tmp_path / "x.pt", "jem")
    with pytest.raises(UserError, match=r"which model 'igebm' does not take: .* jem or jempp or sadajem or vera"):
        catalogue.resolve(parse("igebm", weights=path), track="digits")
    with pytest.raises(UserError, match="unknown model of track digits 'jme'"):
        catalogue.resolve(parse("jme", weights=path), track="digits")


def test_a_recipe_takes_a_checkpoint_of_its_own_network_only(tmp_path, call):
    path = checkpoint(tmp_path / "x.pt", "jem")
    assert call("convert", path, tmp_path / "mine", "--track", "digits").code == 0
    recipe = tmp_path / "mine" / "recipe.toml"
    text = recipe.read_text()
    recipe.write_text(text.replace("steps = 20", "steps = 7"))
    spec = catalogue.resolve(parse(str(recipe), weights=path), track="digits")
    model = catalogue.load(spec)
    assert spec.name == "mine@x"
    assert model.chain.steps == 7
    assert_equal(model, published("jem"), DIGITS)
    for old, new in (("width = 1", "width = 2"), ("depth = 10", "depth = 16"), ('norm = "none"', 'norm = "batch"')):
        words = new.replace(" =", "").replace('"', "")
        recipe.write_text(text.replace(old, new))
        with pytest.raises(UserError, match=f"is a network 'wrn' with depth 10.* wants 'wrn' with .*{words}"):
            catalogue.resolve(parse(str(recipe), weights=path), track="digits")
    small = baselines.recipe_path("jem", track="digits")
    with pytest.raises(UserError, match="wants 'small' with width 32"):
        catalogue.resolve(parse(str(small), weights=path), track="digits")


@pytest.mark.parametrize("layout", ["jem", "vera"])
def test_a_converted_folder_is_a_model_like_any_other(tmp_path, layout, call):
    path = checkpoint(tmp_path / "x.pt", layout)
    answer = call("convert", path, tmp_path / "mine", "--track", "digits")
    assert (answer.code, answer.out) == (0, f"{tmp_path / 'mine' / 'recipe.toml'}\n")
    assert "WRN-10-1, norm" in answer.err
    spec = catalogue.resolve(parse(answer.out.strip()), track="digits")
    assert spec.name == "mine"
    assert_equal(catalogue.load(spec), published(layout), DIGITS)
    run = ["run", "-m", answer.out.strip(), "-s", "accuracy", "--limit", 30, "-f", "json", "-q"]
    documents = json.loads(call(*run, "-o", tmp_path / "store").out)
    assert [document["model"]["name"] for document in documents] == ["mine"]
    quick = ["run", "-m", layout, "-w", path, *run[3:], "-o", tmp_path / "store2"]
    values = [[metric["value"] for metric in document["metrics"]] for document in documents]
    assert [[m["value"] for m in document["metrics"]] for document in json.loads(call(*quick).out)] == values


def test_nothing_is_overwritten_and_nothing_half_made(tmp_path, call, monkeypatch, tree):
    path = checkpoint(tmp_path / "x.pt", "jem")
    mine = tmp_path / "mine"
    mine.mkdir()
    assert call("convert", path, mine, "--track", "digits").code == 0  # an empty folder is as good as none
    before = tree(mine)
    answer = call("convert", path, mine, "--track", "digits")
    assert answer.code == 2
    assert "mine is not empty: choose another folder, nothing is overwritten" in answer.err
    (tmp_path / "file").write_text("precious")
    assert "file is not empty" in call("convert", path, tmp_path / "file", "--track", "digits").err
    assert tree(mine) == before

    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match=r"broken: cannot be written .No space left on device.; nothing was lost"):
        official.convert(official.read(path), tmp_path / "broken", track=data.track("digits"))
    assert sorted(item.name for item in tmp_path.iterdir() if item.name != "cache") == ["file", "mine", "x.pt"]


@pytest.mark.parametrize("how", ["convert", "run"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, call, how):
    """What writes the weights is not Python, and has errors of its own."""
    path = checkpoint(tmp_path / "x.pt", "jem")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        if how == "convert":
            answer = call("convert", path, tmp_path / "mine", "--track", "digits")
        else:
            answer = call("run", "-m", "jem", "-w", path, "-o", tmp_path / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert answer.err.endswith(": cannot be written (File too large); nothing was lost\n")
    assert not (tmp_path / "mine").exists()
    assert not [item for item in tmp_path.rglob("*") if item.suffix == ".safetensors" or item.name == "recipe.toml"]


def test_tensors_in_one_memory_are_written_apart(tmp_path):
    state = published("jem")
    state["f.layer2.0.conv2.weight"] = state["f.layer2.0.conv2.weight"].clone()
    both = torch.rand(2, 32, generator=generators.generator("both"))
    state |= {"f.layer2.0.conv1.bias": both[0], "f.layer2.0.conv2.bias": both[1]}
    made = official.convert(
        official.read(saved(tmp_path / "x.pt", state)), tmp_path / "mine", track=data.track("digits"), softmax=True
    )
    found = load_file(made.with_name("weights.safetensors"))
    assert all(torch.equal(found[f"network.{name}"], t) for name, t in state.items() if not name.startswith(UNUSED))


UNUSED = ("f.linear.", "energy_output.")


def test_gaussians_are_those_of_the_training_images(tmp_path, call):
    path = checkpoint(tmp_path / "x.pt", "sadajem")
    assert call("convert", path, tmp_path / "mine", "--track", "digits").code == 0
    tensors = load_file(tmp_path / "mine" / "weights.safetensors")
    images = data.images(data.track("digits"), "train")
    origin = ClassGaussians(shape=DIGITS, classes=10)
    origin.fit(lambda y: torch.from_numpy(images.of_class(y)))
    for name, tensor in origin.state_dict().items():
        assert torch.equal(tensors[f"sampler.origin.{name}"], tensor)
    assert read_recipe(tmp_path / "mine" / "recipe.toml").sampling.start == "gaussian"
    quick = catalogue.resolve(
        parse("sadajem", weights=path), track="digits"
    )  # at once: fitting to 45,000 photographs takes minutes
    assert read_recipe(Path(quick.ref.place)).sampling.start == "uniform"


def test_gaussians_of_a_part_of_the_images_are_said_to_be(tmp_path, shelf):
    path = checkpoint(tmp_path / "x.pt", "sadajem", shape=PHOTOGRAPHS)
    track = data.track("cifar10", folder=shelf("cifar10_train", 200))
    n = external.found(track, track.source("train")).n
    assert n == 180  # a tenth of every class is for other sources
    recipe = official.convert(official.read(path), tmp_path / "mine", track=track, gaussians=official.at_hand(track))
    assert read_recipe(recipe).sampling.start == "gaussian"
    assert read_recipe(recipe).about.endswith(f"fresh chains from Gaussians of {n} of 45000 training images")
    assert f"# The Gaussians where fresh chains begin are of {n} of the 45000 training images." in recipe.read_text()


@pytest.mark.parametrize("fault", ["damaged", "a class less"])
def test_images_that_are_there_and_no_good_are_refused(tmp_path, call, shelf, fault):
    """Uniform starts are for who has none; who has a bad copy must know."""
    path = checkpoint(tmp_path / "x.pt", "sadajem", shape=PHOTOGRAPHS)
    folder = shelf("cifar10_train", 60, labels=np.arange(60) % 9)
    if fault == "damaged":
        (folder / "cifar10_train.npz").write_bytes((folder / "cifar10_train.npz").read_bytes()[:-900])
    answer = call("convert", path, tmp_path / "mine", "--data-dir", folder)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert ("cifar10_train.npz" if fault == "damaged" else "no image of class 9 is here") in answer.err
    assert not (tmp_path / "mine").exists()


def test_without_training_images_it_says_where_chains_start(tmp_path, call):
    path = checkpoint(tmp_path / "x.pt", "sadajem", shape=PHOTOGRAPHS)
    (tmp_path / "images").mkdir()
    answer = call("convert", path, tmp_path / "mine", "--data-dir", tmp_path / "images")
    assert answer.code == 0
    assert "fresh chains will start from uniform noise, not from Gaussians" in answer.err
    recipe = (tmp_path / "mine" / "recipe.toml").read_text()
    assert "Fresh chains begin at uniform noise here" in recipe
    assert 'start = "uniform"' in recipe


def test_recipes_are_those_of_the_papers(tmp_path, call):
    """In our units, and complete: a recipe that jembench train takes."""
    for layout, wanted in {
        "jem": (20, 1, 0.25, 0.005, None, False, "adam", 1e-4, 140600, 0.0, 0.015),
        "jempp": (10, 5, 0.05, 0.0, 2.0, True, "sgd", 0.1, 105450, 0.0, 0.015),
        "sadajem": (10, 1, 0.25, 0.0, 2.0, True, "sgd", 0.1, 70200, 2.0, 0.0),
    }.items():
        path = checkpoint(tmp_path / f"{layout}.pt", layout, n=128)
        assert call("convert", path, tmp_path / layout, "--track", "digits").code == 0
        text = (tmp_path / layout / "recipe.toml").read_text()
        recipe = Recipe.model_validate(tomllib.loads(text))
        chain, descent = recipe.sampling, recipe.optimiser
        assert recipe.contrastive
        batch = 128 if layout == "sadajem" else 64  # of its labelled images; of its chains it is 64
        assert (recipe.model.mean, recipe.model.std, recipe.training.batch, chain.buffer) == (0.5, 0.5, batch, 128)
        assert descent.warmup == 1000
        assert recipe.data.flip is False  # digits, by the recipe for photographs
        assert (chain.steps, chain.inner, chain.size, chain.noise, chain.clip, chain.clamp) == wanted[:6]
        found = (descent.name, descent.learning_rate, recipe.training.iterations, descent.sam, recipe.data.noise)
        assert found == wanted[6:]
        assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(("track", "classes"), [("cifar10", 10), ("cifar100", 100), ("svhn", 10)])
@pytest.mark.parametrize("layout", ["jem", "jempp", "sadajem"])
def test_a_recipe_has_one_source(tmp_path, track, classes, layout):
    """What is packaged for the paper, word for word, but for the network and the chains that the checkpoint has."""
    source = baselines.published(track).get(layout, baselines.published("cifar10")[layout])
    path = checkpoint(tmp_path / "x.pt", layout, n=130, shape=PHOTOGRAPHS, classes=classes)
    text = official.convert(official.read(path), tmp_path / "mine", track=data.track(track)).read_text()
    made, paper = tomllib.loads(text), tomllib.loads(source.read_text())
    own = {"model": ("depth", "width"), "sampling": ("buffer", "start"), "data": ("flip",) if track == "svhn" else ()}
    for name, part in paper.items():
        if isinstance(part, dict):
            left = own.get(name, ())
            assert {k: v for k, v in made[name].items() if k not in left} == {
                k: v for k, v in part.items() if k not in left
            }
    assert made["data"].get("flip", False) is (track != "svhn")
    words = [line for line in source.read_text().splitlines() if line.startswith("#")]
    assert "\n".join(words) in text


@pytest.mark.parametrize("layout", ["jempp", "sadajem"])
@pytest.mark.parametrize("track", ["cifar10", "cifar100"])
def test_a_recipe_says_that_chains_do_not_sample_as_published(track, layout):
    """With batch norm the mode of the network is part of the chain (``draws.continued`` has eval)."""
    words = " ".join(baselines.published(track)[layout].read_text().replace("# ", "").split())
    assert words.index("Not as published") < words.index("chains climb the network in evaluation mode, batch norm by")
    assert "where the published code samples in training mode" in words


def test_digits_of_house_numbers_are_not_mirrored(tmp_path):
    path = checkpoint(tmp_path / "x.pt", "jem", shape=PHOTOGRAPHS)
    for track, flip in (("cifar10", True), ("svhn", False)):
        spec = catalogue.resolve(parse("jem", weights=path), track=track)
        assert read_recipe(Path(spec.ref.place)).data.flip is flip
