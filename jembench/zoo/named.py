"""Models of other libraries by name: ``robustbench:NAME``, ``timm:NAME``, ``torchvision:NAME``, weights from a file.

The architecture is the library's, the weights are a file's: nothing is unpickled, whatever the library itself would do.

- ``robustbench:Carmon2019Unlabeled`` is looked for among the models of the track's data set, over the threat models;
  ``robustbench:L2/Rice2020Overfitting`` says which one. Its weights are ``--weights FILE``, or ``NAME.pt`` in our or
  robustbench's own folder of models, or are downloaded into ours. They are unwrapped as robustbench does (``last``,
  ``state_dict``, prefixes ``module.`` and ``model.``) and loaded strictly, but for what its loader forgives too:
  constants of the normalisation and counters of batch norm that old files lack, and tensors that the network has no
  place for. Normalisation is part of these models.
- ``timm:NAME`` and ``torchvision:NAME`` have K outputs for the K classes of the track and take ``--weights FILE``,
  safetensors or a state dict of ``torch.save``. Pixels are normalised by the mean and deviation of the library's own
  weights of that name, where they are of as many channels; otherwise not at all.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from jembench.data import cache
from jembench.ground import compat, guard
from jembench.ground.progress import silence
from jembench.types import UserError, require, unknown
from jembench.zoo import foreign, hub
from jembench.zoo.checkpoints import load_safetensors, load_tensors, pieces
from jembench.zoo.fitting import load_checkpoint
from jembench.zoo.formats import fault, is_pickle
from jembench.zoo.references import HUB, ModelRef
from jembench.zoo.weights import fill, renamed, state_dict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from jembench.data.sets import Track

# Last parts of names that a network may bring itself: constants of normalisation, and what counts batches for training.
_OWN = frozenset({"mu", "sigma", "mean", "std", "num_batches_tracked"})


def version(name: str) -> str:
    """The installed version of a library; empty if nobody knows."""
    try:
        return installed("timm" if name == HUB else name)
    except PackageNotFoundError:
        return ""


def located(ref: ModelRef, track: Track) -> tuple[ModelRef, Path]:
    """The one form of a reference to a library, and the file of its weights.

    Args:
        ref: reference of form ``library``, with the user's file of weights if there is one.
        track: the track that it is evaluated on.

    Raises:
        UserError: for an unknown or ambiguous name, or if its weights are not here and cannot be had.
    """
    if ref.place == "robustbench":
        threat, name, entry = _entry(ref.attribute, track)
        return replace(ref, attribute=f"{threat}/{name}"), _robustbench_weights(threat, name, entry, track, ref.weights)
    if ref.place == HUB:
        return _of_hub(ref)
    if ref.weights is None:
        raise UserError(
            f"model {str(ref)!r} needs its weights: --weights FILE, safetensors or a state dict of torch.save"
        )
    pieces(ref.weights)
    return ref, ref.weights


def build(ref: ModelRef, weights: Path, track: Track, *, said: Callable[[str], None] = silence) -> Any:
    """The model of a reference, as :func:`located` gives it, behind the contract.

    Args:
        ref: reference of form ``library``.
        weights: file of its weights.
        track: the track that it is evaluated on.
        said: gets one line about how the file was read.

    Raises:
        UserError: if it cannot be built, or the weights are not its own.
    """
    from jembench.models import library, softmax

    if ref.place == "robustbench":
        return foreign.behind_contract(_robustbench_network(ref.attribute, track, weights), str(ref))
    if ref.place == HUB:
        return _hub_model(ref, weights, track, said)
    name, timm = ref.attribute, ref.place == "timm"
    make = library.from_timm if timm else library.from_torchvision
    network = make(name.partition(".")[0] if timm else name, shape=track.shape, classes=track.classes)
    mean, std = _scales(_of_timm(name) if timm else _of_torchvision(name), track)
    scale = {"mean": mean, "std": std} | ref.scale.options()
    load_checkpoint(network, weights, key=ref.key, said=said)
    try:
        return softmax.Softmax(network, tapped=True, **scale)
    except ValueError as error:
        raise UserError(f"model {str(ref)!r}: {error}") from error


def _of_hub(ref: ModelRef) -> tuple[ModelRef, Path]:
    """A model of the hub under its commit, and the folder of its weights."""
    if ref.weights is not None:
        raise UserError(f"model {str(ref)!r} brings its weights: leave out --weights, or name timm:ARCHITECTURE")
    place = hub.folder(ref.attribute)
    hub.timm_configuration(place)
    return replace(ref, attribute=hub.pinned(place) or ref.attribute), place


def _hub_model(ref: ModelRef, place: Path, track: Track, said: Callable[[str], None]) -> Any:
    """A timm model as its configuration in the hub says."""
    from jembench.models import library, softmax

    configuration = hub.timm_configuration(place)
    network = library.from_timm(configuration["architecture"], shape=track.shape, classes=track.classes)
    mean, std = _scales(SimpleNamespace(**_dictionary(configuration.get("pretrained_cfg"))), track)
    load_checkpoint(network, place, key=ref.key, said=said)
    return softmax.Softmax(network, mean=mean, std=std, tapped=True)


def _dictionary(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of either kind."""
    return state_dict(load_tensors(path), path) if is_pickle(path) else load_safetensors(path)


