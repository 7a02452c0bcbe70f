"""The zoo: from a model's name to the model.

A reference is the name of a baseline of the track (``jem``), the path of a ``recipe.toml`` with weights beside it,
``robustbench:NAME``, ``timm:NAME`` or ``torchvision:NAME`` (:mod:`jembench.zoo.named`), or ``path/to/file.py:build`` or
``package.module:build`` for a user's own code: ``build()`` returns a ``torch.nn.Module`` that maps images in [0, 1] to
logits, or an object of the model contract. With weights that are an official checkpoint the model is what the
checkpoint says (:mod:`jembench.zoo.official`). Resolving a baseline loads no torch: its identity is the hash of its
files. A model travels to worker processes as its :class:`ModelSpec`, never as an object.
"""

from __future__ import annotations

import copy
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench import data
from jembench.attacks.defences import Defence, Defended
from jembench.ground import families, generators, guard
from jembench.ground.files import require_file
from jembench.ground.identity import file_sha256, identity
from jembench.ground.numerics import check_device
from jembench.models import KINDS, NETWORKS, able
from jembench.models.recipes import Recipe, read_recipe
from jembench.types import Capability, UserError, capabilities
from jembench.zoo import baselines, extractors, foreign, named, official
from jembench.zoo.weights import is_pickle, load_weights

if TYPE_CHECKING:
    from jembench.data.sets import Track


