"""Rates: how long an example of a measurement took on this machine, kept for the estimates of later runs.

A small file for each model, ``rates/<fingerprint>.json`` in the store. No number of a result depends on it: one that is
missing or damaged is as if nothing had been measured before.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, ValidationError

from jembench.ground import files
from jembench.ground.entry import Entry
from jembench.store.records import Store
from jembench.types import UserError

SIMILAR = 2.0  # factor between sizes of chunks that the same rate holds for


class Rate(Entry):
    """How long an example took, and how many there were in a chunk: each of fewer takes longer."""

    seconds: float = Field(ge=0)
    rows: PositiveFloat

    def holds(self, rows: float) -> bool:
        """Whether it says something of chunks of that many rows."""
        return self.rows / SIMILAR <= rows <= self.rows * SIMILAR


class Rates(Entry):
    """The content of a file: rates by the hash of measurement and device, and of evaluators by their hash."""

    schema_version: Literal[1] = 1
    measurements: dict[str, Rate] = Field(default_factory=dict)
    evaluators: dict[str, Rate] = Field(default_factory=dict)


def known(store: Store, fingerprint: str) -> Rates:
    """What is known of a model; empty if nothing is, or the file is damaged."""
    try:
        return Rates.model_validate_json((store.root / "rates" / f"{fingerprint}.json").read_bytes())
    except (OSError, ValidationError):
        return Rates()


def keep(store: Store, fingerprint: str, fresh: Rates) -> None:
    """Put fresh rates in the place of older ones of the same; a file that cannot be written is none."""
    before = known(store, fingerprint)
    both = Rates(
        measurements={**before.measurements, **fresh.measurements},
        evaluators={**before.evaluators, **fresh.evaluators},
    )
    try:
        files.write(store.root / "rates" / f"{fingerprint}.json", both.file())
    except UserError:
        return