def _entry(words: str, track: Track) -> tuple[str, str, Mapping[str, Any]]:
    """Threat model, name and description of a robustbench model."""
    compat.robustbench()
    zoo: Any = import_module("robustbench.model_zoo").model_dicts
    sets = {each.value: models for each, models in zoo.items()}
    if track.name not in sets:
        names = ", ".join(sorted(sets))
        raise UserError(f"robustbench has no models of track {track.name}, only of {names}")
    threats: dict[str, Mapping[str, Any]] = {threat.value: models for threat, models in sets[track.name].items()}
    threat, _, name = words.rpartition("/")
    if threat and threat not in threats:
        raise unknown("threat model of robustbench", threat, threats)
    places = [threat] if threat else list(threats)
    matches = [each for each in places if name in threats[each]]
    if not matches:
        what = f"robustbench model of {track.name}{f' ({threat})' if threat else ''}"
        require(name, sorted({model for each in places for model in threats[each]}), what)
    if len(matches) > 1:
        forms = " or ".join(f"robustbench:{each}/{name}" for each in matches)
        raise UserError(f"robustbench model {name!r} is there for {len(matches)} threat models: say {forms}")
    return matches[0], name, threats[matches[0]][name]


def _robustbench_weights(threat: str, name: str, entry: Mapping[str, Any], track: Track, weights: Path | None) -> Path:
    """The file of a robustbench model's weights."""
    place = entry["gdrive_id"]
    if not isinstance(place, str):
        what = "of several networks with a file each" if isinstance(place, list) else "loaded by timm, not from a file"
        raise UserError(f"robustbench model {name!r} is {what}: build it in a file of your own, file.py:build")
    if weights is not None:
        pieces(weights)
        return weights
    tail = Path(track.name) / threat / f"{name}.pt"
    ours = cache.zoo() / "robustbench" / tail
    for file in (ours, Path("models") / tail):  # robustbench's own folder is relative
        if file.is_file() and (file != ours or fault(file) is None):  # a page that was kept for weights is none
            return file
    _download(place, ours)
    return ours


def _download(place: str, file: Path) -> None:
    """Fetch a file of robustbench's, whole or not at all."""
    fetch: Any = import_module("robustbench.utils").download_gdrive_new
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    advice = f"the weights are not here and cannot be downloaded: bring them as {file}, or name a file by --weights"
    with cache.locked(f"robustbench-{'-'.join(file.parts[-3:])}"):
        if file.is_file() and fault(file) is None:  # another process was faster
            return
        try:
            with guard.guarded(advice):
                file.parent.mkdir(parents=True, exist_ok=True)
                with guard.impatient():
                    fetch(place, temporary)
                if not temporary.is_file():
                    raise UserError(f"{advice}: the host sent nothing")
                if words := fault(temporary):
                    raise UserError(f"{advice}: the host sent {words}")
                temporary.replace(file)
        finally:
            for part in file.parent.glob(f"{temporary.name}*"):  # its downloader has temporary files of its own
                with suppress(OSError):
                    part.unlink()


def _robustbench_network(words: str, track: Track, path: Path) -> nn.Module:
    """A network of robustbench with the weights of a file."""
    _, _, entry = _entry(words, track)
    with guard.guarded(f"robustbench model {words!r} cannot be built"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: nn.Module = entry["model"]()
    own = network.state_dict()
    state = renamed(_state(path), lambda name: name.removeprefix("module.").removeprefix("model."), path)
    brought = {name: own[name] for name in own.keys() - state.keys() if name.rpartition(".")[2] in _OWN}
    fill(network, {**brought, **{name: tensor for name, tensor in state.items() if name in own}}, path)
    return network


Scale = tuple[float, ...] | float


def _of_timm(name: str) -> Any:
    """Mean and deviation of the weights that the name and tag of a timm network mean."""
    with guard.guarded(f"unknown timm model {name!r}"):
        return import_module("timm").get_pretrained_cfg(name)


def _of_torchvision(name: str) -> Any:
    """Mean and deviation of the default weights of a torchvision network."""
    return import_module("torchvision.models").get_model_weights(name).DEFAULT.transforms()


def _scales(weights: Any, track: Track) -> tuple[Scale, Scale]:
    """Mean and deviation of published weights, where they are of the track's channels; else none."""
    mean, std = getattr(weights, "mean", None), getattr(weights, "std", None)
    if mean is None or std is None or not len(mean) == len(std) == track.shape[0]:
        return 0.0, 1.0
    return tuple(map(float, mean)), tuple(map(float, std))
