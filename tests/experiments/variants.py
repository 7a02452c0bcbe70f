"""Variants of a shipped recipe, trained one after the other into a folder; what is finished there is not run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from jembench.models.recipes import Recipe, read_recipe
from jembench.store.history import History, read_history
from jembench.training import loop
from jembench.zoo import baselines

Changes = dict[str, dict[str, Any]]


def variant(name: str, changes: Changes) -> Recipe:
    """The recipe of a digits baseline with other values: part -> key -> value."""
    found = read_recipe(baselines.recipe_path(name, track="digits")).model_dump()
    for part, values in changes.items():
        found[part] |= values
    return Recipe.model_validate(found)


def trained(recipe: Recipe, folder: Path) -> History:
    """The record of a run in ``folder``, which is made or taken up if it is not finished."""
    torch.set_num_threads(1)
    if not (folder / baselines.WEIGHTS).exists():
        loop.train(recipe, folder, resume=(folder / "snapshots").exists())
    return read_history(folder)


def at_choice(history: History) -> dict[str, float | None]:
    """The validation numbers of the checkpoint that was kept."""
    return next(epoch.values for epoch in history.epochs if epoch.iteration == history.chosen.iteration)
