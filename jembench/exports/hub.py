"""The Hugging Face Hub: results as the ``model-index`` of a model card, written here and uploaded only when asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jembench.exports.content import Content, Delivery, package
from jembench.ground import files
from jembench.ground.guard import guarded
from jembench.pages import summary
from jembench.types import UserError

CARD = "README.md"
TASK = "image-classification"
NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a repository


def push(contents: Sequence[Content], place: str, options: Delivery) -> list[str]:
    """Write the headlines of results into the metadata of a model card, whose words stay as they are.

    Args:
        contents: the results.
        place: the repository, ``ORG/NAME``.
        options: the folder of the card, and whether it is uploaded too.

    Returns:
        Where the card is, and where it was uploaded to.

    Raises:
        UserError: if huggingface_hub is not installed, the name is none of a repository, the card cannot be read, or
            the hub does not take it.
    """
    if not NAME.fullmatch(place):
        raise UserError(f"hf:{place}: a repository is called ORG/NAME")
    hub = package("huggingface_hub", "hf")
    path = (options.output or Path()) / CARD
    results = [each for content in contents for each in _results(hub, content)]
    with guarded(f"{path}: not a model card that can be read"):
        text = path.read_text(encoding="utf-8") if path.exists() else _page(contents)
        card = _merged(hub.ModelCard(text, ignore_metadata_errors=False), results, place)
    files.write(path, str(card).encode())
    lines = [f"{path}: {len(results)} numbers in its model-index"]
    if options.upload:
        with guarded(f"hf:{place} does not take the card, which lies in {path}"):
            with suppress(hub.errors.EntryNotFoundError):  # a repository without a card gets this one
                card = _merged(hub.ModelCard.load(place), results, place)
            lines.append(str(card.push_to_hub(place)))
    return lines


def _results(hub: Any, content: Content) -> list[Any]:
    """The headlines of a result that have a value."""
    document = content.document
    return [
        hub.EvalResult(
            task_type=TASK,
            dataset_type=document.track.rpartition("-v")[0],
            dataset_name=f"{document.track} (jembench)",
            dataset_config=f"protocol {document.protocol.name} {document.protocol_hash[:12]}",
            dataset_split="test",
            metric_type=metric.name,
            metric_name=metric.id,
            metric_value=metric.value,
            metric_args={
                "low": metric.low,
                "high": metric.high,
                "method": metric.method,
                "n": sum(metric.n.values()),
                "suite": document.suite,
                "result": document.key,
            },
        )
        for _, metric in summary.headlines(document)
        if metric.value is not None
    ]


def _merged(card: Any, results: Sequence[Any], place: str) -> Any:
    """A card with results in place of those of the same metric and protocol."""

    def what(result: Any) -> tuple[str, ...]:
        return (result.dataset_type, result.dataset_name, str(result.dataset_config), str(result.metric_name))

    ours = {what(each) for each in results}
    kept = [each for each in card.data.eval_results or () if what(each) not in ours]
    card.data.eval_results = [*kept, *{what(each): each for each in results}.values()]
    card.data.model_name = getattr(card.data, "model_name", None) or place.rpartition("/")[2]
    return card


def _page(contents: Sequence[Content]) -> str:
    """A new card: the tables of the results."""
    blocks = [f"## {each.name}\n\n{each.tables}" for each in contents]
    return "\n".join(["---", "tags:", "- jembench", "---", "", "# Measured by jembench", "", *blocks])
