"""Reports: one page for a single result, with its pictures and all of its tables, that needs no other file."""

from __future__ import annotations

from markupsafe import Markup

from jembench.pages import summary
from jembench.pages.boards.board import Cell, Evidence
from jembench.pages.site import profile, render, sheets, sketches
from jembench.pages.site.site import MARK, SCRIPT, STYLE
from jembench.pages.tables import report as tables
from jembench.pages.tables.robustness import unreliable
from jembench.store.results import ResultDocument


def report(part: Evidence) -> str:
    """The page of a result.

    Args:
        part: the result; pictures and a training record that lie beside it are shown too.

    Raises:
        UserError: if the training record is not valid.
    """
    document, folder = part.document, part.folder
    found = list(profile.of_examples(part))
    under = sketches.attacked([("worst case", document)])
    inline = {"style": Markup(render.asset(STYLE)), "script": Markup(render.asset(SCRIPT))}
    return render.page(
        "report.html",
        title=f"{document.model.name} on {document.track} · jembench",
        links=(),
        root="",
        mark=Markup(MARK),
        inline=inline,
        document=document,
        images_of=summary.summary([document]).title.rpartition(" · ")[2],
        looks=profile.observations([document]),
        entries=_entries(document),
        notes=_notes(document),
        sketches=[*found, *([under] if under is not None else []), *profile.training([folder])],
        images=profile.images([folder]),
        tables=[
            {"title": table.title, "header": table.header, "rows": tables.texts(table), "notes": table.notes}
            for table in tables.tables([document])
        ],
        facts=_facts(document),
    )


def _entries(document: ResultDocument) -> list[profile.Fact]:
    """The headlines; those that failed a check with a dagger."""
    faults = unreliable(document)
    entries = []
    for headline, metric in summary.headlines(document):
        fault = any(metric.variant.startswith(f"{norm}-") for norm in faults) and metric.name == "robust_accuracy"
        cell = sheets.cell(Cell(metric, fault="a check failed" if fault else ""), None)
        title = f"{headline.title}{sheets.arrow(metric.better)}"
        entries.append(profile.Fact(title, headline.about, cell, profile.size(metric.n)))
    return entries


def _notes(document: ResultDocument) -> list[str]:
    """Why headlines are marked or missing."""
    notes = [f"† not reliable in {norm}: {why or 'a check failed'}" for norm, why in unreliable(document).items()]
    reasons = [metric.reason for _, metric in summary.headlines(document) if metric.value is None and metric.reason]
    return [*notes, *(f"— {reason}" for reason in dict.fromkeys(reasons))]


def _facts(document: ResultDocument) -> list[tuple[str, str]]:
    """What was measured, and what that took."""
    limit = [] if document.limit is None else [("limit", f"{document.limit:,} images a set")]
    return [
        ("weights", (document.model.weights_sha256 or "none")[:12]),
        ("fingerprint", document.model.fingerprint[:12]),
        ("result", document.key[:12]),
        ("seed", str(document.seed)),
        *limit,
        ("made", document.provenance.created[:19]),
        *profile.cost([document]),
    ]
