"""However a training loop saved a network, it is loaded with the same logits, or refused with the right reason."""

import argparse
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from jembench.types import UserError
from jembench.zoo.checkpoints import Contents
from jembench.zoo.fitting import fit, load_checkpoint


class Plain(nn.Module):
    """A small convolution."""

    def __init__(self, width=4, classes=3, channels=1):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(channels, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.Flatten())
        self.head = nn.Linear(16 * width, classes)

    def forward(self, x):
        return self.head(self.net(x))


class Normed(Plain):
    """One with batch norm."""

    def __init__(self, width=4, classes=3, channels=1):
        super().__init__(width, classes, channels)
        self.net.insert(1, nn.BatchNorm2d(width))


class Tied(nn.Module):
    """Two layers of one matrix."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.first(x.flatten(1)).relu()).relu())


NETWORKS = {"plain": Plain, "normed": Normed, "tied": Tied}


def trained(name, seed=0):
    """A network whose tensors are all drawn, in evaluation mode."""
    torch.manual_seed(seed)
    network = NETWORKS[name]().eval()
    for key, tensor in network.state_dict().items():
        if "running" in key:
            tensor.uniform_(0.5, 1.5)
    return network


def logits(network):
    x = torch.linspace(0, 1, 3 * 64).sin().reshape(3, 1, 8, 8)
    with torch.no_grad():
        return network.eval()(x)


def loaded(network, path, **how):
    """What was said of a file that was loaded."""
    words = []
    load_checkpoint(network, path, said=words.append, **how)
    assert len(words) <= 1
    return (words or [""])[0]


def state(network, prefix=""):
    return {prefix + name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def averaged(network, prefix=""):
    """Other weights of the same network."""
    return {name: tensor + tensor.new_ones(()) for name, tensor in state(network, prefix).items()}


def lightning(network, prefix, **more):
    return {
        "epoch": 4,
        "global_step": 150,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**state(network, prefix), **more},
        "loops": {},
        "callbacks": {},
        "optimizer_states": [torch.optim.Adam(network.parameters()).state_dict()],
        "hyper_parameters": {"lr": 3e-3},
    }


def inner(network):
    """Names of a network one part of which is compiled, and another in a DataParallel."""
    return {
        name.replace(".", "._orig_mod.", 1).replace("head._orig_mod", "head.module"): t
        for name, t in state(network).items()
    }


# Way of saving -> what a file of torch.save holds, and what is said of it; none where there is nothing to say.
WAYS = {
    "bare": (lambda n: n.state_dict(), ""),
    "ordered": (lambda n: OrderedDict(state(n)), ""),
    "DataParallel": (lambda n: state(n, "module."), "prefix module. removed"),
    "compiled": (lambda n: state(n, "_orig_mod."), "prefix _orig_mod. removed"),
    "compiled in DataParallel": (lambda n: state(n, "module._orig_mod."), "prefix module._orig_mod. removed"),
    "FSDP": (lambda n: state(n, "_fsdp_wrapped_module."), "prefix _fsdp_wrapped_module. removed"),
    "parts compiled": (inner, "within names removed"),
    "attribute": (lambda n: state(n, "backbone."), "prefix backbone. removed"),
    "attribute in DataParallel": (lambda n: state(n, "module.model.net."), "prefix module.model.net. removed"),
    "state_dict": (lambda n: {"state_dict": state(n, "module."), "epoch": 4}, "in state_dict, prefix module. removed"),
    "model": (lambda n: {"model": state(n), "optimizer": {"state": {0: {"step": torch.ones(())}}}}, "in model"),
    "model_state_dict": (lambda n: {"model_state_dict": state(n), "loss": torch.ones(2)}, "in model_state_dict"),
    "net in network": (lambda n: {"network": {"net": state(n)}}, "in network.net"),
    "parts": (lambda n: {name: part.state_dict() for name, part in n.named_children()}, None),
    "EMA alone": (lambda n: {"ema_state_dict": state(n)}, "in ema_state_dict"),
    "EMA beside": (
        lambda n: {"ema": averaged(n), "state_dict": state(n)}, "in state_dict, EMA weights present: --weights-key ema"
    ),
    "last beside best": (lambda n: {"best": averaged(n), "last": state(n)}, "in last, best fits too: --weights-key b"),
    "AveragedModel": (lambda n: {**state(n, "module."), "n_averaged": torch.tensor(3)}, "left out as of the training"),
    "Lightning": (lambda n: lightning(n, "model."), "prefix model. removed"),
    "Lightning with a loss and an average": (
        lambda n: lightning(n, "net.", **averaged(n, "ema_net."), **{"criterion.weight": torch.ones(3)}),
        "prefix net. removed, EMA weights present: --weights-key state_dict.ema_net",
    ),
    "settings beside": (
        lambda n: {"args": argparse.Namespace(lr=1), "acc": np.float64(0.5), "net": state(n), "epoch": 3}, "in net"
    ),
    "numbers beside": (lambda n: {**state(n), "epoch": 3, "name": "x"}, ""),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NETWORKS)
def test_any_way_of_saving_gives_the_same_logits(tmp_path, name, way):
    network, (content, words) = trained(name), WAYS[way]
    torch.save(content(network), tmp_path / "w")
    other = trained(name, seed=1)
    said = loaded(other, tmp_path / "w")
    assert torch.equal(logits(other), logits(network))
    if words is not None:
        assert words in said if words else not said
    n = len(network.state_dict())
    assert not said or f"{n} of {n} tensors" in said


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "ckpt", "pth"])
@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
@pytest.mark.parametrize("name", NETWORKS)
def test_safetensors_are_fitted_likewise_whatever_their_name(tmp_path, name, prefix, suffix):
    network, path = trained(name), tmp_path / f"w.{suffix}"
    save_file(state(network, prefix), path)
    other = trained(name, seed=1)
    said = loaded(other, path)
    assert torch.equal(logits(other), logits(network))
    assert said.endswith(f"prefix {prefix} removed") if prefix else not said


@pytest.mark.parametrize("kept", ["first.weight", "second.weight"])
@pytest.mark.parametrize("prefix", ["", "module.", "net."])
def test_a_matrix_of_two_layers_may_be_saved_once(tmp_path, prefix, kept):
    """As ``safetensors.torch.save_model`` does, under either name."""
    network = trained("tied")
    left = {"first.weight", "second.weight"} - {kept}
    save_file({prefix + k: v for k, v in state(network).items() if k not in left}, tmp_path / "w")
    other = trained("tied", seed=1)
    assert "5 of 6 tensors" in loaded(other, tmp_path / "w")
    assert torch.equal(logits(other), logits(network))
    assert other.first.weight is other.second.weight


def test_a_file_of_save_model_is_loaded(tmp_path):
    network, other = trained("tied"), trained("tied", seed=1)
    save_model(network, str(tmp_path / "w"))
    loaded(other, tmp_path / "w")
    assert torch.equal(logits(other), logits(network))


def test_two_matrices_are_not_one(tmp_path):
    """The file is of a network that does not tie them."""
    content = state(trained("tied"))
    content["second.weight"] = content["second.weight"] + 1
    torch.save(content, tmp_path / "w")
    with pytest.raises(UserError, match=r"'first\.weight' and 'second\.weight' differ, and are one tensor"):
        loaded(trained("tied"), tmp_path / "w")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_another_precision_is_loaded_and_said(tmp_path, name, kind):
    network, other = trained(name).to(kind), trained(name, seed=1)
    torch.save(network.state_dict(), tmp_path / "w")
    assert f"{kind} to float32".removeprefix("torch.") in loaded(other, tmp_path / "w")
    assert torch.equal(logits(other), logits(network.float()))
    assert {tensor.dtype for tensor in other.parameters()} == {torch.float32}


def test_counters_of_batch_norm_may_be_absent(tmp_path):
    network, other = trained("normed"), trained("normed", seed=1)
    torch.save({k: v for k, v in state(network).items() if "num_batches" not in k}, tmp_path / "w")
    assert "1 counters of batch norm absent" in loaded(other, tmp_path / "w")
    assert torch.equal(logits(other), logits(network))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_wrapped_network_takes_the_tensors_of_the_bare_one(tmp_path, name):
    network, other = trained(name), nn.ModuleDict({"network": nn.ModuleDict({"inner": trained(name, seed=1)})})
    torch.save({"model": state(network)}, tmp_path / "w")
    assert loaded(other, tmp_path / "w").endswith("in model, prefix network.inner. added")
    assert torch.equal(logits(other["network"]["inner"]), logits(network))


@pytest.mark.parametrize("key", ["ema", "runs.1", "runs.1.net"])
def test_a_key_says_which_is_meant(tmp_path, key):
    network, other = trained("normed"), trained("normed", seed=1)
    wrong = averaged(network)
    content = {"state_dict": wrong, "ema": wrong, "runs": [{"net": wrong}, {"net": wrong}]}
    if key == "ema":
        content["ema"] = state(network)
    else:
        content["runs"][1]["net"] = state(network)
    torch.save(content, tmp_path / "w")
    assert f"in {key}" in loaded(other, tmp_path / "w", key=key)
    assert torch.equal(logits(other), logits(network))


def test_a_key_may_be_a_prefix_of_names(tmp_path):
    network, other = trained("plain"), trained("plain", seed=1)
    save_file({**averaged(network, "student."), **state(network, "teacher.")}, tmp_path / "w")
    loaded(other, tmp_path / "w", key="teacher")
    assert torch.equal(logits(other), logits(network))


def test_an_unknown_key_is_refused_with_those_that_are_there(tmp_path):
    torch.save({"fold0": state(trained("plain")), "fold1": averaged(trained("plain"))}, tmp_path / "w")
    with pytest.raises(UserError, match="has no tensors below key 'fold', but below 'fold0', 'fold1'"):
        loaded(trained("plain"), tmp_path / "w", key="fold")


# Name -> what the file holds, of a network Normed, and why it is refused.
REFUSED = {
    "two folds": (lambda n: {"fold0": state(n), "fold1": averaged(n)},
        "holds 2 networks that fit: say which by --weights-key fold0 or --weights-key fold1"),
    "two networks": (lambda n: {**state(n, "a."), **averaged(n, "b.")}, "holds 2 networks that fit: .*key a or "),
    "classes": (lambda _: state(Normed(classes=10)),
        r"2 of 11 are of another shape \(head.weight \(10, 64\), not \(3, 64\); .*the file is of 10 classes, .* of 3"),
    "channels": (lambda _: state(Normed(channels=3)), "the file is for images of 3 channels, the network for 1"),
    "width": (lambda _: state(Normed(width=8)), r"net.0.weight \(8, 1, 3, 3\), not \(4, .*; ...\): another width"),
    "head": (lambda n: {k.replace("head", "fc"): v for k, v in state(n).items()},
        r"2 of 11 tensors are missing \('head.weight', 'head.bias'\), 2 are not of the network \('fc.weight', "
        "'fc.bias'\\): the part 'head' was replaced by 'fc'"),
    "no head": (lambda n: {k: v for k, v in state(n).items() if "head" not in k}, "the file lacks 'head'"),
    "no bias": (lambda n: {k: v for k, v in state(n).items() if k != "head.bias"}, "the file is incomplete"),
    "more": (lambda n: {**state(n), "extra.weight": torch.ones(2)}, "1 is not of the .*the file has 'extra' more"),
    "more beside": (lambda n: {**state(n, "a."), "b.weight": torch.ones(2)}, "--weights-key a takes only what is"),
    "deeper": (lambda n: {**state(n), "net.9.weight": torch.ones(2)}, "the file's network is deeper"),
    "only a part": (lambda n: state(n.net), "the file is only its part 'net'"),
    "another": (lambda _: nn.LSTM(2, 2).state_dict(),
        r"11 of 11 tensors are missing \('net.0.weight', .*, 4 are not of the network .*: the file is of another arch"),
    "optimiser": (lambda n: torch.optim.SGD(n.parameters()).state_dict(), "holds no state dict, names with tensors"),
    "nan": (lambda n: {**state(n), "head.bias": torch.full((3,), torch.nan)}, "'head.bias' holds NaN: the training"),
    "integers": (lambda n: {**state(n), "head.bias": torch.ones(3, dtype=torch.int8)}, "head.bias has type torch.int8"),
    "sparse": (lambda n: {**state(n), "head.bias": torch.ones(3).to_sparse()}, "'head.bias' is not a plain tensor"),
    "twice": (lambda n: {**state(n), **averaged(n, "module.")}, "holds both 'net.0.weight' and 'module.net.0.weight'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("wrap", [None, "state_dict"])
def test_another_network_is_refused_with_the_likeliest_cause(tmp_path, case, wrap):
    content, words = REFUSED[case]
    network = trained("normed")
    before = state(network)
    torch.save(content(network) if wrap is None else {wrap: content(network)}, tmp_path / "w")
    if wrap:
        words = words.replace("--weights-key ", f"--weights-key {wrap}.").replace(".*key ", f".*key {wrap}.")
        words = words.replace("both '", f"both '{wrap}.").replace("and 'module", f"and '{wrap}.module")
        words = words.replace("'head.bias' is not a plain", f"'{wrap}.head.bias' is not a plain")
    with pytest.raises(UserError, match=words) as error:
        loaded(network, tmp_path / "w")
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_copy_of_the_same_weights_is_no_choice(tmp_path):
    network, other = trained("plain"), trained("plain", seed=1)
    torch.save({"a": state(network), "b": state(network)}, tmp_path / "w")
    assert "fits" not in loaded(other, tmp_path / "w")
    assert torch.equal(logits(other), logits(network))


def test_names_of_wrappers_may_be_the_networks_own(tmp_path):
    network = nn.Sequential(OrderedDict(module=nn.Linear(2, 2), _orig_mod=nn.Linear(2, 2)))
    other = nn.Sequential(OrderedDict(module=nn.Linear(2, 2), _orig_mod=nn.Linear(2, 2)))
    for prefix in ("", "model."):
        torch.save(state(network, prefix), tmp_path / "w")
        loaded(other, tmp_path / "w")
        assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in other.state_dict().items())


def test_a_layer_without_shape_is_refused(tmp_path):
    torch.save(state(nn.Linear(2, 2)), tmp_path / "w")
    with pytest.raises(UserError, match=r"weight of the network has no shape yet \(a Lazy layer\): run the network"):
        loaded(nn.LazyLinear(2), tmp_path / "w")


def test_what_a_layer_keeps_beside_tensors_is_its_own():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"x": 1}

        def set_extra_state(self, state):
            raise AssertionError

    own = Extra(2, 2).state_dict()
    content = {name: tensor for name, tensor in own.items() if isinstance(tensor, torch.Tensor)}
    assert fit(own, Contents(SimpleNamespace(), "x", content)).state.keys() == {"weight", "bias"}


def test_a_dictionary_that_holds_itself_is_read_once(tmp_path):
    network, other = trained("plain"), trained("plain", seed=1)
    content = {"model": state(network)}
    content["again"] = content
    torch.save(content, tmp_path / "w")
    loaded(other, tmp_path / "w")
    assert torch.equal(logits(other), logits(network))
