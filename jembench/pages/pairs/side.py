"""One side of a comparison: a result with the scalars of its examples, read when a test needs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench.metrics.metric import Metric
from jembench.store import records
from jembench.store.results import EXAMPLES, ResultDocument
from jembench.types import UserError

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Side:
    """One result: its label in tables, its document, where its examples are.

    Attributes:
        label: what tables call it.
        document: the content of its ``result.json``.
        folder: where ``examples.parquet`` is.
    """

    label: str
    document: ResultDocument
    folder: Path

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of the result by id."""
        return {metric.id: metric for metric in self.document.metrics}

    @cached_property
    def sources(self) -> dict[str, Columns]:
        """The scalars of the examples by source, in order of index.

        Raises:
            UserError: if the file is damaged, or lacks examples.
        """
        return examples(self.folder)

    def column(self, source: str, name: str, n: int | None = None) -> NDArray[Any] | None:
        """A scalar of the first ``n`` examples of a source, by default of all; None where some of them has none."""
        values = self.sources.get(source, {}).get(name)
        if values is None:
            return None
        values = values[:n]
        absent = np.isnan(values) if values.dtype.kind == "f" else values < 0
        return None if absent.any() else values


def same_noise(one: Side, other: Side) -> bool:
    """Whether two results saw the same images: another seed draws other noise, where a protocol adds some."""
    sources = one.document.protocol.sources.values()
    return one.document.seed == other.document.seed or not any(facts.noise for facts in sources)


def examples(folder: Path) -> dict[str, Columns]:
    """The scalars of a result by source, in order of index.

    Raises:
        UserError: if the file is damaged, or lacks examples.
    """
    path = folder / EXAMPLES
    try:
        table = records.decode(path.read_bytes())
        sources, index = table.pop("source").astype(str), table.pop("index")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not readable ({error}); make the result anew") from error
    found = {}
    for source in dict.fromkeys(sources.tolist()):
        rows = np.flatnonzero(sources == source)
        rows = rows[np.argsort(index[rows], kind="stable")]
        if not np.array_equal(index[rows], np.arange(len(rows))):
            raise UserError(f"{path}: the examples of {source!r} are not 0 to {len(rows) - 1}: make the result anew")
        found[source] = {name: column[rows] for name, column in table.items()}
    return found
