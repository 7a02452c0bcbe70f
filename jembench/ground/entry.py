"""Entry: the base of every object of a stored document or a recipe, validated when it is read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Entry(BaseModel):
    """An immutable object of a JSON or TOML document, in which unknown keys, NaN and infinities are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
