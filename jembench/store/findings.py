"""Findings: what the checks of a model found on a track, kept so that a second suite does not ask again."""

from __future__ import annotations

from pydantic import ValidationError

from jembench.ground import files
from jembench.ground.entry import Entry
from jembench.store.records import Store


class Findings(Entry):
    """What was found: check -> one sentence; empty if nothing was."""

    checks: dict[str, str]


def kept(store: Store, key: str) -> dict[str, str] | None:
    """The findings under a key; None if there are none that can be read: they are then made anew."""
    path = store.root / "checks" / f"{key}.json"
    try:
        return Findings.model_validate_json(path.read_bytes()).checks
    except (OSError, ValidationError):
        return None


def keep(store: Store, key: str, checks: dict[str, str]) -> None:
    """Keep findings under a key."""
    files.write(store.root / "checks" / f"{key}.json", Findings(checks=checks).file())
