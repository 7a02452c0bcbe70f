"""The Hugging Face Hub: ``hf:org/name`` or ``hf:org/name@revision``, weights for a model or a timm model itself.

What is fetched are the configuration and the weights, by ``huggingface_hub`` into its own cache, and nothing in them is
run. A revision is pinned to its commit: the hash of a commit is part of the identity of what is measured, so that a
branch that moves on is another model.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from jembench.ground import guard
from jembench.types import UserError
from jembench.zoo.checkpoints import CONFIG
from jembench.zoo.references import HUB, ModelRef

START = f"{HUB}:"
# What is fetched, in this order: the second only where there is nothing of the first.
PATTERNS = (
    (CONFIG, "*model.safetensors", "*model-*.safetensors", "*model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"),
)
_BRING = "bring it as a folder, --weights FOLDER"
_REASONS = {
    "GatedRepoError": "its owner must let you in first: ask on its page, then `hf auth login`",
    "RepositoryNotFoundError": "there is no such repository, or it needs a login (`hf auth login`)",
    "RevisionNotFoundError": "there is no such revision",
    "HFValidationError": "that is no name of a repository: org/name, or org/name@revision",
    "LocalEntryNotFoundError": f"it is not in the cache, and the hub cannot be reached: {_BRING}",
    "OfflineModeIsEnabled": f"it is not in the cache, and HF_HUB_OFFLINE is set: {_BRING}",
}


def fetched(ref: ModelRef) -> ModelRef:
    """A reference with a folder for weights that are in a repository of the hub; any other as it is.

    Raises:
        UserError: if the repository is not there, or cannot be reached.
    """
    text = "" if ref.weights is None else ref.weights.as_posix()
    return replace(ref, weights=folder(text.removeprefix(START))) if text.startswith(START) else ref


def folder(words: str) -> Path:
    """The folder of a repository on this machine, named by its commit.

    Args:
        words: ``org/name``, or ``org/name@revision`` with a branch, a tag or a commit.

    Raises:
        UserError: if the repository is not there, or cannot be reached, or has no weights.
    """
    repository, _, revision = words.partition("@")
    for patterns in PATTERNS:
        try:
            with guard.guarded(f"{START}{words} cannot be fetched"):
                place = _snapshot(repository, revision or None, patterns)
        except UserError as error:
            kinds = [kind.__name__ for kind in type(error.__cause__).__mro__]
            reason = next((_REASONS[kind] for kind in kinds if kind in _REASONS), None)
            raise UserError(f"{START}{words} cannot be fetched: {reason}" if reason else str(error)) from error
        if any(place.glob("*.safetensors")) or any(place.glob("*.bin")):
            return place
    raise UserError(f"{START}{words} holds no weights: neither model.safetensors nor pytorch_model.bin")


def _snapshot(repository: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """Fetch files of a repository: the one function that asks the hub."""
    try:
        hub: Any = import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(f"{START}{repository} needs huggingface_hub: pip install 'jembench[hf]'") from error
    return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))


def pinned(path: Path | None) -> str:
    """Repository and commit of a folder that :func:`folder` gave; nothing of any other path.

    >>> pinned(Path("hub/models--org--name/snapshots/0a1b"))
    'org/name@0a1b'
    """
    parts = () if path is None else path.parts[-3:]
    if len(parts) < 3 or parts[1] != "snapshots" or not parts[0].startswith("models--"):
        return ""
    return f"{parts[0].removeprefix('models--').replace('--', '/')}@{parts[2]}"


def timm_configuration(place: Path) -> dict[str, Any]:
    """What ``config.json`` of a timm model says: ``architecture``, ``pretrained_cfg`` and more.

    Raises:
        UserError: if it is of no timm model.
    """
    try:
        content = json.loads((place / CONFIG).read_bytes())
    except (OSError, ValueError):
        content = {}
    if isinstance(content, dict) and isinstance(content.get("architecture"), str):
        return content
    kinds = content.get("architectures") if isinstance(content, dict) else None
    what = f"a {kinds[0]} of transformers" if isinstance(kinds, list) and kinds else "of no architecture of timm"
    raise UserError(
        f"{START}{pinned(place) or place} is {what}: name code that builds it, --model file.py:build, with these "
        "--weights"
    )
