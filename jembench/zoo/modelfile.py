"""Model files: a ``model.toml`` makes a user's code, weights and normalisation one word."""

from __future__ import annotations

from pathlib import Path

from jembench.ground.entry import Entry, read_toml
from jembench.types import UserError
from jembench.zoo.references import HUB, ModelRef, Normalisation, parse


class ModelFile(Entry):
    """A ``model.toml``: a model of one's own by one word. Paths are relative to its folder.

    Attributes:
        factory: ``file.py:build``, ``package.module:build``, ``timm:NAME`` or ``torchvision:NAME``.
        weights: file of weights, in any form that :mod:`jembench.zoo.fitting` reads.
        weights_key: place in the file, where it holds several networks.
        mean: number, or one per channel, that is subtracted from the pixels, in units of ``range``.
        std: number, or one per channel, that the pixels are then divided by.
        range: the ends of the range that [0, 1] is brought to before: 0 and 255, or -1 and 1.
        name: what tables call the model; the name of its folder by default.
    """

    factory: str
    weights: str | None = None
    weights_key: str = ""
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    range: tuple[float, float] | None = None
    name: str = ""


def read(path: Path, weights: Path | None) -> ModelRef:
    """The model of a ``model.toml``, with weights of its own or others.

    Raises:
        UserError: if the file is not valid, or its factory is neither code nor a model of a library.
    """
    file = read_toml(path, ModelFile, "model")
    folder = path.parent
    place, _, attribute = file.factory.rpartition(":")
    factory = f"{folder / place}:{attribute}" if place.endswith(".py") else file.factory
    ref = parse(factory)
    if ref.form not in ("code", "library"):
        raise UserError(f"{path}: factory is file.py:build, package.module:build or timm:NAME, not {file.factory!r}")
    if weights is None and file.weights is not None:
        weights = Path(file.weights) if file.weights.startswith(f"{HUB}:") else folder / file.weights
    mean, std = ((each,) if isinstance(each, float) else each for each in (file.mean, file.std))
    own = Normalisation(mean, std, file.range)
    return ref.with_weights(weights).adjusted(
        key=file.weights_key, scale=own, name=file.name or path.resolve().parent.name
    )
