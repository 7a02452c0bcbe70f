"""The zoo: from a reference to the model.

A :class:`~jembench.zoo.references.ModelRef` is a baseline of the track, a recipe with weights beside it, a model of a
library (:mod:`jembench.zoo.named`), or a user's own code: ``build()`` returns a ``torch.nn.Module`` that maps images in
[0, 1] to logits, or an object of the model contract. With weights that are an official checkpoint the model is what the
checkpoint says (:mod:`jembench.zoo.official`). Resolving a baseline loads no torch: its identity is the hash of its
files. A model travels to worker processes as its :class:`ModelSpec`, never as an object.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench import data
from jembench.attacks.defences import Defence, Defended
from jembench.ground import families, generators, guard
from jembench.ground.files import require_file
from jembench.ground.identity import file_sha256, identity
from jembench.ground.numerics import check_device
from jembench.ground.progress import silence
from jembench.models import KINDS, NETWORKS, able
from jembench.models.recipes import Recipe, read_recipe
from jembench.types import Capability, UserError, capabilities
from jembench.zoo import baselines, extractors, foreign, hub, named, official, plugged
from jembench.zoo.checkpoints import digest
from jembench.zoo.fitting import load_checkpoint
from jembench.zoo.references import ModelRef
from jembench.zoo.weights import load_weights

if TYPE_CHECKING:
    from jembench.data.sets import Track


LOG = logging.getLogger("jembench")

INCEPTION = "inception-v3"
GAUSSIANS = "class-gaussians"  # the one model that is made of images
DEFENDED = 1  # version of defences, part of the fingerprint of a defended model
LONGEST = 100  # characters of a name, which is part of a path


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be loaded anywhere.

    Attributes:
        name: what tables call it.
        track: the track it is of.
        ref: what was referred to, its paths absolute.
        weights: path of its weights, if any.
        fingerprint: hash of all that its numbers depend on.
        capabilities: what it can do.
        weights_sha256: hash of the weights file, if any.
        stochastic: whether its logits draw noise.
        defence: what stands before it, if anything.
        base: the name of the model behind a defence.
        images: where the training images of an external track lie prepared, for the one that is made of them.
    """

    name: str
    track: str
    ref: ModelRef
    weights: str | None
    fingerprint: str
    capabilities: frozenset[Capability]
    weights_sha256: str | None = None
    stochastic: bool = False
    defence: Defence | None = None
    base: str = ""
    images: str = ""


def resolve(ref: ModelRef, *, track: str, folder: str = "") -> ModelSpec:
    """The spec of a model.

    Args:
        ref: reference to the model.
        track: name of the track that it is evaluated on.
        folder: place of the images of an external track, for a model that is made of them.

    Raises:
        UserError: for an unknown name, or a model that cannot be built or loaded.
    """
    description = data.track(track, folder=Path(folder) if folder else None)
    ref = hub.fetched(ref)
    if ref.form == "baseline" and ref.place not in (*baselines.names(description.ref), *official.NAMES):
        ref = plugged.plugged(ref)
    _check_settings(ref, description)
    spec = _resolved(ref, description)
    if not ref.name:
        return spec
    if _slug(ref.name) != ref.name:
        raise UserError(
            f"model name {ref.name!r} is part of a path: use up to {LONGEST} letters, digits, '.', '_' and '-'"
        )
    return replace(spec, name=ref.name)


def _check_settings(ref: ModelRef, track: Track) -> None:
    """Refuse settings of pixels that a model has no use for, or of other channels."""
    if ref.scale and (ref.form in ("baseline", "recipe") or ref.place == "robustbench"):
        raise UserError(f"model {str(ref)!r} brings its own normalisation: leave out --mean, --std and --range")
    for option in ("mean", "std"):
        values = getattr(ref.scale, option)
        if values is not None and len(values) not in (1, track.shape[0]):
            raise UserError(
                f"--{option} has {len(values)} numbers, images of track {track.name} have {track.shape[0]} channels: "
                "give one, or one per channel"
            )
    if ref.key and ref.weights is None:
        raise UserError("--weights-key goes with --weights")


