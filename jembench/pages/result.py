"""Results in Python: their numbers, and how they show themselves in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jembench.evaluators.quantities import QUANTITIES
from jembench.metrics.metric import Metric
from jembench.pages import compare as comparison
from jembench.pages import summary
from jembench.pages.tables import report
from jembench.pages.tables.table import one_track
from jembench.store.results import EXAMPLES, ResultDocument
from jembench.types import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from jembench.pages.tables.table import Table

ABSENT = -1  # where a whole number does not apply; others are NaN
COLUMNS = ("metric", "source", "score", "value", "low", "high", "n", "unit", "evaluator", "method", "reason", "model")


@dataclass(frozen=True, repr=False)
class Result:
    """A result: its numbers, its tables, its examples.

    Attributes:
        document: the content of its ``result.json``.
        folder: where ``result.json`` and ``examples.parquet`` are.
    """

    document: ResultDocument
    folder: Path

    @property
    def metrics(self) -> dict[str, Metric]:
        """All numbers by id ``source/variant/name``, such as ``textures/mass/auroc``: `jembench list metrics`."""
        return {metric.id: metric for metric in self.document.metrics}

    def summary(self) -> str:
        """What came out, in at most 20 lines."""
        return summary.text(summary.summary([self.document]))

    def __repr__(self) -> str:
        return self.summary().rstrip()

    def _repr_html_(self) -> str:
        return summary.html(summary.summary([self.document]))

    def to_markdown(self) -> str:
        """The tables of the result, those of every evaluator, as GitHub markdown."""
        return report.markdown([self.document])

    def frame(self) -> pd.DataFrame:
        """All metrics, a row each: :data:`COLUMNS`; n is the number of all examples behind it."""
        return frame([self.document])

    def plot(self, metric: str | None = None, ax: Axes | None = None) -> Axes:
        """Plot the metrics of one name with their intervals: a row for each source, a colour for each score.

        Args:
            metric: name of the metrics, such as ``auroc``; that of the first headline by default.
            ax: what to plot on; axes of a new figure by default.

        Raises:
            UserError: if the result has no value of that name.
        """
        from jembench.pages.pictures import intervals

        if metric is None:
            found = summary.first(self.document)
            if found is None:
                raise UserError("the result has no headline with a value: name a metric")
            metric = found[1].name
        names = dict.fromkeys(each.name for each in self.document.metrics if each.value is not None)
        if metric not in names:
            raise unknown("metric with a value", metric, names)
        return intervals.plot(self.document, metric, ax)

    def records(self, evaluator: str = "") -> pd.DataFrame:
        """One row per example: source, index and scalars that metrics use.

        Args:
            evaluator: the evaluator whose examples and scalars are wanted; those of all by default.

        Raises:
            UserError: if the result has no such evaluator, or nothing of it is published per example.
        """
        import pandas as pd

        table = pd.read_parquet(self.folder / EXAMPLES)
        if not evaluator:
            return table
        names = [entry["name"] for entry in self.document.protocol.evaluators]
        if evaluator not in names:
            raise unknown("evaluator of this result", evaluator, names)
        columns = [name for name in self._columns(evaluator) if name in table]
        present = (table[columns].notna() & (table[columns] != ABSENT)).any(axis=1)
        sources = set(table.loc[present, "source"]) & self._sources(evaluator) or set(table.loc[present, "source"])
        return table.loc[table["source"].isin(sources), ["source", "index", *columns]].reset_index(drop=True)

    def _sources(self, evaluator: str) -> set[str]:
        mine = [metric for metric in self.document.metrics if metric.evaluator == evaluator]
        return {metric.source for metric in mine} | {source for metric in mine for source in metric.n}

    def _columns(self, evaluator: str) -> Sequence[str]:
        from jembench.evaluators import EVALUATORS

        columns = EVALUATORS[evaluator].columns
        if not isinstance(columns, tuple):
            raise UserError(f"which scalars evaluator {evaluator!r} publishes is not known here: take records()")
        return columns


AnyResult = TypeVar("AnyResult", bound=Result)


class Results(list[AnyResult]):
    """Results of one track, in the order of suites and models."""

    def _documents(self) -> list[ResultDocument]:
        documents = [each.document for each in self]
        one_track(documents)
        return documents

    def summary(self) -> str:
        """What came out, in at most 20 lines: a row for each model."""
        return summary.text(summary.summary(self._documents())) if self else ""

    def __repr__(self) -> str:
        return self.summary().rstrip()

    def _repr_html_(self) -> str:
        return summary.html(summary.summary(self._documents())) if self else ""

    def frame(self) -> pd.DataFrame:
        """All metrics of all results, a row each: :data:`COLUMNS`."""
        return frame([each.document for each in self])


@dataclass(frozen=True, repr=False)
class Comparison:
    """Paired differences of results to the first.

    Attributes:
        tables: the tables.
    """

    tables: list[Table]

    def __repr__(self) -> str:
        lines = report.terminal(self.tables).rstrip().splitlines()
        rest = [f"… {len(lines) - summary.LINES + 1} more lines: frame()"] if len(lines) > summary.LINES else []
        return "\n".join([*lines[: summary.LINES - len(rest)], *rest])

    def _repr_html_(self) -> str:
        return "".join(map(report.html, self.tables))

    def frame(self) -> pd.DataFrame:
        """The rows of the first table: words, values, differences with their ends."""
        import pandas as pd

        table, rows = self.tables[0], []
        for cells in table.rows:
            row: dict[str, Any] = {}
            for name, cell in zip(table.header, cells, strict=True):
                row[name] = cell.value if isinstance(cell, Metric) else cell
                if name == "difference" and isinstance(cell, Metric):
                    row |= {"low": cell.low, "high": cell.high}
            rows.append(row)
        return pd.DataFrame(rows)


def compare(folders: Sequence[Path], *, full: bool = False) -> Comparison:
    """Paired differences between results on the same images.

    Args:
        folders: result folders; the first is the reference.
        full: whether every OOD set and score is compared, not the headlines alone.

    Raises:
        UserError: for fewer than two, or results that cannot be compared.
    """
    return Comparison(comparison.compare(folders) if full else comparison.headlines(folders))


def frame(documents: Sequence[ResultDocument]) -> pd.DataFrame:
    """All metrics of results, a row each: :data:`COLUMNS`."""
    import pandas as pd

    rows = [
        (
            metric.name,
            metric.source,
            metric.variant,
            metric.value,
            metric.low,
            metric.high,
            sum(metric.n.values()),
            unit(metric),
            metric.evaluator,
            metric.method,
            metric.reason,
            document.model.name,
        )
        for document in documents
        for metric in document.metrics
    ]
    numbers = dict.fromkeys(("value", "low", "high"), float)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(numbers)


def unit(metric: Metric) -> str:
    """The unit of a metric; empty for a pure number."""
    return next((each.unit for each in QUANTITIES.get(metric.evaluator, ()) if each.matches(metric.id)), "")
