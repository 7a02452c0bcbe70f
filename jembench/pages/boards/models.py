"""The models of a group: which results are of one model, and its numbers as a leaderboard shows them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from jembench.evaluators.quantities import Headline
from jembench.metrics.metric import Metric
from jembench.pages.boards.board import Cell, Evidence
from jembench.pages.boards.ranking import Entrant
from jembench.pages.pairs.side import Side
from jembench.pages.seeds import collect, images
from jembench.pages.summary import headlines
from jembench.pages.tables.robustness import unreliable


@dataclass(frozen=True)
class Number:
    """A headline of a model: what it is, and the contender that it makes of the model."""

    headline: Headline
    entrant: Entrant


@dataclass(frozen=True)
class Model:
    """A model of a group.

    Attributes:
        name: its name, unique in the group.
        guest: whether a user added it.
        parts: its results, that of the most evaluators first.
        trainings: number of training seeds behind its numbers.
        numbers: its headlines by the ids of their metrics.
    """

    name: str
    guest: bool
    parts: tuple[Evidence, ...]
    trainings: int
    numbers: dict[str, Number]

    @property
    def passes(self) -> int:
        """Forward and backward passes of single examples that measuring it took."""
        costs = [part.document.cost for part in self.parts]
        return sum(cost.forwards + cost.gradients for cost in costs)


def models(members: Sequence[Evidence], guests: Collection[int]) -> list[Model]:
    """The models behind the results of a group, by name.

    Results of one name are one model. Of a user's with several weights under one protocol each is a training of it;
    of several with the same weights the latest counts.

    Args:
        members: the results.
        guests: ``id`` of those that a user added.

    Raises:
        UserError: if trainings of one name have no common protocol or metrics.
    """
    found: dict[tuple[str, bool], list[Evidence]] = {}
    for part in members:
        found.setdefault((part.document.model.name, id(part) in guests), []).append(part)
    made = []
    for (name, guest), parts in found.items():
        label = f"{name} (added)" if guest and (name, False) in found else name
        chosen = tuple(_chosen(parts) if guest else parts)
        trainings = max(len(part.seeds.runs) if part.seeds is not None else 1 for part in chosen)
        numbers = {key: number for part in reversed(chosen) for key, number in _numbers(part, label).items()}
        made.append(Model(label, guest, chosen, trainings, numbers))
    return sorted(made, key=lambda model: model.name)


def _chosen(parts: Sequence[Evidence]) -> list[Evidence]:
    """A result for each protocol: the latest, or the first of several trainings with the numbers of all."""
    protocols: dict[str, dict[str | None, Evidence]] = {}
    for part in sorted(parts, key=lambda part: part.document.provenance.created):
        document = part.document
        protocols.setdefault(document.protocol_hash, {})[document.model.weights_sha256] = part
    chosen = []
    for runs in protocols.values():
        latest = list(runs.values())[-1]
        if len(runs) > 1 and None not in runs:
            seeds = collect([(place, part.document) for place, part in enumerate(runs.values())])
            latest = replace(latest, seeds=seeds)
        chosen.append(latest)
    return sorted(chosen, key=lambda part: -len(part.document.protocol.evaluators))


def _numbers(part: Evidence, label: str) -> dict[str, Number]:
    """The headlines of a result by id; of several trainings with means and their spread."""
    side = Side(label, part.document, part.folder)
    faults = unreliable(part.document)
    numbers = {}
    for headline, own in headlines(part.document):
        metric, spread = (own, None) if part.seeds is None else images(own, part.seeds)
        trainings = 1 if part.seeds is None or spread is None else len(part.seeds.runs)
        cell = Cell(metric, spread=spread, fault=_fault(metric, faults))
        numbers[own.id] = Number(headline, Entrant(side, own, cell, trainings))
    return numbers


def _fault(metric: Metric, faults: dict[str, str]) -> str:
    """Why a figure under attack is called unreliable; empty if it is not."""
    if metric.name != "robust_accuracy":
        return ""
    return next((why or "a check failed" for norm, why in faults.items() if metric.variant.startswith(f"{norm}-")), "")
