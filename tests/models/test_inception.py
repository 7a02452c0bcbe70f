"""The Inception network: only the published weights, read as tensors; what comes out; one line where it cannot be."""

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor

import jembench
from jembench import data
from jembench.choices.request import Request, Sampling
from jembench.engine.plan import plan
from jembench.ground import generators
from jembench.ground.identity import file_sha256
from jembench.models import KINDS, inception, kinds
from jembench.types import UserError
from jembench.zoo import catalogue
from jembench.zoo.references import parse

pytest.importorskip("torch_fidelity")
FILE = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights of the right shapes, drawn at random."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Bare(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *_: Any, **__: Any) -> None:
            """Keeps what was drawn."""

    nothing = tmp_path_factory.mktemp("inception") / "nothing.pth"
    torch.save({}, nothing)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Bare("inception-v3-compat", inception.LAYERS, feature_extractor_weights_path=str(nothing))
    path = nothing.with_name(FILE)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def trusted(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same file, taken for the published one."""
    url, _ = inception.published()
    monkeypatch.setattr(inception, "published", lambda: (url, file_sha256(drawn)[:8]))
    return drawn


def test_the_published_hash_is_in_the_name_of_the_file() -> None:
    url, digest = inception.published()
    assert url.endswith(FILE)
    assert digest == "6726825d"


def test_without_torch_fidelity_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs torch-fidelity: pip install 'jembench\[fid\]'"):
        inception.weights()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache and no network."""

    def fail(*_: Any, **__: Any) -> None:
        raise URLError("no network here")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    return tmp_path


def test_offline_it_says_what_to_bring(offline: Path) -> None:
    with pytest.raises(UserError) as error:
        jembench.evaluate(
            "jem", "generation", limit=10, output=offline / "o", sampling=Sampling(extractor="inception-v3")
        )
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("the weights of inception-v3 are not here and cannot be downloaded (")
    assert text.endswith(f"bring {FILE} and name it by --inception-weights FILE")
    assert not list((offline / "o").rglob("*.parquet"))  # before any chain was run


def test_they_are_downloaded_once_with_their_hash(
    trusted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    def fetch(url: str, target: str, *, hash_prefix: str, progress: bool) -> None:
        calls.append((url, hash_prefix, progress))
        shutil.copy(trusted, target)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    first, second = inception.weights(), inception.weights()
    assert first == second == tmp_path / "hub" / "checkpoints" / FILE
    assert calls == [(*inception.published(), False)]


def test_another_file_is_refused(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not the published weights of inception-v3 \(SHA-256 6726825d"):
        inception.weights(drawn)
    with pytest.raises(UserError, match=f"no such file: --inception-weights takes the file {FILE}"):
        inception.weights(tmp_path / "absent.pth")
    with pytest.raises(UserError, match="no such file"):
        inception.weights(tmp_path)


def test_a_damaged_file_in_the_cache_is_refused(offline: Path) -> None:
    place = offline / "hub" / "checkpoints" / FILE
    place.parent.mkdir(parents=True)
    place.write_bytes(b"half of it")
    with pytest.raises(UserError, match="not the published weights"):
        inception.weights()


class Planted:
    """A pickle that runs code."""

    def __init__(self, act: Callable[..., Any], *arguments: Any) -> None:
        self.what = (act, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.what


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path: Path, how: str) -> None:
    """Also if its hash were right: eight digits of it are no proof."""
    mark, file = tmp_path / "it ran", tmp_path / FILE
    planted = {"fc.weight": Planted(Path.touch, mark)}
    if how == "torch":
        torch.save(planted, file)
    else:
        file.write_bytes(pickle.dumps(planted))
    with pytest.raises(UserError, match="not the weights of inception-v3") as error:
        inception.load(file)
    assert "\n" not in str(error.value)
    assert not mark.exists()


def test_tensors_of_another_network_are_a_line(tmp_path: Path) -> None:
    file = tmp_path / FILE
    torch.save({"fc.weight": torch.zeros(3)}, file)
    with pytest.raises(UserError, match="not the weights of inception-v3") as error:
        inception.load(file)
    assert "\n" not in str(error.value)


def test_it_sees_what_torch_fidelity_sees(trusted: Path) -> None:
    """2,048 features and 1,008 logits without bias, of 8-bit images, grey ones repeated, one by one or together."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    spec = catalogue.extractor("inception-v3", track="digits", weights=trusted)
    model = catalogue.load(spec)
    grey = torch.from_numpy(data.load("digits", "test").pixels(0, 3))
    features, f = model.embed(grey)
    assert (features.shape, f.shape) == ((3, 2048), (3, 1008))
    coloured = model.embed(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(coloured, (features, f), rtol=0, atol=0)
    whole = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(trusted)
    )
    bytes_ = torch.from_numpy(np.rint(grey.numpy() * 255).astype(np.uint8)).expand(-1, 3, -1, -1)
    torch.testing.assert_close(whole(bytes_), (features, f), rtol=0, atol=0)
    alone: tuple[Tensor, Tensor] = model.embed(grey[:1])
    for found, expected in zip(alone, (features, f), strict=True):
        assert (found - expected[:1]).abs().max() <= 1e-4 * expected.abs().max()
    assert not torch.equal(features[0], features[1])


def test_its_identity_is_that_of_the_weights(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = catalogue.extractor("inception-v3", track="gauss", weights=trusted)
    assert spec.weights_sha256 == file_sha256(trusted)
    assert (spec.name, spec.capabilities, spec.weights) == ("inception-v3", frozenset(), str(trusted))
    assert spec.fingerprint == catalogue.extractor("inception-v3", track="digits", weights=trusted).fingerprint
    kind = KINDS["inception-v3"]
    monkeypatch.setattr(kinds, "INCEPTION_V3", replace(kind, version=kind.version + 1))
    assert spec.fingerprint != catalogue.extractor("inception-v3", track="gauss", weights=trusted).fingerprint


class Tiny(torch.nn.Module):
    """In its place: as fast as it is blind."""

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat, mixed = x.flatten(1), torch.randn((64, 100), generator=generators.generator("tiny"))
        return flat @ mixed, flat[:, :30].repeat(1, 40)[:, :1008]


def tiny(file: Path) -> Tiny:
    return Tiny()


def test_figures_are_called_fid_and_kid_of_inception_v3(
    trusted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And what needs more samples than it has features says how many."""
    monkeypatch.setattr(inception, "load", tiny)
    options = Sampling(extractor="inception-v3", weights=trusted)
    found = jembench.evaluate("jem", "generation", limit=30, output=tmp_path, sampling=options).metrics
    for row in ("fresh", "buffer", "conditional", "uniform", "class-gaussians", "test"):
        assert found[f"{row}/inception-v3/fid"].value is not None
        assert found[f"{row}/inception-v3/kid"].value is not None
        reason = found[f"{row}/inception-v3/fid_infinity"].reason
        assert "need at least" in reason
        assert reason.endswith("got 30")
    assert found["20K/inception-v3/fid"].value is not None
    assert not any("/fd" in name or "/kd" in name for name in found)


def test_its_protocol_is_another_than_that_of_the_tracks_extractor(trusted: Path) -> None:
    spec, track = catalogue.resolve(parse("jem"), track="digits"), data.track("digits")
    own = plan(spec, "generation", track=track)
    other = plan(
        spec, "generation", track=track, request=Request(sampling=Sampling(extractor="inception-v3", weights=trusted))
    )
    assert own.protocol_hash != other.protocol_hash
    samples = [{job.key for job in made.jobs if job.measurement.name == "samples"} for made in (own, other)]
    assert samples[0] == samples[1]  # the chains need not run again
