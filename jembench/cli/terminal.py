"""Tables in a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jembench.pages.tables.table import Table


def draw(tables: Sequence[Table]) -> None:
    """Print tables with their notes; a narrow terminal wraps lines, it does not lose digits."""
    from rich.console import Console

    from jembench.pages.tables import report

    ruler = Console(width=1000)
    for table in tables:
        grid = report.rich(table)
        width = ruler.measure(grid).maximum
        console = Console(width=max(width, Console().width if sys.stdout.isatty() else 100))
        console.print(grid)
        for note in table.notes:
            console.print(note, style="dim", soft_wrap=True, markup=False, highlight=False)
        console.print()
