"""Foreign models: a user's own ``build()``, from a file or a module, and how such a model is identified."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jembench.ground import generators, guard, usercode
from jembench.ground.identity import array_sha256, identity
from jembench.ground.numerics import reproducible
from jembench.ground.progress import silence
from jembench.measurements.features import Features
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.measurements.samples import Samples
from jembench.types import Batch, Capability, UserError, capabilities
from jembench.zoo.fitting import load_checkpoint
from jembench.zoo.references import Normalisation

if TYPE_CHECKING:
    from jembench.data.sets import Track


PLAIN = Normalisation()


def build(
    reference: str,
    weights: Path | None,
    *,
    key: str = "",
    scale: Normalisation = PLAIN,
    said: Callable[[str], None] = silence,
) -> Any:
    """A user's model from ``file.py:build`` or ``package.module:build``; a bare module is wrapped.

    Args:
        reference: reference to the function that builds it.
        weights: file of weights to load into it, if any.
        key: place in the file, where it holds several networks.
        scale: what is done to the pixels before a bare module sees them.
        said: gets one line about how the file was read.

    Raises:
        UserError: if it cannot be imported or built, or is no model.
    """
    what = f"model {reference!r} cannot be built"
    with guard.guarded(what), usercode.importable(reference), reproducible(), generators.forked("build"):
        model = usercode.load(reference)()
    if weights is not None:
        if not _is_module(model):
            raise UserError(f"model {reference!r} is not a torch.nn.Module: --weights cannot be loaded into it")
        load_checkpoint(model, weights, key=key, said=said)
    return behind_contract(model, reference, scale)


def _is_module(thing: Any) -> bool:
    from torch import nn

    return isinstance(thing, nn.Module)


def behind_contract(model: Any, name: str, scale: Normalisation = PLAIN) -> Any:
    """A model of the contract as it is; any other ``torch.nn.Module`` is read as a softmax classifier.

    Raises:
        UserError: for anything else, or a scale that cannot be or that a model of the contract has no use for.
    """
    from jembench.models.softmax import Softmax

    methods = capabilities(model)
    if _is_module(model) and not methods & {"classifier", "density"}:
        try:
            return Softmax(model, tapped=True, **scale.options())
        except ValueError as error:
            raise UserError(f"model {name!r}: {error}") from error
    if methods and scale:
        raise UserError(f"model {name!r} takes pixels in [0, 1] by its own logits: leave out --mean, --std and --range")
    if methods:
        return model
    raise UserError(f"model {name!r} is a {type(model).__name__}, neither a torch.nn.Module nor a model with logits(x)")


def protect(model: Any) -> None:
    """Have a user's model get copies of the images: what it does to them in place stays with it."""
    from jembench.models.softmax import Softmax

    if isinstance(model, Softmax):  # whose normalisation makes copies
        return
    for name in ("logits", "log_density", "log_conditional", "penultimate"):
        method = getattr(model, name, None)
        if callable(method) and not hasattr(method, "unprotected"):
            with suppress(AttributeError, TypeError):  # a class with slots
                setattr(model, name, _copying(method))


def _copying(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(x: Any, *rest: Any, **options: Any) -> Any:
        return method(x.clone(), *rest, **options)

    call.unprotected = method  # type: ignore[attr-defined]  # __wrapped__ may be a decorator's of the user
    return call


def abilities(model: Any, track: Track) -> frozenset[Capability]:
    """The capabilities of a model that hold on four images.

    Not a density that has no gradient there (under ``no_grad``, say), nor features whose readout is not the logits,
    nor a sampler that cannot be called as the contract says.
    """
    capable = capabilities(model)
    if "density" in capable:
        try:
            with generators.forked("abilities"):
                InputGradient().columns(model, _batch(track), generators.generator("abilities"))
        except UserError:
            capable -= {"density"}
    if "features" in capable and not _read_out(model, _batch(track)):
        capable -= {"features"}
    if "sampler" in capable:
        try:
            with generators.forked("abilities"):
                Samples().columns(model, _batch(track), generators.generator("abilities"))
        except Exception:  # of a user's code
            capable -= {"sampler", "chain"}
    return capable


def _read_out(model: Any, batch: Batch) -> bool:
    """Whether the logits of a deterministic classifier are its readout of its features."""
    import torch

    if "classifier" not in capabilities(model) or getattr(model, "stochastic", False):
        return False
    with reproducible(), generators.forked("abilities"), torch.no_grad():
        try:
            features = Features().columns(model, batch, generators.generator("abilities"))["features"]
            read = model.readout(torch.from_numpy(features).to(model.readout.weight.dtype)).float().cpu().numpy()
        except (UserError, ValueError, RuntimeError):  # nothing enters that layer, or not features of its size
            return False
        logits = Logits().columns(model, batch, generators.generator("abilities"))["logits"]
    return read.shape == logits.shape and np.allclose(read, logits, rtol=1e-4, atol=1e-4)


def fingerprint(model: Any, track: Track, parts: list[Any]) -> str:
    """Hash of ``parts``, of all tensors of the model, and of all that it says of 4 fixed images, its samples among it.

    The outputs are in it because the code of a foreign model is not ours to hash: what it imports may change.
    """
    import torch

    arrays = []
    if isinstance(model, torch.nn.Module):
        tensors = {**dict(model.named_buffers()), **dict(model.named_parameters())}
        for name in sorted(tensors):
            arrays.append(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    possible = abilities(model, track)
    for measurement in (Logits(), InputGradient(), Features(), Samples(), Samples(start="buffer")):
        if measurement.requires <= possible:
            with reproducible(), generators.forked("fingerprint", measurement.name):
                generator = generators.generator("fingerprint", measurement.name)
                columns = measurement.columns(model, _batch(track), generator)
            arrays += [columns[name] for name in sorted(columns)]
    return identity([*parts, array_sha256(*arrays)])


def _batch(track: Track) -> Batch:
    """The 4 fixed images."""
    import torch

    images = torch.rand((4, *track.shape), generator=generators.generator("fingerprint"))
    return Batch(images, torch.zeros(4, dtype=torch.int64), torch.arange(4), track.levels)
