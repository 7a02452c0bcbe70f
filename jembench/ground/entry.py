"""Entry: the base of every object of a stored document or a recipe, validated when it is read."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, ValidationError


class Entry(BaseModel):
    """An immutable object of a JSON or TOML document, in which unknown keys, NaN and infinities are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def file(self) -> bytes:
        """The content of the object's file: JSON, indented by 1."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False).encode() + b"\n"


def reason(error: Exception) -> str:
    """Why a document is not valid, in a few words: of a validation the first error, after its place."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return ": ".join(filter(None, ("/".join(map(str, first["loc"])), first["msg"])))
