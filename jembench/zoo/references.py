"""References: what a user calls a model by, read once, at the edge; everything behind it takes the :class:`ModelRef`.

==================  ==============================================================================================
``jem``             a baseline of the track; ``jem@twin`` with the weights of its other training seed
``my/recipe.toml``  a recipe with weights beside it; ``my/`` is the folder that holds it
``timm:NAME``       a model of a library (:mod:`jembench.zoo.named`): robustbench, timm or torchvision
``hf:ORG/NAME``     a timm model of the Hugging Face Hub, ``hf:ORG/NAME@REVISION`` (:mod:`jembench.zoo.hub`)
``file.py:build``   a user's own code, as ``package.module:build`` is (:mod:`jembench.zoo.foreign`)
``mynet/``          a folder with a ``model.toml``: code, weights and normalisation by one word
==================  ==============================================================================================

Each may name its weights, ``REFERENCE@FILE``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from jembench.ground import families

RECIPE = "recipe.toml"
MODEL = "model.toml"
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")  # of weights that are named, wherever they are
TWIN = "twin"
HUB = "hf"
LIBRARIES = ("robustbench", "timm", "torchvision", HUB)

Form = Literal["baseline", "recipe", "library", "code", "object"]


@dataclass(frozen=True)
class Normalisation:
    """What is done to the pixels of a network that takes others than [0, 1]; None for nothing.

    Attributes:
        mean: number, or one per channel, that is subtracted, in units of ``range``.
        std: number, or one per channel, that is divided by then.
        range: the ends of the range that [0, 1] is brought to before: 0 and 255, or -1 and 1.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    range: tuple[float, float] | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) is not None for each in fields(self))

    def options(self) -> dict[str, Any]:
        """What there is, as keywords of :class:`jembench.models.softmax.Softmax`."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}


@dataclass(frozen=True)
class ModelRef:
    """A reference to a model.

    Attributes:
        form: which of the forms above, or an object of this process.
        place: name of a baseline, path of a recipe or of a Python file, name of a module or of a library.
        attribute: name of the function in the code, or of the model in the library; empty elsewhere.
        weights: file of weights to load in place of the model's own; None for its own.
        key: place in the file of weights, where it holds several networks (:mod:`jembench.zoo.fitting`).
        twin: whether a baseline is meant with the weights of its other training seed.
        scale: what is done to the pixels before a network that is code alone sees them.
        name: what tables call the model; empty for the name that the reference gives.
        module: the object itself, for a model that exists in this process only.
    """

    form: Form
    place: str
    attribute: str = ""
    weights: Path | None = None
    key: str = ""
    twin: bool = False
    scale: Normalisation = Normalisation()
    name: str = ""
    module: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        named = self.form in ("library", "code")
        tail = f":{self.attribute}" if named else f"@{TWIN}" if self.twin else ""
        return f"{self.place}{tail}"

    def with_weights(self, weights: Path | None) -> ModelRef:
        """The same model with the weights of a file."""
        return replace(self, weights=weights)

    def adjusted(self, *, key: str = "", scale: Normalisation = Normalisation(), name: str = "") -> ModelRef:
        """The same model with other settings, where these are not empty."""
        merged = Normalisation(**(self.scale.options() | scale.options()))
        return replace(self, key=key or self.key, scale=merged, name=name or self.name)


def parse(text: str, *, weights: Path | None = None) -> ModelRef:
    """What a text refers to.

    Args:
        text: one of the forms in the table above.
        weights: file of weights to load in place of the model's own.

    >>> parse("timm:resnet18").attribute, parse("net.py:build").form, parse("jem@twin").twin
    ('resnet18', 'code', True)
    """
    if weights is None and (parts := _weighted(text)) is not None:
        text, weights = parts
    if (file := _file(text)) is not None:
        ref: ModelRef = families.load("jembench.zoo.modelfile:read")(file, weights)  # pydantic, which takes a while
        return ref
    library, colon, name = text.partition(":")
    if colon and library in LIBRARIES:
        return ModelRef("library", library, name, weights)
    if text.endswith(".toml"):
        return ModelRef("recipe", text, "", weights)
    if colon:
        place, _, attribute = text.rpartition(":")
        return ModelRef("code", place, attribute, weights)
    if "/" in text and (Path(text) / RECIPE).is_file():
        return ModelRef("recipe", str(Path(text) / RECIPE), "", weights)
    name, at, suffix = text.rpartition("@")
    if at and suffix == TWIN:
        return ModelRef("baseline", name, "", weights, twin=True)
    return ModelRef("baseline", text, "", weights)


def _file(text: str) -> Path | None:
    """The ``model.toml`` that a text names, or the folder that it names has."""
    path = Path(text)
    if path.name == MODEL:
        return path
    return path / MODEL if "/" in text and (path / MODEL).is_file() else None


def _weighted(text: str) -> tuple[str, Path] | None:
    """A reference and the file of weights that are meant by ``REFERENCE@FILE``; None if none is."""
    places = [place for place, letter in enumerate(text) if letter == "@" and 0 < place < len(text) - 1]
    if text.startswith(f"{HUB}:"):
        return None
    for place in places:
        tail = text[place + 1 :]
        if tail == TWIN:
            continue
        if tail.startswith(f"{HUB}:") or Path(tail).exists():
            return text[:place], Path(tail)
    if places and not Path(text).exists() and Path(text).suffix in SUFFIXES:  # a file that is not there
        return text[: places[0]], Path(text[places[0] + 1 :])
    return None
