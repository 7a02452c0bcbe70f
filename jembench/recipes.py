"""Recipes: how a model is built and trained, read from TOML and validated.

A recipe is data: :func:`jembench.zoo.build` makes the model from its ``[model]`` part,
:func:`jembench.training.train` trains it by the rest. Unknown keys and impossible values are refused.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jembench.types import UserError

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelPart(_Part):
    """What the weights are loaded into."""

    kind: Literal["softmax", "jem"]
    network: Literal["small"] = "small"
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
        if self.model.kind == "jem" and self.sampling is None:
            raise ValueError("a jem needs a [sampling] part")
        if self.training.log_px > 0 and self.model.kind != "jem":
            raise ValueError("training.log_px > 0 needs model.kind = 'jem'")
        if self.sampling is not None and self.training.batch > self.sampling.buffer:
            raise ValueError("training.batch must not exceed sampling.buffer")
        return self


def read_recipe(path: Path) -> Recipe:
    """The recipe in the TOML file ``path``.

    Raises:
        UserError: if the file cannot be read, is not TOML, or is not a recipe.
    """
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: not a readable recipe ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise UserError(f"{path}: {where}: {first['msg']}") from error
