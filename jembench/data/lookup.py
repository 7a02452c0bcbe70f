"""Lookup: tracks of one's own by name, files in ``tracks/`` of the working directory or of the user's configuration."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACES = ("tracks",)  # folders of track files in the working directory


def located(name: str, builtin: Mapping[str, Any]) -> Path | None:
    """The file of a track that is named by its path, or by the name of a file where tracks are looked for.

    Args:
        name: what a user calls the track.
        builtin: the tracks that come with jembench, which are found first.
    """
    if name.endswith(".toml"):
        return Path(name)
    if name in builtin or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        return None
    return next((path for path in (folder / f"{name}.toml" for folder in _folders()) if path.is_file()), None)


def shelf() -> dict[str, Path]:
    """The tracks that are found by name: name -> file."""
    return {path.stem: path for folder in reversed(_folders()) for path in sorted(folder.glob("*.toml"))}


def _folders() -> list[Path]:
    base = os.environ.get("XDG_CONFIG_HOME")
    config = (Path(base).expanduser() if base else Path.home() / ".config") / "jembench" / "tracks"
    return [*(Path(place) for place in PLACES), config]
