"""Entry: the base of every object of a stored document or a recipe, validated when it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jembench.ground.files import read_table
from jembench.types import UserError, unknown


class Entry(BaseModel):
    """An immutable object of a JSON or TOML document, in which unknown keys, NaN and infinities are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def file(self) -> bytes:
        """The content of the object's file: JSON, indented by 1."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False).encode() + b"\n"


E = TypeVar("E", bound=Entry)


def read_toml(path: Path, kind: type[E], noun: str) -> E:
    """The object of a TOML file, with or without the byte order mark of some editors.

    Args:
        path: of the file.
        kind: class of the object.
        noun: what such a file is called in an error, such as ``recipe``.

    Raises:
        UserError: if it cannot be read, is not TOML, has an unknown key, or a value that is not valid.
    """
    content = read_table(path, noun)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden" and len(place) == 1:
            raise UserError(f"{path}: {unknown(f'key of a {noun}', place[0], kind.model_fields)}") from error
        raise UserError(f"{path}: {'.'.join(place) or noun}: {first['msg']}") from error


def reason(error: Exception) -> str:
    """Why a document is not valid, in a few words: of a validation the first error, after its place."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return ": ".join(filter(None, ("/".join(map(str, first["loc"])), first["msg"])))