def _resolved(ref: ModelRef, description: Track) -> ModelSpec:
    """The spec of a model, by the form of its reference."""
    track = description.ref
    if ref.form == "object":
        return _resolve_object(ref, description)
    if ref.form == "library":
        return _resolve_named(ref, description)
    if ref.form == "code":
        return _resolve_code(ref, description)
    exact = str(ref) in baselines.exact(track)
    if ref.weights is not None and not exact and official.recognised(ref.weights):
        return _resolve_official(ref, description)
    if ref.twin and ref.weights is None and (twin := baselines.twin(ref.place, track=track)) is not None:
        return _resolve_recipe(ModelRef("baseline", ref.place, weights=twin), description)
    if exact and ref.weights is None:
        return _resolve_exact(ref, description)
    spec = _resolve_recipe(ref, description)
    if ref.weights is not None:
        load(spec, said=LOG.info)  # a file that does not fit is refused before anything is planned
    return spec


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
    own = ModelRef("baseline", name)
    if name == INCEPTION:
        from jembench.models import inception

        path = inception.weights(weights)
        sha256 = file_sha256(path)
        fingerprint = identity({"kind": INCEPTION, "version": KINDS[INCEPTION].version, "weights": sha256})
        return ModelSpec(INCEPTION, track, own, str(path.resolve()), fingerprint, frozenset(), sha256)
    if weights is not None:
        raise UserError(f"weights go with extractor {INCEPTION!r}, not with {name!r}")
    if name in KINDS:
        source = data.found(description, "train") if description.file else None  # its classes are those of the images
        images = {} if source is None else {"data": source.sha256}
        exact = identity({"kind": name, "version": KINDS[name].version, "track": description.id, **images})
        return ModelSpec(name, track, own, None, exact, frozenset(), images="" if source is None else source.origin)
    return _resolve_recipe(ModelRef("recipe", str(extractors.recipe_path(name, description))), description)


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