INCEPTION = "inception-v3"
GAUSSIANS = "class-gaussians"  # the one model that is made of images
TWIN = "twin"  # ``jem@twin``: the baseline with the weights of another training seed
DEFENDED = 1  # version of defences, part of the fingerprint of a defended model
LONGEST = 100  # characters of a name, which is part of a path


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be loaded anywhere.

    Attributes:
        name: what tables call it.
        track: the track it is of.
        reference: how it was named: a baseline, ``library:NAME``, ``file.py:build`` or ``package.module:build``.
        weights: path of its weights, if any.
        fingerprint: hash of all that its numbers depend on.
        capabilities: what it can do.
        weights_sha256: hash of the weights file, if any.
        module: the object itself, for a model that exists in this process only.
        stochastic: whether its logits draw noise.
        defence: what stands before it, if anything.
        base: the name of the model behind a defence.
        images: where the training images of an external track lie prepared, for the one that is made of them.
    """

    name: str
    track: str
    reference: str
    weights: str | None
    fingerprint: str
    capabilities: frozenset[Capability]
    weights_sha256: str | None = None
    module: Any = field(default=None, compare=False, repr=False)
    stochastic: bool = False
    defence: Defence | None = None
    base: str = ""
    images: str = ""


def resolve(reference: str, *, track: str, weights: Path | None = None, folder: str = "") -> ModelSpec:
    """The spec of a model by its reference.

    Args:
        reference: a baseline's name, ``path/to/recipe.toml``, ``library:NAME``, ``path/to/file.py:build`` or
            ``package.module:build``.
        track: the track it is evaluated on.
        weights: a safetensors file to load into it, instead of the one beside the recipe; or an official checkpoint,
            with the name of what it is (:data:`jembench.zoo.official.NAMES`) or a recipe of its network.
        folder: where the images of an external track are, for a reference that is made of them.

    Raises:
        UserError: for an unknown name, or a model that cannot be built or loaded.
    """
    description = data.track(track, folder=Path(folder) if folder else None)
    if named.of(reference) is not None:
        return _resolve_named(reference, description, weights)
    if _is_code(reference):
        return _resolve_foreign(reference, description, weights)
    if weights is not None and is_pickle(weights):
        return _resolve_official(reference, description, weights)
    name, _, suffix = reference.rpartition("@")
    if suffix == TWIN and weights is None and (twin := baselines.twin(name, track=track)) is not None:
        return resolve(name, track=track, weights=twin)
    if reference in baselines.exact(track) and weights is None:
        kind = KINDS[reference]
        made_of = data.found(description, "train") if description.external and reference == GAUSSIANS else None
        own = {} if made_of is None else {"data": made_of.sha256}
        exact = identity({"kind": reference, "version": kind.version, "track": description.id, **own})
        images = "" if made_of is None else made_of.origin
        return ModelSpec(reference, track, reference, None, exact, kind.capabilities, images=images)
    source = baselines.recipe_path(reference, track=track).resolve()
    recipe = read_recipe(source, track=track)
    path = weights if weights is not None else source.parent / baselines.WEIGHTS
    require_file(path)
    digest = file_sha256(path)
    kind = KINDS[recipe.model.kind]
    made = recipe.model_dump(mode="json", include={"model", "sampling"}, exclude_defaults=True)
    version = NETWORKS[recipe.model.network].version
    newer = {} if version == 1 else {"network": version}
    found = identity({**made, **newer, "version": kind.version, "weights": digest})
    name = _slug(source.parent.name)
    if reference.endswith(".toml"):
        reference = str(source)
    if weights is not None:
        name = f"{name}@{_slug(path.stem)}"
    possible = able(recipe.model.kind, recipe.model.network)
    return ModelSpec(name, track, reference, str(path.resolve()), found, possible, digest)


def extractor(name: str, *, track: str, weights: Path | None = None) -> ModelSpec:
    """The spec of a feature extractor by its name.

    Args:
        name: one of :data:`jembench.zoo.extractors.EXTRACTORS`.
        track: the track whose images it is to see.
        weights: the file of its weights, of ``inception-v3`` only.

    Raises:
        UserError: for an unknown name, one of another track, or missing weights.
    """
    description = data.track(track)
    extractors.of_track(name, description)
    if name == INCEPTION:
        from jembench.models import inception

        path = inception.weights(weights)
        digest = file_sha256(path)
        found = identity({"kind": INCEPTION, "version": KINDS[INCEPTION].version, "weights": digest})
        return ModelSpec(INCEPTION, track, INCEPTION, str(path.resolve()), found, frozenset(), digest)
    if weights is not None:
        raise UserError(f"weights go with extractor {INCEPTION!r}, not with {name!r}")
    if name in KINDS:
        exact = identity({"kind": name, "version": KINDS[name].version, "track": description.id})
        return ModelSpec(name, track, name, None, exact, frozenset())
    return resolve(str(extractors.recipe_path(name)), track=track)


def defended(spec: ModelSpec, defence: Defence) -> ModelSpec:
    """The spec of a model behind a defence: another model, with a fingerprint of its own.

    Raises:
        UserError: if it has no logits, or no density to climb.
    """
    if "classifier" not in spec.capabilities:
        raise UserError(f"model {spec.name!r} gives no logits, so it cannot be defended")
    if defence.steps > 0 and "density" not in spec.capabilities:
        raise UserError(f"model {spec.name!r} has no density, so it cannot be refined: SGLD climbs log p(x)")
    return replace(
        spec,
        name=f"{spec.name}-{defence.title}",
        base=spec.name,
        fingerprint=identity([spec.fingerprint, DEFENDED, asdict(defence)]),
        capabilities=frozenset({"classifier"}),
        stochastic=True,
        defence=defence,
    )


def load(spec: ModelSpec, *, device: str = "cpu") -> Any:
    """The model of a spec, in evaluation mode on ``device``, checked against its track by a probe.

    Raises:
        UserError: if it cannot be built, its weights do not fit, or its outputs have the wrong shape.
    """
    if spec.defence is not None:
        bare = replace(spec, name=spec.base, fingerprint="", capabilities=frozenset(), defence=None)
        return Defended(load(bare, device=device), spec.defence)
    track = data.track(spec.track)
    if spec.images:
        track = track.placed("train", spec.images)
    check_device(device)
    weights = None if spec.weights is None else Path(spec.weights)
    if spec.module is not None:
        model = spec.module
    elif named.of(spec.reference) is not None:
        assert weights is not None
        model = named.build(spec.reference, weights, track)
    elif _is_code(spec.reference):
        model = foreign.build(spec.reference, weights)
    elif spec.reference == INCEPTION:
        assert weights is not None
        model = _call(KINDS[INCEPTION].builder, weights)
        weights = None  # they are in
    elif weights is None:
        model = _call(KINDS[spec.reference].builder, track)
    else:
        recipe = read_recipe(baselines.recipe_path(spec.reference, track=spec.track))
        with generators.forked("load"):  # the weights that are drawn here are replaced by those of the file
            model = build(recipe, track)
        load_weights(model, weights)
        if NETWORKS[recipe.model.network].channels_last:
            import torch

            model.to(memory_format=torch.channels_last)
    with guard.guarded(f"model {spec.name!r} cannot be used"), generators.forked("load"):
        for method, arguments in (("eval", ()), ("requires_grad_", (False,))):
            if hasattr(model, method):
                getattr(model, method)(*arguments)
        probe(model, spec.name, track)
        if (
            spec.fingerprint
            and (spec.module is not None or _is_code(spec.reference))
            and _fingerprint(spec, model) != spec.fingerprint
        ):
            raise UserError(f"model {spec.name!r} is another one each time it is built: its build() must not vary")
        return model.to(device) if hasattr(model, "to") else model


def build(recipe: Recipe, track: Track) -> Any:
    """An untrained model of a recipe; its weights come from torch's global generator.

    Raises:
        UserError: if the network cannot be made with these options, or for these images.
    """
    try:
        return _call(KINDS[recipe.model.kind].builder, recipe, track)
    except ValueError as error:
        raise UserError(f"network {recipe.model.network!r} cannot be built: {error}") from error


def start_from(model: Any, recipe: Recipe) -> str | None:
    """Give a model the network of the baseline that its recipe starts from.

    Returns:
        The hash of that baseline's weights file; None if the recipe starts from random weights.

    Raises:
        UserError: for an unknown baseline, or one of another network.
    """
    reference = recipe.training.initial
    if reference is None:
        return None
    path = baselines.recipe_path(reference, track=recipe.track).parent / baselines.WEIGHTS
    load_weights(model.network, path, part="network.")
    return file_sha256(path)


def in_memory(model: Any, *, track: str, name: str) -> ModelSpec:
    """The spec of a model object; it can be evaluated in this process only.

    Raises:
        UserError: if the object is no model or cannot be copied, or its name cannot be part of a path.
    """
    if _slug(name) != name:
        raise UserError(f"model name {name!r} is part of a path: use up to {LONGEST} letters, digits, '.', '_' and '-'")
    import torch

    made = foreign.behind_contract(model, name)
    what = f"model {name!r} cannot be copied, name it as 'file.py:build'"
    with guard.guarded(what), torch.no_grad():  # with gradients, a scripted module's copied parameters are no leaves
        model = copy.deepcopy(made)  # evaluation must not change the user's object
    found = ModelSpec(name, track, name, None, "", frozenset(), module=model)
    return _identified(found, load(found))


def probe(model: Any, name: str, track: Track) -> None:
    """Check the shapes of a model's outputs on two images.

    Raises:
        UserError: if the logits are not ``(B, K)`` or the log density is not ``(B,)``.
    """
    import torch

    images = torch.rand((2, *track.shape), generator=generators.generator("probe"))
    extra = {"generator": generators.generator("probe")} if getattr(model, "stochastic", False) else {}
    wanted: dict[Capability, tuple[str, tuple[int, ...]]] = {
        "classifier": ("logits", (2, track.classes)),
        "density": ("log_density", (2,)),
    }
    for capability, (method, shape) in wanted.items():
        if capability not in capabilities(model):
            continue
        with guard.guarded(f"model {name!r} fails on images of shape {tuple(images.shape)}"), torch.no_grad():
            output = getattr(model, method)(images, **(extra if method == "logits" else {}))
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        if found != shape:
            raise UserError(
                f"model {name!r}: {method} of 2 images of track {track.name} gives {found}, not {shape}: "
                f"the track has {track.classes} classes and images of shape {track.shape}"
            )


def _is_code(reference: str) -> bool:
    """Whether a reference is ``file.py:build`` or ``package.module:build``."""
    return ":" in reference and not reference.endswith(".toml") and named.of(reference) is None


def _resolve_official(reference: str, track: Track, weights: Path) -> ModelSpec:
    """The model in an official checkpoint: as it says, or of a recipe, whose network must be the same."""
    if not reference.endswith(".toml"):
        if reference not in official.NAMES:
            baselines.recipe_path(reference, track=track.name)  # an unknown name is what is wrong first
            known = " or ".join(official.NAMES)
            raise UserError(
                f"{weights}: is a pickle (torch.save), which model {reference!r} does not take: an official checkpoint "
                f"goes with --model {known}"
            )
        converted = official.cached(weights, track=track, asked=reference)
        spec = resolve(str(converted), track=track.name)
        return replace(spec, name=f"{reference}@{_slug(weights.stem)}"[:LONGEST])
    source = baselines.recipe_path(reference, track=track.name)
    model = read_recipe(source, track=track.name).model
    converted = official.cached(
        weights, track=track, asked=official.SOFTMAX if model.kind == official.SOFTMAX else None
    )
    found = read_recipe(converted).model
    if (model.network, {"norm": "none", **model.options()}) != (found.network, found.options()):
        raise UserError(
            f"{weights}: is a network 'wrn' with {_words(found.options())}; {source} wants {model.network!r} with "
            f"{_words(model.options())}"
        )
    spec = resolve(reference, track=track.name, weights=converted.parent / baselines.WEIGHTS)
    return replace(spec, name=f"{_slug(source.resolve().parent.name)}@{_slug(weights.stem)}"[:LONGEST])


def _words(options: dict[str, int | str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "no options"


def _resolve_named(reference: str, track: Track, weights: Path | None) -> ModelSpec:
    reference, path = named.located(reference, track, weights)
    name = _slug(reference)
    spec = ModelSpec(name, track.name, reference, str(path.resolve()), "", frozenset(), file_sha256(path))
    return _identified(spec, load(spec))


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
    return _identified(spec, load(spec))


def _identified(spec: ModelSpec, model: Any) -> ModelSpec:
    """The spec with what only the model itself can tell: its fingerprint and its capabilities."""
    with guard.guarded(f"model {spec.name!r} cannot be used"):
        possible = foreign.abilities(model, data.track(spec.track))
        noisy = bool(getattr(model, "stochastic", False))
        return replace(spec, fingerprint=_fingerprint(spec, model), capabilities=possible, stochastic=noisy)


def _fingerprint(spec: ModelSpec, model: Any) -> str:
    """The fingerprint of a model that is not a baseline: its code as far as we see it, its weights, its outputs."""
    if spec.module is not None:
        code = [type(model).__module__, type(model).__qualname__]
    elif (library := named.of(spec.reference)) is not None:
        code = [spec.reference, named.version(library)]
    else:
        location, _, attribute = spec.reference.rpartition(":")
        code = [attribute, file_sha256(Path(location)) if location.endswith(".py") else location]
    return foreign.fingerprint(model, data.track(spec.track), [*code, spec.weights_sha256])


def _call(builder: str, *arguments: Any) -> Any:
    return families.load(builder)(*arguments)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:LONGEST] or "model"
