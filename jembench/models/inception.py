"""The Inception network of the Fréchet inception distance, from torch-fidelity (extra ``fid``).

The weights are those of the original TensorFlow graph of 2015, as torch-fidelity publishes them: only with them is a
Fréchet distance an FID. They are read by ``torch.load(weights_only=True)`` and checked against the hash that is part of
the published file's name; torch-fidelity itself, which would unpickle whatever it is given, gets a copy that we wrote.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jembench.ground.identity import file_sha256
from jembench.types import UserError

LAYERS = ["2048", "logits_unbiased"]


class Inception(nn.Module):
    """Images are rounded to 8 bits, as the network wants them; grey ones are repeated for three channels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and class logits without bias."""
        bytes_ = (x.clamp(0, 1) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
        features, f = self.network(bytes_)
        return features, f


def published() -> tuple[str, str]:
    """Where the weights are published, and how their SHA-256 begins.

    Raises:
        UserError: without torch-fidelity.
    """
    url = str(_fidelity().URL_INCEPTION_V3)
    return url, url.rpartition("-")[2].partition(".")[0]


def weights(file: Path | None = None) -> Path:
    """The file of the weights: the given one, or the one in torch's cache, downloaded once.

    Raises:
        UserError: without torch-fidelity, if they are not the published ones, or cannot be downloaded.
    """
    url, digest = published()
    if file is None:
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        if not file.is_file():
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(url, str(file), hash_prefix=digest, progress=False)
            except (OSError, RuntimeError) as error:
                raise UserError(
                    f"the weights of inception-v3 are not here and cannot be downloaded ({error}): "
                    f"bring {url.rpartition('/')[2]} and name it by --inception-weights FILE"
                ) from error
    if not file.is_file():
        raise UserError(f"{file}: no such file: --inception-weights takes the file {url.rpartition('/')[2]}")
    if not file_sha256(file).startswith(digest):
        raise UserError(f"{file}: not the published weights of inception-v3 (SHA-256 {digest}…): FID is of those only")
    return file


def load(file: Path) -> Any:
    """The extractor: ``embed(x)`` gives 2,048 features and 1,008 logits of images ``(B, 1 or 3, H, W)`` in [0, 1].

    Raises:
        UserError: if the file is not a file of tensors for it.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "weights.pth"
            torch.save(state, copy)
            network = _fidelity().FeatureExtractorInceptionV3(
                "inception-v3-compat", LAYERS, feature_extractor_weights_path=str(copy)
            )
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{file}: not the weights of inception-v3 ({reason})") from error
    return Inception(network)


def _fidelity() -> Any:
    """torch-fidelity's module of the network."""
    if find_spec("torch_fidelity") is None:
        raise UserError("extractor 'inception-v3' needs torch-fidelity: pip install 'jembench[fid]'")
    return import_module("torch_fidelity.feature_extractor_inceptionv3")
