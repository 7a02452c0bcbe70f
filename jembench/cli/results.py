"""Results on the shelf: ``show`` and ``compare``, the words behind ``list results``, and what comes after a run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jembench.choices.request import STORE
from jembench.cli.options import member
from jembench.ground.progress import patience
from jembench.pages import EXPORTERS

if TYPE_CHECKING:
    from jembench.store.results import ResultDocument

SHOWN = ("seed", "limit", "device", "options", "sampling", "detectors", "scores", "ood", "corruptions")
PICTURES = (".png", ".svg", ".pdf")

ShelfOption = Annotated[Path, typer.Option("--output", "-o", help="Folder of results.")]
FullOption = Annotated[bool, typer.Option("--full", help="All tables, not the summary.")]


def show(
    results: Annotated[list[str], typer.Argument(help="Names of results or their models, or folders; of one track.")],
    full: FullOption = False,
    format: Annotated[
        str,
        typer.Option(
            "--format", "-f", help="Of the results.", metavar=f"<{'|'.join(EXPORTERS)}>", callback=member(EXPORTERS)
        ),
    ] = "table",
    output: ShelfOption = STORE,
) -> None:
    """Show results that were measured before: the summary, or all tables."""
    from jembench.pages.tables.table import one_track
    from jembench.store import shelf
    from jembench.store.results import read_result

    folders = shelf.find(results, output)
    documents = [read_result(folder) for folder in folders]
    one_track(documents)
    if full or format != "table":
        typer.echo(EXPORTERS[format](documents))
    else:
        typer.echo(page(documents, folders, output, aside=when(documents[-1])), nl=False)


def compare(
    results: Annotated[
        list[str], typer.Argument(help="Names of results or their models, or folders; the first is the reference.")
    ],
    full: FullOption = False,
    format: Annotated[Literal["table", "markdown"], typer.Option("--format", "-f", help="Of the tables.")] = "table",
    output: ShelfOption = STORE,
) -> None:
    """Paired differences between results on the same images: which model is better, and how sure that is."""
    from jembench.pages import compare as comparison
    from jembench.pages.tables import report
    from jembench.store import shelf

    folders = shelf.find(results, output)
    with patience("comparing results"):
        tables = comparison.compare(folders) if full else comparison.headlines(folders)
    if format == "markdown":
        typer.echo(report.markdown_of(tables))
    else:
        typer.echo(report.terminal(tables), nl=False)


def gallery(
    result: Annotated[str, typer.Argument(help="Name of a result or its model, or any folder of pictures.")],
    picture: Annotated[
        Path | None, typer.Argument(help="The PNG to write; sheet.png in the folder by default.", show_default=False)
    ] = None,
    output: ShelfOption = STORE,
) -> None:
    """Put all pictures of a result on one sheet, to be looked at together."""
    from jembench import gallery as pictures
    from jembench.ground import files
    from jembench.pages.pictures.style import render
    from jembench.store import shelf

    places = [place for place in (Path(result), output / result) if place.is_dir()] or shelf.find([result], output)
    path = picture or places[0] / pictures.SHEET
    files.write(path, render(pictures.sheet(places[0])))
    typer.echo(str(path))


def page(
    documents: Sequence[ResultDocument],
    folders: Sequence[Path],
    output: Path,
    *,
    aside: str = "",
    pictures: Sequence[Path] = (),
    table: bool = False,
) -> str:
    """The summary of results for a terminal, with what lies beside them and what comes next.

    Args:
        documents: the results.
        folders: where they are.
        output: the shelf.
        aside: how long they took, or when they were made.
        pictures: the pictures of a run; those beside the results by default.
        table: whether the table stands alone.
    """
    from jembench.pages import summary

    width = min(summary.COLUMNS, shutil.get_terminal_size().columns) if sys.stdout.isatty() else summary.COLUMNS
    paths = [*pictures] or [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix in PICTURES]
    more = [("Pictures" if place == 0 else "", words) for place, words in enumerate(_pictures(paths))]
    more.append(("More", _next(documents, folders, output)))
    words = summary.text(summary.summary(documents, width=width), width=width, aside=aside, more=more, table=table)
    encoding = sys.stdout.encoding or "utf-8"  # click writes UTF-8 to a terminal that knows ASCII only
    return words.encode(encoding, "replace").decode(encoding)


def _pictures(paths: Sequence[Path]) -> list[str]:
    """Where pictures lie, a line for each of at most two folders."""
    folders: dict[Path, list[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path.name)
    lines = []
    for folder, names in list(folders.items())[:2]:
        stems = sorted({Path(name).stem for name in names})
        kinds = sorted({Path(name).suffix for name in names})
        ends = kinds[0] if len(kinds) == 1 else f".{{{','.join(kind.strip('.') for kind in kinds)}}}"
        lines.append(f"{folder}/{stems[0]}{ends}" if len(stems) == 1 else f"{folder}/*{ends}: {', '.join(stems)}")
    if len(folders) > 2:
        lines[-1] += f" and {len(folders) - 2} more folders"
    return lines


def _next(documents: Sequence[ResultDocument], folders: Sequence[Path], output: Path) -> str:
    """All tables, and the one command that makes sense next."""
    words = [str(folder) if output != STORE else folder.name for folder in folders]
    few = " ".join(words[:4])
    full = f"jembench show {few} --full"
    models = list(dict.fromkeys(document.model.name for document in documents))
    suites = {document.suite for document in documents}
    track = documents[0].track.rpartition("-v")[0]
    if len(models) > 1:
        return f"{full}      who is better, and how sure: jembench compare {few}"
    if suites == {"all"}:
        return f"{full}      under attack, minutes: jembench run -m {models[0]} {_of(track)}-s robustness"
    if models[0] != "softmax" and len(suites) == 1 and not documents[0].limit:
        return f"{full}      beside a plain classifier: add -m softmax"
    return full


def _of(track: str) -> str:
    return "" if track == "digits" else f"-t {track} "


def when(document: ResultDocument) -> str:
    """When a result was made, in local time: the hour of today, else the day."""
    created = datetime.fromisoformat(document.provenance.created).astimezone()
    today = created.date() == datetime.now().astimezone().date()
    return created.strftime("%H:%M" if today else "%Y-%m-%d")


def rows(track: str | None, output: Path) -> dict[str, str]:
    """The results on the shelf: name -> suite, headline, protocol, time and options; of one track if it is named."""
    from jembench.pages import summary
    from jembench.pages.tables.figures import brief
    from jembench.store import shelf

    found = [["name", "suite", "headline", "protocol", "when", ""]]
    for entry in shelf.entries(output):
        document = entry.document
        if track not in (None, document.track.rpartition("-v")[0]):
            continue
        first = summary.first(document)
        words = "" if first is None else f"{first[0].title} {brief(first[1])}"
        protocol = f"{document.protocol.name} {document.protocol_hash[:6]}"
        found.append([entry.folder.name, document.suite, words, protocol, when(document), _options(document.request)])
    widths = [max(len(row[place]) for row in found) for place in range(len(found[0]))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=True)) for row in found]
    return {row[0]: line.rstrip() for row, line in zip(found, texts, strict=True)} if found[1:] else {}


def _options(request: Mapping[str, Any]) -> str:
    """What a result was asked for beside model, track and suite."""
    parts = []
    for name in SHOWN:
        content = request.get(name)
        if isinstance(content, dict):
            parts += [f"--{key.replace('_', '-')} {_plain(each)}" for key, each in content.items()]
        elif content is not None:
            parts.append(f"--{name} {_plain(content)}")
    return " ".join(parts)


def _plain(content: Any) -> str:
    return ",".join(map(str, content)) if isinstance(content, (list, tuple)) else str(content)
