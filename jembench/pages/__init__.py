"""Pages: what people read, from result documents alone.

- Here: summary, card, journal, comparison, gate, seeds, results in Python; boards (leaderboards), pairs (two results
  metric by metric), tables, pictures.
- Never: a model, an image set, a plan; torch.
- A new one: an evaluator names its tables and pictures; a page of several results is a module here; a format is a
  function from documents to text and a line in `EXPORTERS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.ground.families import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jembench.store.results import ResultDocument

EXPORTERS: Family[Callable[[Sequence[ResultDocument]], str]] = Family(
    "format",
    {
        "table": (".tables.report:as_table", "tables as wide as the terminal"),
        "markdown": (".tables.report:as_markdown", "tables of GitHub markdown"),
        "json": (".tables.report:as_json", "the result documents, with all of their metrics"),
    },
    __package__,
)