def load(spec: ModelSpec, *, device: str = "cpu", said: Callable[[str], None] = silence) -> Any:
    """The model of a spec, in evaluation mode on ``device``, checked against its track by a probe.

    Args:
        spec: spec of the model.
        device: a torch device.
        said: gets one line about how a user's file of weights was read.

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
    model = _built(spec, track, said)
    with guard.guarded(f"model {spec.name!r} cannot be used"), generators.forked("load"):
        for method, arguments in (("eval", ()), ("requires_grad_", (False,))):
            if hasattr(model, method):
                getattr(model, method)(*arguments)
        probe(model, spec.name, track)
        foreigner = spec.ref.form in ("object", "code")
        if foreigner:
            foreign.protect(model)
        if spec.fingerprint and foreigner and _fingerprint(spec, model) != spec.fingerprint:
            raise UserError(f"model {spec.name!r} is another one each time it is built: its build() must not vary")
        return model.to(device) if hasattr(model, "to") else model


def _built(spec: ModelSpec, track: Track, said: Callable[[str], None]) -> Any:
    """The model of a spec with its weights, as it comes from its maker."""
    if spec.ref.form == "object":
        return spec.ref.module
    weights = None if spec.weights is None else Path(spec.weights)
    if spec.ref.form == "code":
        return foreign.build(str(spec.ref), weights, key=spec.ref.key, scale=spec.ref.scale, said=said)
    if weights is None:
        return _call(KINDS[spec.ref.place].builder, track)
    if spec.ref.form == "library":
        return named.build(spec.ref, weights, track, said=said)
    if spec.ref.place == INCEPTION:
        return _call(KINDS[INCEPTION].builder, weights)
    recipe = read_recipe(baselines.recipe_of(spec.ref, track=spec.track))
    with generators.forked("load"):  # the weights that are drawn here are replaced by those of the file
        model = build(recipe, track)
    if spec.ref.weights is None:
        load_weights(model, weights)
    else:
        load_checkpoint(model, weights, key=spec.ref.key, said=said)
    if NETWORKS[recipe.model.network].channels_last:
        import torch

        model.to(memory_format=torch.channels_last)
    return model


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


def probe(model: Any, name: str, track: Track) -> None:
    """Check the shapes of a model's outputs on two images.

    Raises:
        UserError: if the logits are not ``(B, K)`` or the log density is not ``(B,)``.
    """
    import torch

    images = torch.rand((2, *track.shape), generator=generators.generator("probe"))
    extra = {"generator": generators.generator("probe")} if getattr(model, "stochastic", False) else {}
    outputs: dict[Capability, tuple[str, tuple[int, ...]]] = {
        "classifier": ("logits", (2, track.classes)),
        "density": ("log_density", (2,)),
    }
    for capability, (method, shape) in outputs.items():
        if capability not in capabilities(model):
            continue
        with guard.guarded(f"model {name!r} fails on images of shape {tuple(images.shape)}"), torch.no_grad():
            output = getattr(model, method)(images, **(extra if method == "logits" else {}))
        actual = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        if actual != shape:
            alone = "" if isinstance(output, torch.Tensor) else "return that tensor alone; "
            raise UserError(
                f"model {name!r}: {method} of 2 images of track {track.name} gives {actual}, not {shape}: {alone}"
                f"the track has {track.classes} classes and images of shape {track.shape}"
            )
        if not output.is_floating_point():
            raise UserError(f"model {name!r}: {method} gives {output.dtype}, not floating-point numbers")


def _resolve_exact(ref: ModelRef, track: Track) -> ModelSpec:
    """A model that is not trained: what it is of the track, or of the training images."""
    kind = KINDS[ref.place]
    source = data.found(track, "train") if track.external and ref.place == GAUSSIANS else None
    own = {} if source is None else {"data": source.sha256}
    fingerprint = identity({"kind": ref.place, "version": kind.version, "track": track.id, **own})
    images = "" if source is None else source.origin
    return ModelSpec(ref.place, track.ref, ref, None, fingerprint, kind.capabilities, images=images)


def _resolve_recipe(ref: ModelRef, track: Track) -> ModelSpec:
    """A model of a recipe, with the weights beside it or those of a file."""
    source = baselines.recipe_of(ref, track=track.ref).resolve()
    recipe = read_recipe(source, track=track.name)
    path = ref.weights if ref.weights is not None else source.parent / baselines.WEIGHTS
    weights = digest(path)
    kind = KINDS[recipe.model.kind]
    configuration = recipe.model_dump(mode="json", include={"model", "sampling"}, exclude_defaults=True)
    version = NETWORKS[recipe.model.network].version
    newer = {} if version == 1 else {"network": version}
    fingerprint = identity({**configuration, **newer, "version": kind.version, "weights": weights, **_place(ref)})
    name = _slug(source.parent.name)
    if ref.weights is not None:
        name = f"{name}@{_slug(path.stem)}"
    if ref.form == "recipe":
        ref = replace(ref, place=str(source))
    capable = able(recipe.model.kind, recipe.model.network)
    return ModelSpec(name, track.ref, ref, str(path.resolve()), fingerprint, capable, weights)


def _place(ref: ModelRef) -> dict[str, str]:
    """Where weights are: the place in their file, if one is named, and the commit, if they are of the hub."""
    return {name: words for name, words in (("key", ref.key), ("hub", hub.pinned(ref.weights))) if words}


def _resolve_official(ref: ModelRef, track: Track) -> ModelSpec:
    """The model in an official checkpoint: as it says, or of a recipe, whose network must be the same."""
    weights = ref.weights
    assert weights is not None
    if ref.form == "baseline":
        name = str(ref)
        if name not in official.NAMES:
            baselines.recipe_path(name, track=track.ref)  # an unknown name is what is wrong first
            names = " or ".join(official.NAMES)
            raise UserError(
                f"{weights}: is a pickle (torch.save), which model {name!r} does not take: an official checkpoint "
                f"goes with --model {names}"
            )
        recipe = official.cached(weights, track=track, asked=name)
        spec = _resolve_recipe(ModelRef("recipe", str(recipe)), track)
        return replace(spec, name=f"{name}@{_slug(weights.stem)}"[:LONGEST])
    source = baselines.recipe_of(ref, track=track.ref)
    model = read_recipe(source, track=track.name).model
    recipe = official.cached(weights, track=track, asked=official.SOFTMAX if model.kind == official.SOFTMAX else None)
    checkpoint = read_recipe(recipe).model
    if (model.network, {"norm": "none", **model.options()}) != (checkpoint.network, checkpoint.options()):
        raise UserError(
            f"{weights}: is a network 'wrn' with {_words(checkpoint.options())}; {source} wants {model.network!r} with "
            f"{_words(model.options())}"
        )
    spec = _resolve_recipe(ref.with_weights(recipe.parent / baselines.WEIGHTS), track)
    return replace(spec, name=f"{_slug(source.resolve().parent.name)}@{_slug(weights.stem)}"[:LONGEST])


def _words(options: dict[str, int | str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "no options"


def _resolve_object(ref: ModelRef, track: Track) -> ModelSpec:
    """A model object, copied; it can be evaluated in this process only."""
    name = ref.place
    if _slug(name) != name:
        raise UserError(f"model name {name!r} is part of a path: use up to {LONGEST} letters, digits, '.', '_' and '-'")
    import torch

    model = foreign.behind_contract(ref.module, name)
    what = f"model {name!r} cannot be copied, name it as 'file.py:build'"
    with guard.guarded(what), torch.no_grad():  # with gradients, a scripted module's copied parameters are no leaves
        twin = copy.deepcopy(model)  # evaluation must not change the user's object
    return _identified(ModelSpec(name, track.ref, replace(ref, module=twin), None, "", frozenset()))


def _resolve_named(ref: ModelRef, track: Track) -> ModelSpec:
    """A model of a library, whose weights are a file."""
    ref, path = named.located(ref, track)
    spec = ModelSpec(
        _slug(str(ref).partition("@")[0]), track.ref, ref, str(path.resolve()), "", frozenset(), digest(path)
    )
    return _identified(spec)


def _resolve_code(ref: ModelRef, track: Track) -> ModelSpec:
    """A model that a user's code builds, with the weights of a file if there is one."""
    name = ref.place
    if name.endswith(".py"):
        require_file(Path(name))
        ref, name = replace(ref, place=str(Path(name).resolve())), Path(name).stem
    path, weights = None, None
    if ref.weights is not None:
        path, weights = str(ref.weights.resolve()), digest(ref.weights)
    return _identified(ModelSpec(_slug(f"{name}.{ref.attribute}"), track.ref, ref, path, "", frozenset(), weights))


