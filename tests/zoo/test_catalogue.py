"""The zoo: what the registry says of a kind is true of its models, and a fingerprint covers what numbers depend on."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from jembench import data, models
from jembench.ground import generators
from jembench.ground.identity import file_sha256, identity
from jembench.models import kinds, networks
from jembench.models.recipes import Recipe, read_recipe
from jembench.types import UserError, capabilities
from jembench.zoo import baselines, catalogue, extractors
from jembench.zoo.references import parse

OPTIONS = {"width": 2, "depth": 10, "scales": 1, "name": "resnet18"}
OBJECTIVES = {"igebm": {"log_py_x": 0.0, "log_px_y": 1.0}, "glow": {"log_py_x": 0.0, "log_px": 1.0}}


@pytest.mark.parametrize(
    ("kind", "network"),
    [(k, n) for k, kind in models.KINDS.items() for n, net in models.NETWORKS.items() if net.family == kind.family],
)
def test_a_kind_can_do_what_it_says(kind: str, network: str) -> None:
    """The registry is read before torch is there; the class has the last word."""
    part = {"kind": kind, "network": network, **{name: OPTIONS[name] for name in models.NETWORKS[network].options}}
    content = {"track": "digits", "about": "", "model": part, "training": {"iterations": 1}}
    content |= {"objective": OBJECTIVES.get(kind, {})}
    content |= {"sampling": {}} if models.KINDS[kind].chains else {}
    model = catalogue.build(Recipe.model_validate(content), data.track("digits"))
    assert capabilities(model) == models.able(kind, network)
    assert getattr(model, "normalized", False) == models.KINDS[kind].normalized


def test_the_oracle_can_do_what_it_says() -> None:
    model = catalogue.load(catalogue.resolve(parse("oracle"), track="gauss"))
    assert capabilities(model) == models.KINDS["oracle"].capabilities


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A copy of the baseline jem that a test may change."""
    folder = tmp_path / "mine"
    shutil.copytree(baselines.folder("digits") / "jem", folder, ignore=shutil.ignore_patterns("golden"))
    return folder / baselines.RECIPE


def fingerprint(path: Path) -> str:
    return catalogue.resolve(parse(str(path)), track="digits").fingerprint


def edited(path: Path, part: str, line: str) -> str:
    """The fingerprint with ``line`` in place of that key of ``part``, or beside its other keys."""
    before = path.read_text()
    key = line.partition("=")[0].strip()
    head, found, rest = before.partition(f"[{part}]\n")
    assert found
    body, mark, tail = rest.partition("\n[")
    body = "\n".join(item for item in body.splitlines() if item.partition("=")[0].strip() != key)
    path.write_text(f"{head}{found}{body}\n{line}\n{mark}{tail}")
    try:
        return fingerprint(path)
    finally:
        path.write_text(before)


