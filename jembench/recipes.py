"""Recipes: how a model is built and trained, read from TOML and validated.

A recipe is data: :func:`jembench.zoo.build` makes the model from its ``[model]`` part,
:func:`jembench.training.train` trains it by the rest. Unknown keys and impossible values are refused.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jembench.models import KINDS, NETWORKS
from jembench.types import UserError, unknown

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelPart(_Part):
    """What the weights are loaded into."""

    kind: str
    network: str = "small"
    width: Positive
    mean: float = 0.0
    std: PositiveFloat = 1.0


class SamplingPart(_Part):
    """The SGLD chain (see :mod:`jembench.sgld`) and the replay buffer (see :mod:`jembench.replay`)."""

    steps: Positive = 20
    size: PositiveFloat = 0.25
    noise: Annotated[float, Field(ge=0)] = 0.005
    clamp: bool = False
    buffer: Positive = 1000
    restart: Fraction = 0.05


class TrainingPart(_Part):
    """The objective and its optimiser, Adam."""

    iterations: Positive
    batch: Positive = 64
    learning_rate: PositiveFloat = 1e-3
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Fraction = 1.0
    decay_at: tuple[Fraction, ...] = ()
    input_noise: Annotated[float, Field(ge=0)] = 0.015
    shift: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    log_py_x: Annotated[float, Field(ge=0)] = 1.0
    log_px: Annotated[float, Field(ge=0)] = 0.0
    energy_l2: Annotated[float, Field(ge=0)] = 0.0
    seed: int = 0


class Recipe(_Part):
    """One ``recipe.toml``."""

    track: str
    about: str
    model: ModelPart
    training: TrainingPart
    sampling: SamplingPart | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Recipe:
        for what, name, known in (("kind", self.model.kind, KINDS), ("network", self.model.network, NETWORKS)):
            if name not in known:
                raise ValueError(str(unknown(f"model.{what}", name, known)))
        if self.model.kind == "jem" and self.sampling is None:
            raise ValueError("a jem needs a [sampling] part")
        if self.training.log_px > 0 and self.model.kind != "jem":
            raise ValueError("training.log_px > 0 needs model.kind = 'jem'")
        if self.sampling is not None and self.training.batch > self.sampling.buffer:
            raise ValueError("training.batch must not exceed sampling.buffer")
        return self


def read_recipe(path: Path, *, track: str | None = None) -> Recipe:
    """The recipe in the TOML file ``path``, of the given track if there is one.

    Raises:
        UserError: if the file cannot be read, is not TOML, is not a recipe, or is of another track.
    """
    recipe = _parsed(path)
    if track is not None and recipe.track != track:
        raise UserError(f"{path}: is a recipe of track {recipe.track!r}, not {track!r}: use --track {recipe.track}")
    return recipe


def _parsed(path: Path) -> Recipe:
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: not a readable recipe ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise UserError(f"{path}: {where}: {first['msg']}") from error
