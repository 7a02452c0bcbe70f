"""Exports: results in the forms of tools where people keep their runs, each by that tool's own package.

- Here: a module for each target, a function each, which imports its package when it is called; what all of them take.
- Never: a model, torch; a network, but where the user asks for an upload.
- A new one: a function ``(contents, place, options)`` that returns what to tell, and a line in `TARGETS`; an extra in
  ``pyproject.toml``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.ground.families import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jembench.exports.content import Content, Delivery

TARGETS: Family[Callable[[Sequence[Content], str, Delivery], list[str]]] = Family(
    "target",
    {
        "mlflow": (".mlflow:push", "mlflow:DIR, a run of MLflow in DIR/mlflow.db"),
        "wandb": (".wandb:push", "wandb:DIR, an offline run of Weights & Biases below DIR"),
        "hf": (".hub:push", "hf:ORG/NAME, the metadata of a model card on the Hugging Face Hub"),
    },
    __package__,
)
