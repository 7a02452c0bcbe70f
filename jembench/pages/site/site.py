"""The files of a site: an index, a page for each track, a page for each model, a style sheet and a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from jembench.pages.boards.board import OVERVIEW, Board, Standing
from jembench.pages.boards.gather import kind
from jembench.pages.boards.markdown import PUBLISHED, RULES
from jembench.pages.site import render, sheets
from jembench.pages.site.profile import Place, profile
from jembench.pages.site.slugs import Slugs
from jembench.pages.site.tradeoff import tradeoff
from jembench.pages.tables import report
from jembench.pages.tables.table import Table

MOST = 200  # models of a site whose pages have pictures
INDEX, STYLE, SCRIPT = "index.html", "site.css", "site.js"
REFINED = "-refine-"  # in the name of a model behind a defence
MODELS = "model"  # folder of the pages of models
MARK = '<meta name="generator" content="jembench site">'  # of every page, by which a site is known


Key = tuple[str, bool, str]  # name of a model, whether a user added it, its weights


@dataclass(frozen=True)
class Exhibit:
    """What a site shows of a track.

    Attributes:
        board: its leaderboard; without groups where nothing was measured.
        published: tables of numbers that others have printed.
        about: a line about each model that is shipped, by name.
    """

    board: Board
    published: Sequence[Table] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the track, without its version."""
        return self.board.track.rpartition("-v")[0] or self.board.track


@dataclass(frozen=True)
class TrackPage:
    """Where the pages of a track are.

    Attributes:
        exhibit: what is shown.
        file: the page of the track.
        models: the file of each model's page below :data:`MODELS`, by what tells models apart.
        places: the rows of each model.
    """

    exhibit: Exhibit
    file: str
    models: Mapping[Key, str]
    places: Mapping[Key, Sequence[Place]]

    def link(self, row: Standing) -> str:
        """The address of a model's page, seen from that of the track."""
        return f"{MODELS}/{self.models[_key(row)]}"


def site(exhibits: Sequence[Exhibit]) -> Iterator[tuple[str, bytes]]:
    """The files of a site, by their paths in its folder.

    Args:
        exhibits: what it shows, a track each.

    Raises:
        UserError: if the training record beside a result is not valid.
    """
    tracks, models = Slugs(), Slugs()
    leaves = []
    for exhibit in exhibits:
        slug = tracks.new(exhibit.name)
        slug = tracks.new(f"track-{slug}") if f"{slug}.html" == INDEX else slug
        places = _places(exhibit.board)
        files = {key: f"{models.new(f'{slug}-{key[0]}')}.html" for key in places}
        leaves.append(TrackPage(exhibit, f"{slug}.html", files, places))
    pictures = sum(len(leaf.models) for leaf in leaves) <= MOST
    yield STYLE, render.asset(STYLE).encode()
    yield SCRIPT, render.asset(SCRIPT).encode()
    for leaf in leaves:
        for key, file in leaf.models.items():
            yield f"{MODELS}/{file}", _model(leaf, key, leaves, pictures=pictures).encode()
        yield leaf.file, _track(leaf, leaves).encode()
    yield INDEX, _page("index.html", leaves, "jembench", tracks=[_summary(leaf) for leaf in leaves]).encode()


def _key(row: Standing) -> Key:
    """What tells models apart: a name, whose result it is, and the weights; behind a defence it is the same model."""
    document = row.parts[0].document
    name = row.name.removesuffix(f"-refine-{kind(document)[1]}") if REFINED in row.name else row.name
    return name, row.guest, document.model.weights_sha256 or ""


def _places(board: Board) -> dict[Key, list[Place]]:
    """The rows of every model, without the overviews."""
    places: dict[Key, list[Place]] = {}
    for group in board.groups:
        for section in group.sections:
            for row in section.rows if section.key != OVERVIEW else ():
                places.setdefault(_key(row), []).append(Place(group, section, row))
    return places


def _page(template: str, leaves: Sequence[TrackPage], title: str, *, root: str = "", **content: object) -> str:
    links = [(leaf.exhibit.name, f"{root}{leaf.file}") for leaf in leaves]
    return render.page(template, title=title, links=links, root=root, mark=Markup(MARK), inline=None, **content)


def _summary(leaf: TrackPage) -> dict[str, object]:
    """What the index says of a track: its first headlines, the best models of each."""
    board = leaf.exhibit.board
    section = next((found for group in board.groups if (found := group.section(OVERVIEW)) is not None), None)
    best = []
    for place, column in enumerate(section.columns if section is not None else ()):
        rows = [row for row in section.rows if row.cells[place].best] if section is not None else []
        rows.sort(key=lambda row: sheets.rank(row.cells[place], column.better))
        if rows:
            names = [(row.name, leaf.link(row)) for row in rows[:3]]
            best.append({"head": sheets.head(column), "names": names, "more": len(rows) - len(names)})
    return {
        "name": leaf.exhibit.name,
        "file": leaf.file,
        "about": board.about,
        "models": len(leaf.models),
        "published": sum(len(table.rows) for table in leaf.exhibit.published),
        "best": best,
    }


def _track(leaf: TrackPage, leaves: Sequence[TrackPage]) -> str:
    """The page of a track."""
    board = leaf.exhibit.board
    groups = []
    for place, group in enumerate(board.groups):
        found = [sheets.sheet(section, leaf.link) for section in group.sections]
        sizes = [(name, facts.n) for name, facts in group.members[0].document.protocol.sources.items()]
        groups.append({"id": f"g{place}", "group": group, "sizes": sizes, "sheets": found})
    published = [
        {"title": table.title, "header": table.header, "notes": table.notes, "rows": report.texts(table)}
        for table in leaf.exhibit.published
    ]
    return _page(
        "track.html",
        leaves,
        f"{leaf.exhibit.name} · jembench",
        name=leaf.exhibit.name,
        board=board,
        groups=groups,
        overview=OVERVIEW,
        models=len(leaf.models),
        tradeoff=tradeoff(board, leaf.link),
        rules=RULES,
        published=published,
        published_about=PUBLISHED,
    )


def _model(leaf: TrackPage, key: Key, leaves: Sequence[TrackPage], *, pictures: bool) -> str:
    """The page of a model."""
    shown = profile(leaf.places[key], pictures=pictures)
    return _page(
        "model.html",
        leaves,
        f"{shown.name} on {leaf.exhibit.name} · jembench",
        root="../",
        model=shown,
        about="" if shown.guest else leaf.exhibit.about.get(shown.name, ""),
        track=leaf.exhibit.name,
        track_file=f"../{leaf.file}",
        pictures=pictures,
        most=MOST,
    )
