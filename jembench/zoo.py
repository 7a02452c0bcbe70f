"""The zoo: from a model's name to the model.

A reference is the name of a baseline of the track (``jem``), the path of a ``recipe.toml`` with weights beside it, or
``path/to/file.py:build`` or ``package.module:build`` for a user's own code: ``build()`` returns a ``torch.nn.Module``
that maps images in [0, 1] to logits, or an object of the model contract. Resolving a baseline loads no torch: its
identity is the hash of its files. A model travels to worker processes as its :class:`ModelSpec`, never as an object.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench import baselines, data, foreign
from jembench.identity import file_sha256, identity
from jembench.recipes import ModelPart, SamplingPart, read_recipe
from jembench.types import Capability, UserError
from jembench.weights import load_weights, require_file

if TYPE_CHECKING:
    from jembench.data.sets import Track

KIND_CAPABILITIES: dict[str, frozenset[Capability]] = {
    "softmax": frozenset({"classifier", "density"}),
    "jem": frozenset({"classifier", "density", "sampler"}),
    "oracle": frozenset({"classifier", "density", "sampler"}),
}


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be loaded anywhere.

    Attributes:
        name: what tables call it.
        track: the track it is of.
        reference: how it was named: a baseline, ``file.py:build`` or ``package.module:build``.
        weights: path of its weights, if any.
        fingerprint: hash of all that its numbers depend on.
        capabilities: what it can do.
        weights_sha256: hash of the weights file, if any.
        module: the object itself, for a model that exists in this process only.
    """

    name: str
    track: str
    reference: str
    weights: str | None
    fingerprint: str
    capabilities: frozenset[Capability]
    weights_sha256: str | None = None
    module: Any = field(default=None, compare=False, repr=False)


def resolve(reference: str, *, track: str, weights: Path | None = None) -> ModelSpec:
    """The spec of a model by its reference.

    Args:
        reference: a baseline's name, ``path/to/recipe.toml``, ``path/to/file.py:build`` or ``package.module:build``.
        track: the track it is evaluated on.
        weights: a safetensors file to load into it, instead of the one beside the recipe.

    Raises:
        UserError: for an unknown name, or a model that cannot be built or loaded.
    """
    description = data.track(track)
    if _is_code(reference):
        return _resolve_foreign(reference, description, weights)
    if reference in baselines.EXACT.get(track, {}) and weights is None:
        truth = identity(["oracle", description.id])
        return ModelSpec("oracle", track, "oracle", None, truth, KIND_CAPABILITIES["oracle"])
    source = baselines.recipe_path(reference, track=track).resolve()
    recipe = read_recipe(source)
    if recipe.track != track:
        raise UserError(f"{source}: is a recipe of track {recipe.track!r}, not {track!r}: use --track {recipe.track}")
    path = weights if weights is not None else source.parent / baselines.WEIGHTS
    require_file(path)
    digest = file_sha256(path)
    configuration = {"model": recipe.model.model_dump(mode="json"), "weights": digest}
    name = _slug(source.parent.name)
    if reference.endswith(".toml"):
        reference = str(source)
    if weights is not None:
        name = f"{name}@{_slug(path.stem)}"
    kind = KIND_CAPABILITIES[recipe.model.kind]
    return ModelSpec(name, track, reference, str(path.resolve()), identity(configuration), kind, digest)


def load(spec: ModelSpec, *, device: str = "cpu") -> Any:
    """The model of a spec, in evaluation mode on ``device``, checked against its track by a probe.

    Raises:
        UserError: if it cannot be built, its weights do not fit, or its outputs have the wrong shape.
    """
    track = data.track(spec.track)
    _check_device(device)
    weights = None if spec.weights is None else Path(spec.weights)
    if spec.module is not None:
        model = spec.module
    elif _is_code(spec.reference):
        model = foreign.build(spec.reference, weights)
    elif spec.reference == "oracle":
        model = _oracle(track)
    else:
        recipe = read_recipe(baselines.recipe_path(spec.reference, track=spec.track))
        model = build(recipe.model, track=track, sampling=recipe.sampling)
        assert weights is not None
        load_weights(model, weights)
    if hasattr(model, "eval"):
        model.eval()
    if hasattr(model, "requires_grad_"):
        model.requires_grad_(False)
    probe(model, spec.name, track)
    if spec.fingerprint and _is_code(spec.reference) and _fingerprint(spec, model) != spec.fingerprint:
        raise UserError(
            f"model {spec.name!r} is another one each time it is built (random weights?): "
            "seed its build(), or give --weights"
        )
    return model.to(device) if hasattr(model, "to") else model


