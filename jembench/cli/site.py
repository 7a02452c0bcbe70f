"""``jembench site`` and ``jembench report``: pages to look at."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jembench import data
from jembench.choices.request import STORE
from jembench.ground import files
from jembench.ground.progress import patience
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.pages.boards.board import Evidence
    from jembench.pages.site.site import Exhibit

INDEX = "index.html"


def site(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the site.")],
    track: Annotated[
        list[str] | None, typer.Option("--track", "-t", help="Of these tracks; of all that have a leaderboard.")
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", help="All results in or below a folder, beside the shipped ones.", metavar="DIR"),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add", help="A result of yours, by its name or folder, beside the shipped ones.", metavar="RESULT"
        ),
    ] = None,
) -> None:
    """Write the leaderboards as a site that any static host serves, or a browser opens from its folder."""
    from jembench.pages.site.site import site as written

    _check_place(output)
    tracks = [data.track(name) for name in dict.fromkeys(track or data.TRACKS)]
    with patience("reading results, testing pairs of models, drawing"), _uncollected():
        exhibits = _exhibits(tracks, _guests(tracks, results or (), add or ()), named=bool(track))
        if not exhibits:
            raise UserError("no track has results or published rows, so there is no site")
        pages = list(written(exhibits))
        for name, content in pages:
            files.write(output / name, content)
    models = sum(name.count("/") for name, _ in pages)
    counts = f"{_count(len(exhibits), 'track')}, {_count(models, 'model')}"
    typer.echo(f"{output / INDEX}: {counts}, {sum(len(page) for _, page in pages) / 1e6:.1f} MB")


def report(
    result: Annotated[str, typer.Argument(help="Name of a result or its model, or a folder.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page; report.html in the folder by default.")
    ] = None,
    store: Annotated[Path, typer.Option("--results", help="Folder of results.")] = STORE,
) -> None:
    """Write one page about a single result: headlines, pictures, all tables; it needs no other file."""
    from jembench.pages.boards.board import Evidence
    from jembench.pages.site.report import report as written
    from jembench.store import shelf
    from jembench.store.results import read_result

    folder = shelf.find([result], store)[0]
    path = folder / "report.html" if output is None else output
    if path.suffix not in (".html", ".htm"):
        raise UserError(f"{path}: a report is an .html")
    files.write(path, written(Evidence(read_result(folder), folder)).encode())
    typer.echo(str(path))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have Python look for no cycles: of a thousand results there are none, and looking takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_place(output: Path) -> None:
    """Refuse a folder that holds something else than a site.

    Raises:
        UserError: if it does.
    """
    from jembench.pages.site.site import MARK

    try:
        taken = output.exists() and (not output.is_dir() or any(output.iterdir()))
        ours = taken and MARK in (output / INDEX).read_text(encoding="utf-8", errors="replace")
    except OSError:
        ours = False
    if taken and not ours:
        raise UserError(f"{output} holds something else than a site of jembench: name a new folder")


def _exhibits(tracks: Sequence[Track], guests: Mapping[str, Sequence[Evidence]], *, named: bool) -> list[Exhibit]:
    """What the site shows: every track that was named, or that has something to show."""
    from jembench.pages.boards.gather import board
    from jembench.pages.site.site import Exhibit
    from jembench.pages.tables import publications
    from jembench.zoo import baselines

    exhibits = []
    for track in tracks:
        places = (baselines.GOLDEN, baselines.attacked("*"))
        shipped = [] if track.file else [path for place in places for path in baselines.all_golden(track.name, place)]
        whole = board(track, data.about(track.ref), shipped, guests[track.id])
        literature = publications.tables(track.name)
        if whole.groups or literature:
            about = {} if track.file else baselines.names(track.name)
            exhibits.append(Exhibit(whole, literature, about))
        elif named:
            raise UserError(f"track {track.name} has no results and no published rows, so no page")
    return exhibits


def _guests(tracks: Sequence[Track], places: Sequence[Path], words: Sequence[str]) -> dict[str, list[Evidence]]:
    """The results of a user by the ids of the tracks, each read once.

    Raises:
        UserError: if one is damaged or of other images, or if one that is named is of no track of the site.
    """
    from jembench.pages.boards.board import Evidence
    from jembench.pages.boards.current import check_current
    from jembench.store import shelf
    from jembench.store.results import RESULT, read_result

    by_id = {track.id: track for track in tracks}
    guests: dict[str, list[Evidence]] = {track.id: [] for track in tracks}
    below = [path.parent for place in places for path in sorted(place.rglob(RESULT))]
    named = [shelf.find([word], STORE)[0] for word in words]
    for folder in dict.fromkeys([*named, *below]):
        document = read_result(folder)
        track = by_id.get(document.track)
        if track is not None:
            check_current(document, track)
            guests[track.id].append(Evidence(document, folder))
        elif folder in named:
            raise UserError(f"{folder} is of {document.track}, a track that the site does not show: name it by --track")
    return guests


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
