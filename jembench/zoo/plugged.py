"""Models of other packages: entry points of ``jembench.models``, functions that build a model of any track."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jembench.ground.families import Family
from jembench.zoo.references import ModelRef

MODELS: Family[Callable[[], Any]] = Family("model", {}, group="jembench.models", fits=callable)


def plugged(ref: ModelRef) -> ModelRef:
    """A reference to the code of a plug-in that a name means; any other as it is.

    Raises:
        UserError: if two packages have one of that name, or it cannot be loaded.
    """
    plugin = MODELS.plugin(ref.place) if ref.form == "baseline" else None
    if plugin is None:
        return ref
    MODELS[plugin.name]  # a broken one is told by its package
    place, _, attribute = plugin.target.partition(":")
    return ModelRef("code", place, attribute, ref.weights, key=ref.key, scale=ref.scale, name=ref.name or plugin.name)
