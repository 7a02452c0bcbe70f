"""Models of other libraries by name: their architecture, a file's weights, and nothing downloaded or unpickled."""

import json
import socket
import threading
import time
from pathlib import Path

import pytest
import requests
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from jembench import data
from jembench.ground import compat, generators, guard
from jembench.types import UserError
from jembench.zoo import catalogue, named
from jembench.zoo.references import parse

compat.robustbench()
from robustbench import utils  # noqa: E402
from robustbench.model_zoo import model_dicts  # noqa: E402
from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel  # noqa: E402

TRACK = data.track("cifar10")


class Tiny(nn.Module):
    """A network in the manner of robustbench: it normalises by constants of its own."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(256, classes)
        self.register_buffer("mu", torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1))
        self.register_buffer("sigma", torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1))

    def forward(self, x):
        return self.head(self.bn(self.conv((x - self.mu) / self.sigma)).flatten(1))


def entry(place="1abc", classes=10):
    return {"model": lambda: Tiny(classes), "gdrive_id": place}


@pytest.fixture(autouse=True)
def zoo_of_tiny(tmp_path, monkeypatch):
    """A robustbench with tiny models, in a place without network and without files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))
    linf, l2 = (model_dicts[BenchmarkDataset.cifar_10][threat] for threat in (ThreatModel.Linf, ThreatModel.L2))
    monkeypatch.setitem(linf, "Tiny2020One", entry())
    monkeypatch.setitem(linf, "Tiny2020Both", entry("linf"))
    monkeypatch.setitem(l2, "Tiny2020Both", entry("l2"))
    monkeypatch.setitem(linf, "Tiny2020Several", entry(["a", "b"]))
    monkeypatch.setitem(linf, "Tiny2020Timm", entry(None))
    hundred = model_dicts[BenchmarkDataset.cifar_100][ThreatModel.Linf]
    monkeypatch.setitem(hundred, "Tiny2020One", entry(classes=100))

    def offline(place, path):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(utils, "download_gdrive_new", offline)


