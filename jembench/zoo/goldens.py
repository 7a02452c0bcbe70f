"""Golden results by name: what a gate is to compare with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jembench.store import archives, shelf
from jembench.store.results import RESULT
from jembench.types import UserError
from jembench.zoo import baselines
from jembench.zoo.references import ModelRef, parse

ADVICE = "name a golden result by --baseline: its folder or ZIP file, a result's name, or a shipped baseline's"


def find(name: str, *, track: str, suite: str, output: Path) -> Path:
    """Where a golden result lies: a folder, or a ZIP file (:mod:`jembench.store.archives`).

    In this order: a ZIP file; a result folder; a folder with one for each suite, ``ood.zip`` or ``ood/``; the name of a
    result on the shelf; a shipped baseline; a model with a result on the shelf.

    Args:
        name: path or name.
        track: name of the track, of shipped baselines.
        suite: of which it should be, where there are several.
        output: the shelf.

    Raises:
        UserError: if there is none.
    """
    path = Path(name)
    if path.suffix == archives.SUFFIX:
        if not path.is_file():
            raise UserError(f"{path}: no such file; make it by `jembench golden --model M --output {path}`")
        return path
    place = shelf.folder(name, output)
    for candidate in [] if place is None else [place, place / f"{suite}{archives.SUFFIX}", place / suite]:
        if candidate.is_file() or (candidate / RESULT).is_file():
            return candidate
    if place is None or name in baselines.recipes(track):
        if name in baselines.recipes(track):
            return of_baseline(parse(name), track=track, suite=suite)
        if any(entry.document.model.name == name for entry in shelf.entries(output)):
            return shelf.find([name], output)[0]
        raise UserError(f"{name}: no golden result: {ADVICE}")
    raise UserError(f"{place}: neither a result nor a folder with {suite}{archives.SUFFIX} or {suite}/: {ADVICE}")


def of_baseline(ref: ModelRef, *, track: str, suite: str, defence: str = "") -> Path:
    """The golden result of a baseline or a recipe; of suite ``robustness`` the one behind a defence.

    Raises:
        UserError: if there is none.
    """
    place = baselines.attacked(defence) if suite == baselines.ROBUSTNESS else baselines.GOLDEN
    return baselines.golden(replace(ref, twin=False), track=track, place=place)
