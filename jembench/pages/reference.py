"""The reference pages of docs/, written from declarations alone: every metric, and the schema of results."""

from __future__ import annotations

import json

from jembench.evaluators import EVALUATORS
from jembench.evaluators.limits import LIMITS
from jembench.evaluators.quantities import QUANTITIES
from jembench.store.results import ResultDocument

ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}

INTRODUCTION = """# Every number

Written by `jembench maintain reference` from the declarations; `jembench list metrics` prints the same. An id is
`source/variant/name`; what varies stands in angle brackets. ↑ higher is better, ↓ lower is better, * read first.
In `result.json` ([result.schema.json](result.schema.json)) a metric has `value`, the ends `low` and `high` of its 95 %
interval and how that was made (`method`), `n` by source, and a `reason` where there is no value.
"""


def metrics() -> str:
    """The markdown of all quantities, a table for each evaluator, with what its numbers do not say."""
    blocks = [INTRODUCTION]
    for name, quantities in QUANTITIES.items():
        headlines = getattr(EVALUATORS[name], "headlines", ())
        rows = [
            f"| `{each.id}`{' *' if any(map(each.holds, headlines)) else ''} | {ARROWS[each.better]} | {each.unit} "
            f"| {each.about.replace('|', chr(92) + '|')} |"
            for each in quantities
        ]
        head = f"## {name}\n\n{EVALUATORS.about(name)[:1].upper()}{EVALUATORS.about(name)[1:]}.\n"
        limits = f"**Limits.** {LIMITS[name]}\n"
        blocks.append("\n".join([head, limits, "| id | | unit | what it is |", "| --- | --- | --- | --- |", *rows, ""]))
    return "\n".join(blocks)


def schema() -> str:
    """The JSON schema of ``result.json``."""
    return json.dumps(ResultDocument.model_json_schema(), indent=1) + "\n"


PAGES = {"metrics.md": metrics, "result.schema.json": schema}