def random(model, seed=0):
    """The model with every floating tensor random, in evaluation mode."""
    generator = generators.generator("random", seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not name.endswith(("mu", "sigma")):
            low = 0.5 if name.endswith("running_var") else -0.1
            tensor.copy_(low + 0.2 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def images():
    return torch.rand((3, 3, 32, 32), generator=generators.generator("x"))


def state(model, drop=(), prefix=""):
    return {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items() if name not in drop}


def put(content, *parts):
    """A file in the folder of models."""
    path = Path(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def resolved(reference, weights=None, track="cifar10"):
    spec = catalogue.resolve(parse(reference, weights=weights), track=track)
    return spec, catalogue.load(spec)


OURS = ("cache", "models", "robustbench", "cifar10", "Linf", "Tiny2020One.pt")


@pytest.mark.parametrize("place", [OURS, ("models", "cifar10", "Linf", "Tiny2020One.pt"), ("elsewhere", "x.pt")])
def test_a_robustbench_model_is_found_with_its_weights(place):
    theirs = random(Tiny())
    path = put(state(theirs), *place)
    spec, model = resolved("robustbench:Tiny2020One", path if "elsewhere" in place else None)
    assert spec.name == "robustbench-Linf-Tiny2020One"
    assert str(spec.ref) == "robustbench:Linf/Tiny2020One"
    assert spec.capabilities == {"classifier", "density", "features"}
    assert torch.equal(model.logits(images()), theirs(images()))


COUNTER = "bn.num_batches_tracked"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: {"state_dict": state(m)},
        lambda m: {"state_dict": state(m, prefix="module."), "epoch": 3, "arch": "tiny"},
        lambda m: {"state_dict": state(m, prefix="module.model.")},
        lambda m: state(m, prefix="model."),
        lambda m: {"last": state(random(m)), "best": state(random(Tiny(), seed=1))},
        lambda m: state(m, drop=("mu", "sigma")),
        lambda m: state(m, drop=(COUNTER,)),
        lambda m: {**state(m), "model_preact_hl1.1.weight": torch.zeros(3), "conv.scores": torch.zeros(3)},
    ],
)
def test_weights_are_unwrapped_as_robustbench_does(wrap, monkeypatch):
    """Its own loader, which would unpickle anything, gives the same logits."""
    theirs = random(Tiny())
    name = "Rice2020Overfitting"  # one whose file may lack or exceed the network's tensors in its loader too
    content = wrap(theirs)
    if "last" in content:
        name = "Kireev2021Effectiveness_RLAT"
    threat = ThreatModel.L2 if name.startswith("Rice") else ThreatModel.corruptions
    monkeypatch.setitem(model_dicts[BenchmarkDataset.cifar_10][threat], name, entry())
    put(content, "models", "cifar10", threat.value, f"{name}.pt")
    _, model = resolved(f"robustbench:{threat.value}/{name}")
    by_them = utils.load_model(name, "models", "cifar10", threat.value)
    assert torch.equal(model.logits(images()), by_them(images()))
    assert torch.equal(model.logits(images()), theirs(images()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Rice2020Overfitting", "Rade2021Helper_R18_ddpm"])
def test_a_real_architecture_gives_what_robustbench_gives(name):
    theirs = random(model_dicts[BenchmarkDataset.cifar_10][ThreatModel.L2][name]["model"]())
    put({"state_dict": state(theirs, prefix="module.")}, "models", "cifar10", "L2", f"{name}.pt")
    _, model = resolved(f"robustbench:L2/{name}")
    by_them = utils.load_model(name, "models", "cifar10", "L2")
    assert torch.equal(model.logits(images()), by_them(images()))


def test_one_name_in_two_threat_models_is_refused():
    put(state(random(Tiny())), "models", "cifar10", "L2", "Tiny2020Both.pt")
    forms = "robustbench:Linf/Tiny2020Both or robustbench:L2/Tiny2020Both"
    with pytest.raises(UserError, match=f"is there for 2 threat models: say {forms}"):
        catalogue.resolve(parse("robustbench:Tiny2020Both"), track="cifar10")
    spec, _ = resolved("robustbench:L2/Tiny2020Both")
    assert spec.name == "robustbench-L2-Tiny2020Both"


def test_a_name_belongs_to_the_data_set_of_the_track():
    put(state(random(Tiny(100))), "models", "cifar100", "Linf", "Tiny2020One.pt")
    _, model = resolved("robustbench:Tiny2020One", track="cifar100")
    assert model.logits(images()).shape == (3, 100)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (
            "robustbench:Carmon2019Unlabelled",
            "unknown robustbench model of cifar10 .*; did you mean 'Carmon2019Unlabeled'",
        ),
        ("robustbench:L1/Tiny2020One", "unknown threat model of robustbench 'L1'"),
        ("robustbench:L2/Tiny2020One", r"unknown robustbench model of cifar10 \(L2\) 'Tiny2020One'"),
        ("robustbench:Tiny2020Several", "of several networks with a file each: build it in a file of your own"),
        ("robustbench:Tiny2020Timm", "loaded by timm, not from a file"),
        ("timm:resnet18", "'timm:resnet18' needs its weights: --weights FILE"),
        ("torchvision:resnet18", "'torchvision:resnet18' needs its weights: --weights FILE"),
    ],
)
def test_a_name_that_cannot_be_had_is_refused(reference, words):
    with pytest.raises(UserError, match=words) as error:
        catalogue.resolve(parse(reference), track="cifar10")
    assert "\n" not in str(error.value)


def test_a_track_that_robustbench_does_not_know_is_refused():
    with pytest.raises(
        UserError, match="robustbench has no models of track digits, only of cifar10, cifar100, imagenet"
    ):
        catalogue.resolve(parse("robustbench:Tiny2020One"), track="digits")


def test_without_network_it_says_where_the_file_goes(tmp_path):
    with pytest.raises(
        UserError, match=r"cannot be downloaded: bring them as .*, or name a file by --weights"
    ) as error:
        catalogue.resolve(parse("robustbench:Tiny2020One"), track="cifar10")
    line = str(error.value)
    assert str(tmp_path.joinpath(*OURS)) in line
    assert line.endswith("ConnectionError: no route to host")
    assert not any(path.is_file() for path in tmp_path.rglob("*") if "locks" not in path.parts)


def test_a_download_is_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    theirs, calls = random(Tiny()), []

    def cut(place, path):
        path.write_bytes(b"half")
        raise ConnectionError("cut")

    def fetch(place, path):
        calls.append(place)
        torch.save(state(theirs), path)

    monkeypatch.setattr(utils, "download_gdrive_new", cut)
    with pytest.raises(UserError, match="cannot be downloaded"):
        catalogue.resolve(parse("robustbench:Tiny2020One"), track="cifar10")
    assert not any(path.is_file() for path in tmp_path.rglob("*") if "locks" not in path.parts)
    monkeypatch.setattr(utils, "download_gdrive_new", fetch)
    for _ in range(2):
        _, model = resolved("robustbench:Tiny2020One")
        assert torch.equal(model.logits(images()), theirs(images()))
    assert calls == ["1abc"]


PAGES = {
    "page": (b"<!DOCTYPE html><html>Quota exceeded</html>", "the host sent an HTML page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "the host sent a git-LFS pointer"),
    "nothing": (b"", "the host sent an empty file"),
    "answer": (b'{"error": {"code": 403}}', "the host sent a JSON text"),
    "half": (b"PK\x03\x04" + bytes(99), "the host sent a zip archive, .*without its end"),
}


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("name", PAGES)
def test_what_is_no_weights_is_not_kept_as_some(tmp_path, monkeypatch, name, kept):
    """Nor is it believed if an earlier version kept it: the next run downloads again."""
    theirs, (page, words) = random(Tiny()), PAGES[name]
    if kept:
        put({}, *OURS).write_bytes(page)
    monkeypatch.setattr(utils, "download_gdrive_new", lambda place, path: path.write_bytes(page))
    with pytest.raises(UserError, match=f"or name a file by --weights: {words}"):
        catalogue.resolve(parse("robustbench:Tiny2020One"), track="cifar10")
    assert tmp_path.joinpath(*OURS).is_file() is kept
    monkeypatch.setattr(utils, "download_gdrive_new", lambda place, path: torch.save(state(theirs), path))
    _, model = resolved("robustbench:Tiny2020One")
    assert torch.equal(model.logits(images()), theirs(images()))


def test_a_host_that_sends_nothing_is_named(monkeypatch):
    monkeypatch.setattr(utils, "download_gdrive_new", lambda place, path: None)
    with pytest.raises(UserError, match="or name a file by --weights: the host sent nothing"):
        catalogue.resolve(parse("robustbench:Tiny2020One"), track="cifar10")


def test_a_download_is_done_once_by_many(tmp_path, monkeypatch):
    theirs, calls = random(Tiny()), []

    def fetch(place, path):
        calls.append(place)
        time.sleep(0.05)
        torch.save(state(theirs), path)

    monkeypatch.setattr(utils, "download_gdrive_new", fetch)
    threads = [threading.Thread(target=named.located, args=(parse("robustbench:Tiny2020One"), TRACK)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["1abc"]
    assert tmp_path.joinpath(*OURS).is_file()


def test_a_server_that_says_nothing_is_not_waited_for(tmp_path, monkeypatch):
    """By requests, as robustbench's downloader gets its files: it has no bound of its own."""
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(guard, "TIMEOUT", 0.2)

    def fetch(place, path):
        path.with_name(f"{path.name}part").write_bytes(b"half")
        requests.get(f"http://127.0.0.1:{server.getsockname()[1]}/", stream=True)

    monkeypatch.setattr(utils, "download_gdrive_new", fetch)
    before = requests.adapters.HTTPAdapter.send
    with server, pytest.raises(UserError, match=r"cannot be downloaded: bring them as .*ReadTimeout"):
        catalogue.resolve(parse("robustbench:Tiny2020One"), track="cifar10")
    assert requests.adapters.HTTPAdapter.send is before
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "models" in path.parts]


@pytest.mark.parametrize("reference", ["robustbench:Tiny2020One", "timm:resnet18", "torchvision:resnet18"])
def test_code_in_weights_is_not_run(tmp_path, reference, Bomb):
    target = tmp_path / "ran"
    path = put({"state_dict": state(Tiny()), "args": Bomb(target)}, "x.pt")
    with pytest.raises(UserError, match="can run code, so it was not loaded"):
        catalogue.resolve(parse(reference, weights=path), track="cifar10")
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({**state(Tiny()), "model.mu": torch.zeros(1, 3, 1, 1)}, "holds both 'mu' and 'model.mu'"),
        (state(Tiny(9)), r"head.bias has shape \(9,\), the network needs \(10,\)|head.weight has shape \(9, 256\)"),
        (state(Tiny(), drop=("head.bias",)), "1 tensors are missing, 'head.bias' first"),
        (state(Tiny(), drop=("bn.running_mean",)), "1 tensors are missing, 'bn.running_mean' first"),
    ],
)
def test_weights_of_another_network_are_refused(content, words):
    with pytest.raises(UserError, match=words):
        catalogue.resolve(parse("robustbench:Tiny2020One", weights=put(content, "x.pt")), track="cifar10")


NETWORKS = {
    "timm:resnet10t": lambda: timm.create_model("resnet10t", num_classes=10),
    "timm:mobilenetv3_small_050.lamb_in1k": lambda: timm.create_model("mobilenetv3_small_050", num_classes=10),
    "torchvision:squeezenet1_1": lambda: torchvision.models.squeezenet1_1(num_classes=10),
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("reference", NETWORKS)
@pytest.mark.parametrize("form", ["safetensors", "pt", "parallel"])
def test_a_network_of_a_library_with_the_weights_of_a_file(tmp_path, reference, form):
    theirs = random(NETWORKS[reference]())
    path = tmp_path / "weights"
    if form == "safetensors":
        save_file(theirs.state_dict(), path)
    else:
        torch.save({"state_dict": state(theirs, prefix="module." if form == "parallel" else "")}, path)
    spec, model = resolved(reference, path)
    assert spec.name == reference.replace(":", "-")
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in IMAGENET)
    assert torch.allclose(model.logits(images()), theirs((images() - mean) / std), rtol=1e-5, atol=1e-5)


def test_one_channel_is_not_normalised_by_three(tmp_path):
    theirs = random(timm.create_model("resnet10t", num_classes=10, in_chans=1))
    save_file(theirs.state_dict(), tmp_path / "w")
    _, model = resolved("timm:resnet10t", tmp_path / "w", track="digits")
    x = torch.rand((2, 1, 8, 8))
    assert torch.allclose(model.logits(x), theirs(x), atol=1e-5)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("timm:resnet_18", "unknown timm model 'resnet_18'; did you mean 'resnet18'"),
        ("timm:resnet10t.nobody_in9k", "unknown timm model 'resnet10t.nobody_in9k'"),
        ("timm:hf-hub:someone/something", "unknown timm model"),
        ("torchvision:resnet_18", "unknown torchvision model 'resnet_18'; did you mean 'resnet18'"),
    ],
)
def test_an_unknown_network_is_refused(reference, words):
    with pytest.raises(UserError, match=words) as error:
        catalogue.resolve(parse(reference, weights=put(state(Tiny()), "x.pt")), track="cifar10")
    assert "\n" not in str(error.value)


def test_identity_is_of_name_weights_and_version(monkeypatch):
    first = put(state(random(Tiny())), "first.pt")
    second = put(state(random(Tiny(), seed=1)), "second.pt")

    def found(reference="robustbench:Linf/Tiny2020Both", weights=first):
        return catalogue.resolve(parse(reference, weights=weights), track="cifar10").fingerprint

    seen = {found(), found(weights=second), found("robustbench:L2/Tiny2020Both")}
    assert found() in seen
    monkeypatch.setattr(named, "installed", lambda library: "9.9")
    seen.add(found())
    assert len(seen) == 4


def test_the_command_line_takes_them(call):
    path = put(state(random(timm.create_model("resnet10t", num_classes=10, in_chans=1))), "x.pt")
    answer = call(
        "run", "-m", "timm:resnet10t", "-w", path, "-s", "accuracy", "--limit", 20, "-f", "json", "-q", "-j", 2
    )
    (document,) = json.loads(answer.out)
    assert document["model"]["name"] == "timm-resnet10t"
