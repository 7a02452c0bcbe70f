"""The Hugging Face Hub, served from a folder: what is fetched, under which commit, and what is said if it is not."""

import fnmatch
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from huggingface_hub import errors
from safetensors.torch import save_file
from torch import nn

from jembench import data
from jembench.types import UserError
from jembench.zoo import catalogue, hub
from jembench.zoo.references import parse

FIRST, SECOND = "1" * 40, "2" * 40
NET = """
from torch import nn


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


class Hub:
    """Repositories in a folder, one folder for each commit, and what is asked of them."""

    def __init__(self, place):
        self.place, self.branches, self.asked = place, {}, []

    def commit(self, repository, commit, files):
        """Put a commit on the main branch."""
        folder = self.place / "far" / commit
        folder.mkdir(parents=True)
        for name, content in files.items():
            if isinstance(content, bytes):
                (folder / name).write_bytes(content)
            else:
                (save_file if name.endswith("safetensors") else torch.save)(content, folder / name)
        self.branches[repository, None] = self.branches[repository, "main"] = self.branches[repository, commit] = folder

    def snapshot(self, repository, revision, patterns):
        """What the hub gives of a repository."""
        self.asked.append((repository, revision))
        if (repository, None) not in self.branches:
            raise errors.RepositoryNotFoundError("404 Client Error\n\nNot Found", response=RESPONSE)
        if (repository, revision) not in self.branches:
            raise errors.RevisionNotFoundError("404 Client Error", response=RESPONSE)
        far = self.branches[repository, revision]
        near = self.place / "cache" / f"models--{repository.replace('/', '--')}" / "snapshots" / far.name
        near.mkdir(parents=True, exist_ok=True)
        for file in far.iterdir():
            if any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns):
                shutil.copy(file, near)
        return near


RESPONSE = SimpleNamespace(headers={}, request=None)


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "jembench"))
    (tmp_path / "net.py").write_text(NET)
    made = Hub(tmp_path)
    monkeypatch.setattr(hub, "_snapshot", made.snapshot)
    return made


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def resolved(model="net.py:build", weights=None, track="digits"):
    return catalogue.resolve(parse(model, weights=weights), track=track)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_of_a_repository_are_loaded_into_a_users_network(served, name):
    network = linear()
    served.commit("me/net", FIRST, {name: network.state_dict(), "README.md": b"x", "training_args.bin": {"x": 1}})
    spec = resolved(weights=Path("hf:me/net"))
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(catalogue.load(spec).logits(x), network(x))
    assert Path(spec.weights).name == FIRST
    assert not (Path(spec.weights) / "README.md").exists()
    assert {repository for repository, _ in served.asked} == {"me/net"}


def test_a_branch_that_moves_is_another_model_and_a_commit_stays(served):
    """Also where only words beside the weights have changed: the commit is part of the identity."""
    state = linear().state_dict()
    served.commit("me/net", FIRST, {"model.safetensors": state})
    before = resolved(weights=Path("hf:me/net"))
    served.commit("me/net", SECOND, {"model.safetensors": state})
    after, branch = resolved(weights=Path("hf:me/net")), resolved(weights=Path("hf:me/net@main"))
    assert before.weights_sha256 == after.weights_sha256
    assert before.fingerprint != after.fingerprint == branch.fingerprint
    assert resolved(weights=Path(f"hf:me/net@{FIRST}")).fingerprint == before.fingerprint


def test_a_worker_asks_nothing_of_the_hub(served):
    served.commit("me/net", FIRST, {"model.safetensors": linear().state_dict()})
    spec = resolved(weights=Path("hf:me/net"))
    asked = list(served.asked)
    catalogue.load(spec)
    assert served.asked == asked


def test_a_timm_model_of_the_hub_is_one_word(served):
    track = data.track("cifar10")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=10, in_chans=3).eval()
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    configuration = {"architecture": "resnet10t", "num_classes": 10, "pretrained_cfg": {"mean": mean, "std": std}}
    files = {"model.safetensors": network.state_dict(), "config.json": json.dumps(configuration).encode()}
    served.commit("me/tiny", FIRST, files)
    spec = resolved("hf:me/tiny", track="cifar10")
    assert (spec.name, str(spec.ref)) == ("hf-me-tiny", f"hf:me/tiny@{FIRST}")
    x = torch.rand(2, *track.shape)
    with torch.no_grad():
        wanted = network((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
        assert torch.allclose(catalogue.load(spec).logits(x), wanted, atol=1e-5)
    served.commit("me/tiny", SECOND, files)
    assert resolved("hf:me/tiny", track="cifar10").fingerprint != spec.fingerprint
    assert resolved(f"hf:me/tiny@{FIRST}", track="cifar10").fingerprint == spec.fingerprint


def test_a_model_of_other_classes_is_refused(served):
    network = timm.create_model("resnet10t", num_classes=100, in_chans=3)
    configuration = json.dumps({"architecture": "resnet10t"}).encode()
    served.commit("me/big", FIRST, {"model.safetensors": network.state_dict(), "config.json": configuration})
    with pytest.raises(UserError, match="the file is of 100 classes, the network of 10"):
        resolved("hf:me/big", track="cifar10")


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (b'{"architectures": ["ResNetForImageClassification"]}', "is a ResNetForImageClassification of transformers"),
        (b"{}", "is of no architecture of timm: name code that builds it, --model file.py:build, with"),
        (b"[]", "is of no architecture of timm"),
        (b"<html>", "is of no architecture of timm"),
        (b'{"architecture": "no_such_net"}', "unknown timm model 'no_such_net'"),
        (b'{"architecture": "hf-hub:other/place"}', "unknown timm model"),
    ],
)
def test_what_is_no_timm_model_is_refused(served, configuration, words):
    served.commit("me/net", FIRST, {"model.safetensors": linear().state_dict(), "config.json": configuration})
    with pytest.raises(UserError, match=words):
        resolved("hf:me/net")


def test_a_model_of_the_hub_takes_no_weights(served):
    with pytest.raises(UserError, match="model 'hf:me/net' brings its weights: leave out --weights"):
        resolved("hf:me/net", weights=Path("w.pt"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            errors.RepositoryNotFoundError("404\n\nx", response=RESPONSE),
            "there is no such repository, or it needs",
        ),
        (errors.GatedRepoError("403", response=RESPONSE), "its owner must let you in first"),
        (errors.RevisionNotFoundError("404", response=RESPONSE), "there is no such revision"),
        (errors.LocalEntryNotFoundError("offline"), "it is not in the cache, and the hub cannot be reached: bring"),
        (errors.OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set|the hub cannot be reached"),
        (errors.HFValidationError("Repo id must"), "that is no name of a repository: org/name"),
        (OSError("disk\nfull"), "OSError: disk full"),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize("weights", [None, Path("hf:me/net")])
def test_what_cannot_be_fetched_is_said_in_one_line(served, monkeypatch, error, words, weights):
    def fail(*_):
        raise error

    monkeypatch.setattr(hub, "_snapshot", fail)
    with pytest.raises(UserError, match=f"^hf:me/net cannot be fetched: .*({words})") as told:
        resolved("net.py:build" if weights else "hf:me/net", weights=weights)
    assert "\n" not in str(told.value)


def test_a_repository_without_weights_is_refused(served):
    served.commit("me/words", FIRST, {"README.md": b"x", "config.json": b"{}"})
    with pytest.raises(UserError, match="hf:me/words holds no weights: neither model"):
        resolved(weights=Path("hf:me/words"))


def test_without_the_library_it_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(hub, "import_module", missing)
    with pytest.raises(UserError, match=r"^hf:me/net needs huggingface_hub: pip install 'jembench\[hf\]'$"):
        hub.folder("me/net")


def test_a_network_that_is_away_is_said(monkeypatch, tmp_path):
    """By the library itself, which must not ask outside here."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"^hf:me/net cannot be fetched: it is not in the cache"):
        hub.folder("me/net")
    with pytest.raises(UserError, match=r"^hf:a/b/c cannot be fetched: that is no name of a repository"):
        hub.folder("a/b/c")


def test_other_paths_are_not_of_the_hub(tmp_path):
    assert hub.pinned(None) == hub.pinned(tmp_path / "w.pt") == hub.pinned(Path("x")) == ""
    ref = parse("net.py:build", weights=tmp_path / "w.pt")
    assert hub.fetched(ref) is ref
