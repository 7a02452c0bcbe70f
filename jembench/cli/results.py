"""Results on the shelf: ``show`` and ``compare``, the words behind ``list results``, and what comes after a run."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jembench import data
from jembench.choices.request import STORE
from jembench.cli.options import member
from jembench.ground.progress import patience
from jembench.pages import EXPORTERS
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.store.results import ResultDocument

PICTURES = (".png", ".svg", ".pdf")
PLAIN = "softmax"  # the classifier to be held against
LONG = 90  # letters of a command
SHOWN = ("seed", "limit", "device", "options", "sampling", "detectors", "scores", "corruptions")

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

    place = shelf.folder(result, output) or shelf.find([result], output)[0]
    path = picture or place / pictures.SHEET
    if path.suffix != ".png":
        raise UserError(f"{path}: a sheet is a .png")
    files.write(path, render(pictures.sheet(place)))
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
    paths = [*pictures] or [
        path
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix in PICTURES and path.stem != "sheet"
    ]
    more = [("Pictures", _pictures(paths))] if paths else []
    more += [("More" if place == 0 else "", words) for place, words in enumerate(_next(documents, folders, output))]
    words = summary.text(summary.summary(documents, width=width), width=width, aside=aside, more=more, table=table)
    encoding = sys.stdout.encoding or "utf-8"  # click writes UTF-8 to a terminal that knows ASCII only
    return words.encode(encoding, "replace").decode(encoding)


def _pictures(paths: Sequence[Path]) -> str:
    """Where pictures lie."""
    if len(paths) == 1:
        return str(paths[0])
    folders = list(dict.fromkeys(path.parent for path in paths))
    words = f"{folders[0]}{os.sep}, {len(paths)} of them"
    others = [folder.name for folder in folders[1:]]
    return f"{words}, also in {', '.join(others[:2])}{' …' * (len(others) > 2)}" if others else words


def _next(documents: Sequence[ResultDocument], folders: Sequence[Path], output: Path) -> list[str]:
    """All tables, and what makes sense next: commands that work as they stand, or what to add to the last one."""
    from jembench.pages.summary import alike
    from jembench.zoo import baselines

    words = [shlex.quote(str(folder) if output != STORE else folder.name) for folder in folders]
    command = f"jembench show {' '.join(words)} --full"
    lines = [command if len(command) <= LONG else "all tables: add --full"]
    models, suites = ({getattr(each, name) for each in documents} for name in ("model", "suite"))
    track, first = documents[0].track.rpartition("-v")[0], documents[0]
    plain = set(first.request) <= {"models", "suites"} and bool(first.request)
    if len(models) > 1:
        command = f"jembench compare {' '.join(words)}"
        if len(suites) == 1 and alike(documents) and len(command) <= LONG:
            lines.append(f"{command}   who is better, and how sure")
    elif suites == {"all"} and plain:
        lines.append("under attack, minutes: -s robustness")
    elif (
        plain
        and len(documents) == 1
        and track in data.TRACKS
        and first.model.name in (ours := baselines.names(track))
        and PLAIN in ours
    ):
        lines += [f"beside a plain classifier: add -m {PLAIN}"] if first.model.name != PLAIN else []
    return lines


def when(document: ResultDocument) -> str:
    """When a result was made, in local time: the hour of today, else the day."""
    try:
        created = datetime.fromisoformat(document.provenance.created).astimezone()
    except ValueError:
        return document.provenance.created[:10]  # of a stranger
    today = created.date() == datetime.now().astimezone().date()
    return created.strftime("%H:%M" if today else "%Y-%m-%d")


def rows(track: str | None, output: Path) -> dict[str, str]:
    """The results on the shelf: name -> suite, headline, protocol, time and options; of one track if it is named."""
    from jembench.pages import summary
    from jembench.pages.tables.figures import brief
    from jembench.store import shelf

    found = [["name", "model", "track", "suite", "headline", "protocol", "when", ""]]
    for entry in shelf.entries(output):
        document = entry.document
        if track not in (None, document.track.rpartition("-v")[0]):
            continue
        first = summary.first(document)
        words = "" if first is None else f"{first[0].title} {brief(first[1])}"
        protocol = f"{document.protocol.name} {document.protocol_hash[:6]}"
        whose = [document.model.name, document.track, document.suite]
        found.append([entry.folder.name, *whose, words, protocol, when(document), _options(document.request)])
    widths = [max(len(row[place]) for row in found) for place in range(len(found[0]))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=True)) for row in found]
    return {row[0]: line.rstrip() for row, line in zip(found, texts, strict=True)} if found[1:] else {}


def _options(request: Mapping[str, Any]) -> str:
    """What a result was asked for beside model, track and suite."""
    parts = [f"--ood {name}={place}" for name, place in dict(request.get("ood", {})).items()]
    for name in SHOWN:
        content = request.get(name)
        if isinstance(content, dict):
            parts += [f"--{key.replace('_', '-')} {_plain(each)}" for key, each in content.items()]
        elif content is not None:
            parts.append(f"--{name} {_plain(content)}")
    return " ".join(parts)


def _plain(content: Any) -> str:
    return ",".join(map(str, content)) if isinstance(content, (list, tuple)) else str(content)