def build(part: ModelPart, *, track: Track, sampling: SamplingPart | None) -> Any:
    """An untrained model of a recipe; its weights come from torch's global generator."""
    from jembench.models.jem import JEM
    from jembench.models.small import SmallNet
    from jembench.models.softmax import Softmax
    from jembench.sgld import SGLD

    network = SmallNet(shape=track.shape, classes=track.classes, width=part.width)
    if part.kind == "softmax" or sampling is None:
        return Softmax(network, mean=part.mean, std=part.std)
    bounds = (0.0, 1.0) if sampling.clamp else None
    settings = SGLD(sampling.steps, sampling.size, sampling.noise, bounds=bounds)
    return JEM(network, shape=track.shape, settings=settings, buffer=sampling.buffer, mean=part.mean, std=part.std)


def in_memory(model: Any, *, track: str, name: str) -> ModelSpec:
    """The spec of a model object; it can be evaluated in this process only.

    Raises:
        UserError: if the object is no model or cannot be copied, or its name cannot be part of a path.
    """
    if _slug(name) != name:
        raise UserError(f"model name {name!r} is part of a path: use letters, digits, '.', '_' and '-' only")
    try:
        model = copy.deepcopy(foreign.behind_contract(model, name))  # evaluation must not change the user's object
    except (TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"model {name!r} cannot be copied ({reason}): name it as 'file.py:build'") from error
    found = ModelSpec(name, track, name, None, "", frozenset(), module=model)
    possible = foreign.abilities(load(found), data.track(track))
    return replace(found, fingerprint=_fingerprint(found, model), capabilities=possible)


def probe(model: Any, name: str, track: Track) -> None:
    """Check the shapes of a model's outputs on two images.

    Raises:
        UserError: if the logits are not ``(B, K)`` or the log density is not ``(B,)``.
    """
    import torch

    from jembench import seeding

    images = torch.rand((2, *track.shape), generator=seeding.generator("probe"))
    extra = {"generator": seeding.generator("probe")} if getattr(model, "stochastic", False) else {}
    wanted = {"logits": (2, track.classes), "log_density": (2,)}
    for method, shape in wanted.items():
        if not hasattr(model, method):
            continue
        try:
            with torch.no_grad():
                output = getattr(model, method)(images, **(extra if method == "logits" else {}))
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise UserError(f"model {name!r} fails on images of shape {tuple(images.shape)}: {reason}") from error
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        if found != shape:
            raise UserError(
                f"model {name!r}: {method} of 2 images of track {track.name} gives {found}, not {shape}: "
                f"the track has {track.classes} classes and images of shape {track.shape}"
            )


def _is_code(reference: str) -> bool:
    """Whether a reference is ``file.py:build`` or ``package.module:build``."""
    return ":" in reference and not reference.endswith(".toml")


def _resolve_foreign(reference: str, track: Track, weights: Path | None) -> ModelSpec:
    location, _, attribute = reference.rpartition(":")
    name = location
    if location.endswith(".py"):
        require_file(Path(location))
        reference, name = f"{Path(location).resolve()}:{attribute}", Path(location).stem
    path, digest = None, None
    if weights is not None:
        require_file(weights)
        path, digest = str(weights.resolve()), file_sha256(weights)
    spec = ModelSpec(_slug(f"{name}.{attribute}"), track.name, reference, path, "", frozenset(), digest)
    model = load(spec)
    return replace(spec, fingerprint=_fingerprint(spec, model), capabilities=foreign.abilities(model, track))


def _fingerprint(spec: ModelSpec, model: Any) -> str:
    """The fingerprint of a model that is not a baseline: its code as far as we see it, its weights, its outputs."""
    if spec.module is not None:
        code = [type(model).__module__, type(model).__qualname__]
    else:
        location, _, attribute = spec.reference.rpartition(":")
        code = [attribute, file_sha256(Path(location)) if location.endswith(".py") else location]
    return foreign.fingerprint(model, data.track(spec.track), [*code, spec.weights_sha256])


def _check_device(device: str) -> None:
    """Raise :class:`UserError` unless tensors can be made on ``device`` and read back."""
    import torch

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        raise UserError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error


def _oracle(track: Track) -> Any:
    import torch

    from jembench.data import gauss
    from jembench.models.oracle import Oracle

    return Oracle(torch.from_numpy(gauss.means()), sigma=gauss.SIGMA, shape=track.shape)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "model"
