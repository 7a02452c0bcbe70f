r"""The spread of training seeds: how far apart two trainings of one recipe may lie.

A metric of S trainings has the standard deviation s, the difference of two further ones :math:`\sqrt 2\,s`. It lies
within :math:`t_{S-1, .975}\,s\,\sqrt 2` with 95 % probability where trainings are about normal. That much is added to
a metric's tolerance when a retrained model is judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from jembench.pages.seeds import SEEDS, Seeds, collect, deviation, read_seeds, student
from jembench.store.results import ResultDocument
from jembench.types import UserError

ADVICE = (
    f"give trainings of its recipe with other seeds by --seeds RESULT (repeat), or a {SEEDS} by --seeds FILE; "
    "`jembench golden … --seeds RESULT` keeps them with it"
)


def spreads(seeds: Seeds) -> dict[str, float]:
    """What is added to tolerances: id -> distance in the metric's unit, of metrics that every training has a value of.

    Args:
        seeds: the trainings.
    """
    found = {}
    for name in seeds.runs[0].metrics:
        values = [value for run in seeds.runs if (value := run.metrics[name][0]) is not None]
        if len(values) == len(seeds.runs):
            found[name] = student(len(values) - 1) * deviation(values) * math.sqrt(2)
    return found


def together(golden: ResultDocument, others: Sequence[ResultDocument]) -> Seeds:
    """A golden result and results of other trainings of its recipe, numbered from 0.

    Args:
        golden: the golden result.
        others: results of other trainings; the golden one among them counts once.

    Raises:
        UserError: if there is no other one, or they are not of one suite, protocol and size, each with weights of its
            own.
    """
    runs = [golden]
    for document in others:
        if document.model.weights_sha256 != golden.model.weights_sha256 or document.model.weights_sha256 is None:
            runs.append(document)
    return collect(list(enumerate(runs)))


def of_golden(
    golden: ResultDocument, places: Sequence[Path], named: Sequence[Path], others: list[ResultDocument]
) -> Seeds:
    """The trainings that a golden result is one of.

    Args:
        golden: the golden result.
        places: folders that a ``seeds.json`` may be in, the first that has one counts.
        named: a ``seeds.json`` or its folder that the user names; empty for none.
        others: results of other trainings that the user names.

    Raises:
        UserError: if none are known, or they are not trainings of the golden result.
    """
    if others:
        return together(golden, others)
    folders = [path.parent if path.name == SEEDS else path for path in named]
    if absent := next((place / SEEDS for place in folders if not (place / SEEDS).is_file()), None):
        raise UserError(f"{absent}: no such file")
    for place in folders or places:
        if (seeds := read_seeds(place)) is not None:
            seeds.shipped(golden)
            return seeds
    raise UserError(f"--retrained needs the spread of training seeds, and the golden result has none: {ADVICE}")