def _identified(spec: ModelSpec) -> ModelSpec:
    """The spec with what only the model itself can tell: its fingerprint and its capabilities."""
    model = load(spec, said=LOG.info)
    with guard.guarded(f"model {spec.name!r} cannot be used"):
        capable = foreign.abilities(model, data.track(spec.track))
        noisy = bool(getattr(model, "stochastic", False))
        return replace(spec, fingerprint=_fingerprint(spec, model), capabilities=capable, stochastic=noisy)


def _fingerprint(spec: ModelSpec, model: Any) -> str:
    """The fingerprint of a model that is not a baseline: its code as far as we see it, its weights, its outputs."""
    ref = spec.ref
    if ref.form == "object":
        code = [type(model).__module__, type(model).__qualname__]
    elif ref.form == "library":
        code = [str(ref), named.version(ref.place)]
    else:
        code = [ref.attribute, file_sha256(Path(ref.place)) if ref.place.endswith(".py") else ref.place]
    commit = [hub.pinned(ref.weights)] if hub.pinned(ref.weights) else []
    settings = [ref.scale.options()] if ref.scale else []
    return foreign.fingerprint(model, data.track(spec.track), [*code, spec.weights_sha256, *commit, *settings])


def _call(builder: str, *arguments: Any) -> Any:
    return families.load(builder)(*arguments)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:LONGEST] or "model"
