"""References: what a user calls a model by, read once, at the edge; everything behind it takes the :class:`ModelRef`.

==================  ==============================================================================================
``jem``             a baseline of the track; ``jem@twin`` with the weights of its other training seed
``my/recipe.toml``  a recipe with weights beside it; ``my/`` is the folder that holds it
``timm:NAME``       a model of a library (:mod:`jembench.zoo.named`): robustbench, timm or torchvision
``hf:ORG/NAME``     a timm model of the Hugging Face Hub, ``hf:ORG/NAME@REVISION`` (:mod:`jembench.zoo.hub`)
``file.py:build``   a user's own code, as ``package.module:build`` is (:mod:`jembench.zoo.foreign`)
==================  ==============================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

RECIPE = "recipe.toml"
TWIN = "twin"
HUB = "hf"
LIBRARIES = ("robustbench", "timm", "torchvision", HUB)

Form = Literal["baseline", "recipe", "library", "code", "object"]


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
        module: the object itself, for a model that exists in this process only.
    """

    form: Form
    place: str
    attribute: str = ""
    weights: Path | None = None
    key: str = ""
    twin: bool = False
    module: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        named = self.form in ("library", "code")
        tail = f":{self.attribute}" if named else f"@{TWIN}" if self.twin else ""
        return f"{self.place}{tail}"

    def with_weights(self, weights: Path | None) -> ModelRef:
        """The same model with the weights of a file."""
        return replace(self, weights=weights)


def parse(text: str, *, weights: Path | None = None) -> ModelRef:
    """What a text refers to.

    Args:
        text: one of the forms in the table above.
        weights: file of weights to load in place of the model's own.

    >>> parse("timm:resnet18").attribute, parse("net.py:build").form, parse("jem@twin").twin
    ('resnet18', 'code', True)
    """
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