def test_a_fingerprint_is_of_model_sampler_weights_and_code(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = catalogue.resolve(parse("jem"), track="digits").fingerprint
    assert fingerprint(recipe) == named  # wherever it is
    found = {
        named,
        edited(recipe, "sampling", "size = 0.125"),
        edited(recipe, "sampling", "steps = 7"),
        edited(recipe, "model", "mean = 0.25"),
    }
    with monkeypatch.context() as patch:
        kind = models.KINDS["jem"]
        patch.setattr(kinds, "JEM", replace(kind, version=kind.version + 1))
        found.add(fingerprint(recipe))
    weights = recipe.parent / baselines.WEIGHTS
    weights.write_bytes((baselines.folder("digits") / "softmax" / baselines.WEIGHTS).read_bytes())
    found.add(fingerprint(recipe))
    assert len(found) == 6


def test_a_fingerprint_is_not_of_how_the_weights_were_made(recipe: Path) -> None:
    """They are hashed themselves: another seed or a note in the recipe moves no number."""
    before = fingerprint(recipe)
    for part, line in (("training", "seed = 17"), ("optimiser", "learning_rate = 0.5"), ("training", "iterations = 3")):
        assert edited(recipe, part, line) == before
    recipe.write_text(recipe.read_text().replace('about = "', 'about = "also '))
    assert fingerprint(recipe) == before


def test_the_version_of_a_network_is_in_a_fingerprint_where_it_is_not_the_first(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that were there before networks had versions keep their keys, but for those whose numbers moved."""
    found = read_recipe(recipe)
    made = found.model_dump(mode="json", include={"model", "sampling"}, exclude_defaults=True)
    digest = file_sha256(recipe.parent / baselines.WEIGHTS)
    old = identity({**made, "version": models.KINDS["jem"].version, "weights": digest})
    assert fingerprint(recipe) == old
    assert {name for name, network in models.NETWORKS.items() if network.version != 1} == {"wrn"}
    assert models.NETWORKS["wrn"].version == 2  # since its channels are last
    small = models.NETWORKS["small"]
    monkeypatch.setattr(networks, "SMALL", replace(small, version=2))
    assert fingerprint(recipe) != old


@pytest.mark.parametrize("name", sorted(baselines.recipes("digits")))
def test_the_golden_results_are_of_the_models_as_they_are(name: str) -> None:
    path = baselines.folder("digits") / name / baselines.GOLDEN / "result.json"
    assert (
        json.loads(path.read_text())["model"]["fingerprint"]
        == catalogue.resolve(parse(name), track="digits").fingerprint
    )


def test_the_version_of_the_oracle_is_in_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = catalogue.resolve(parse("oracle"), track="gauss").fingerprint
    monkeypatch.setattr(kinds, "ORACLE", replace(models.KINDS["oracle"], version=2))
    assert catalogue.resolve(parse("oracle"), track="gauss").fingerprint != before


def test_a_recipe_of_another_track_is_refused(recipe: Path) -> None:
    with pytest.raises(UserError, match="is a recipe of track 'digits', not 'gauss': use --track digits"):
        catalogue.resolve(parse(str(recipe)), track="gauss")


def test_an_extractor_is_a_model_of_its_own() -> None:
    spec = catalogue.extractor("digits-ref", track="digits")
    assert spec.name == "digits-ref"
    assert spec.weights == str(extractors.recipe_path("digits-ref", data.track("digits")).parent / baselines.WEIGHTS)
    assert spec.fingerprint not in {
        catalogue.resolve(parse(name), track="digits").fingerprint for name in baselines.names("digits")
    }
    assert capabilities(catalogue.load(spec)) == spec.capabilities
    assert catalogue.extractor("pixels", track="gauss").capabilities == frozenset()


def test_the_version_of_an_extractor_is_in_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = catalogue.extractor("pixels", track="gauss").fingerprint
    monkeypatch.setattr(kinds, "PIXELS", replace(models.KINDS["pixels"], version=2))
    assert catalogue.extractor("pixels", track="gauss").fingerprint != before


@pytest.mark.parametrize(
    ("name", "track", "words"),
    [
        ("digits", "digits", "unknown extractor 'digits'; did you mean 'digits-ref'"),
        ("pixels", "digits", "extractor 'pixels' is not for track digits"),
        ("digits-ref", "gauss", "extractor 'digits-ref' is not for track gauss"),
        ("jem", "digits", "unknown extractor 'jem'"),
    ],
)
def test_what_is_no_extractor_of_the_track(name: str, track: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        catalogue.extractor(name, track=track)


def test_weights_are_of_the_inception_network_only(tmp_path: Path) -> None:
    for name, track in (("digits-ref", "digits"), ("pixels", "gauss")):
        with pytest.raises(UserError, match=f"weights go with extractor 'inception-v3', not with '{name}'"):
            catalogue.extractor(name, track=track, weights=tmp_path / "any.pth")


def test_extractors_cannot_be_evaluated() -> None:
    for name in ("pixels", "digits-ref", "inception-v3"):
        with pytest.raises(UserError, match=f"unknown model of track gauss '{name}'"):
            catalogue.resolve(parse(name), track="gauss")


@pytest.mark.parametrize(("network", "last"), [({"network": "wrn", "depth": 10}, True), ({}, False)])
def test_wide_networks_are_evaluated_with_their_channels_last(tmp_path: Path, network: dict, last: bool) -> None:
    """It is the same model up to rounding; the layout of others, whose golden results are there, stays."""
    path = tmp_path / "mine" / baselines.RECIPE
    path.parent.mkdir()
    lines = [f"{name} = {value!r}" for name, value in {"kind": "jem", "width": 3, **network}.items()]
    head = 'track = "digits"\nabout = ""\n[training]\niterations = 1\n[sampling]\nbuffer = 64\n[model]\n'
    path.write_text(head + "\n".join(lines))
    with generators.forked("layout"):
        made = catalogue.build(read_recipe(path), data.track("digits")).eval()
    save_file(made.state_dict(), path.with_name(baselines.WEIGHTS))
    loaded = catalogue.load(catalogue.resolve(parse(str(path)), track="digits"))
    kernels = [p for p in loaded.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) == last for p in kernels)
    x = torch.rand((5, 1, 8, 8), generator=generators.generator("layout"))
    assert torch.allclose(loaded.logits(x), made.logits(x), atol=1e-5)


@pytest.mark.parametrize("place", ["code", "recipe"])
def test_what_was_chosen_of_a_checkpoint_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """When a name is resolved, which one process does, and never by a worker that loads the model."""
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path))
    build = "def build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    (tmp_path / "net.py").write_text(f"from torch import nn\n\n\n{build}")
    if place == "code":
        name, network = f"{tmp_path / 'net.py'}:build", nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    else:
        name, network = "softmax", catalogue.load(catalogue.resolve(parse("softmax"), track="digits"))
    state = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "ema": {key: tensor + 1 for key, tensor in state.items()}}, tmp_path / "w.pth")
    n = len(state)
    with caplog.at_level(logging.INFO, logger="jembench"):
        spec = catalogue.resolve(parse(name, weights=tmp_path / "w.pth"), track="digits")
        words = (
            f"{n} of {n} tensors, in state_dict, prefix module. removed, EMA weights present: --weights-key ema.module"
        )
        assert [record.getMessage() for record in caplog.records] == [f"w.pth: file of torch.save, {words}"]
        catalogue.load(spec)
        assert len(caplog.records) == 1
