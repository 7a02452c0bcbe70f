"""Profiles: the page of one model, from its rows in the groups of a board and the files beside its results."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from jembench.pages import remarks
from jembench.pages.boards.board import Evidence, Group, Ranking, Standing
from jembench.pages.site import sheets, sketches
from jembench.pages.site.sketches import Sketch
from jembench.store.history import HISTORY, read_history
from jembench.store.records import decode
from jembench.store.results import EXAMPLES, ResultDocument

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST = 2**20  # bytes of a picture that a page holds
#: Pictures that may lie beside a result, by what they show; what is drawn here anew is not among them.
PICTURES = {
    "samples": "persistent chains at the last validation of the training",
    "samples-fresh": "fresh samples",
    "samples-buffer": "samples from the buffer",
    "samples-conditional": "samples of given classes",
    "neighbours": "samples above their nearest training images",
    "pairs": "clean images above their nearest adversarials",
    "distal": "noise that became a confident example",
    "chains": "chains after 0, K, 5 K and 20 K steps",
    "energy": "log p(x) along the chains",
}
DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # of examples of a stranger


@dataclass(frozen=True)
class Fact:
    """A headline on the page of a model: what it is, its number as an element ``td``, and of how many examples."""

    title: str
    about: str
    cell: Markup
    n: str


@dataclass(frozen=True)
class Block:
    """The headlines of an evaluator under one protocol."""

    title: str
    protocol: str
    entries: tuple[Fact, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """A model as its page shows it.

    Attributes:
        name: of the model.
        guest: whether a user added it.
        blocks: its headlines.
        facts: what it is and what measuring it took, as pairs of words.
        looks: what to look at, and warnings of its results.
        sketches: pictures as SVG.
        images: pictures that lie beside its results: what they show, and a data address.
    """

    name: str
    guest: bool
    blocks: tuple[Block, ...]
    facts: tuple[tuple[str, str], ...]
    looks: tuple[str, ...]
    sketches: tuple[Sketch, ...] = ()
    images: tuple[tuple[str, str], ...] = ()


class Place(NamedTuple):
    """Where a model is: a row of a section of a group."""

    group: Group
    section: Ranking
    row: Standing


def profile(places: Sequence[Place], *, pictures: bool) -> Profile:
    """The page of a model.

    Args:
        places: its rows, at least one, in the order of the board, without the overviews.
        pictures: whether pictures are drawn, which takes some tenths of a second.
    """
    parts = list({id(part): (each.group, part) for each in places for part in each.row.parts}.values())
    row = places[0].row
    documents = [part.document for _, part in parts]
    blocks = tuple(map(_block, places))
    facts = (*_model(row), *cost(documents))
    looks = observations(documents)
    if not pictures:
        return Profile(row.name, row.guest, blocks, facts, looks)
    folders = [part.folder for _, part in parts]
    folders += [] if row.guest else [folder.parent for folder in folders]
    drawn = _unique(sketch for _, part in parts for sketch in of_examples(part))
    under = sketches.attacked([(_defence(group), part.document) for group, part in parts])
    drawn += [under] if under is not None else []
    return Profile(row.name, row.guest, blocks, facts, looks, (*drawn, *training(folders)), images(folders))


def of_examples(part: Evidence) -> Iterator[Sketch]:
    """The pictures of a result's examples; none of what the file of a stranger does not have as it should."""
    try:
        columns = decode((part.folder / EXAMPLES).read_bytes())
        found = (sketches.calibrated(columns), sketches.histograms(columns, part.document))
    except DAMAGED:
        return
    yield from (sketch for sketch in found if sketch is not None)


def training(folders: Sequence[Path]) -> list[Sketch]:
    """The curves of the first training record in these folders.

    Raises:
        UserError: if it is not valid.
    """
    folder = next((folder for folder in folders if (folder / HISTORY).is_file()), None)
    sketch = None if folder is None else sketches.trained(read_history(folder))
    return [] if sketch is None else [sketch]


def images(folders: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """The pictures in some folders: what each shows, and its bytes as an address that needs no file."""
    found: dict[str, str] = {}
    for folder in folders:
        for name, words in PICTURES.items():
            path = folder / f"{name}.png"
            if words not in found and path.is_file() and path.stat().st_size <= LARGEST:
                content = path.read_bytes()
                if content.startswith(PNG):
                    found[words] = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return tuple(found.items())


def observations(documents: Sequence[ResultDocument]) -> tuple[str, ...]:
    """Warnings of results, then what to look at."""
    warnings = [f"warning: {words}" for document in documents for words in document.warnings]
    looks = [words for document in documents for words in remarks.remarks([document])]
    return tuple(map(sheets.shortened, dict.fromkeys([*warnings, *looks])))


def cost(documents: Sequence[ResultDocument]) -> Iterator[tuple[str, str]]:
    """What measuring a model took, as pairs of words, all of its results together."""
    costs = [document.cost for document in documents]
    yield "forward passes", f"{sum(each.forwards for each in costs):,}"
    yield "input gradients", f"{sum(each.gradients for each in costs):,}"
    yield "time", f"{sum(each.seconds for each in costs):,.0f} s"
    yield "peak memory", f"{max(each.peak_memory_mb for each in costs):,.0f} MB"
    environments = [each for document in documents for each in document.provenance.environments]
    yield "measured on", ", ".join(dict.fromkeys(f"{each.processor}, {each.device}" for each in environments))
    yield "jembench", ", ".join(dict.fromkeys(each.jembench for each in environments))


def _model(row: Standing) -> Iterator[tuple[str, str]]:
    model = row.parts[0].document.model
    yield "weights", (model.weights_sha256 or "none")[:12]
    yield "fingerprint", model.fingerprint[:12]
    yield "training seeds", str(row.trainings)
    yield "suites", ", ".join(dict.fromkeys(part.document.suite for part in row.parts))


def _block(place: Place) -> Block:
    """The headlines of a model in a section."""
    group, section, row = place
    heads = map(sheets.head, section.columns)
    entries = tuple(
        Fact(head.title, head.about, sheets.cell(cell, None), size(cell.metric.n))
        for head, cell in zip(heads, row.cells, strict=True)
    )
    notes = [f"† not reliable: {cell.fault}" for cell in row.cells if cell.fault]
    notes += [f"— {cell.metric.reason}" for cell in row.cells if cell.metric.value is None and cell.metric.reason]
    title, whose = section.title.partition(": ")[0], f"{group.title} · {group.hash[:12]}"
    return Block(title, whose, entries, tuple(map(sheets.shortened, dict.fromkeys(notes))))


def size(n: Mapping[str, int]) -> str:
    """Of how many examples a number is, of all sources together; empty if it is not known."""
    return f"{sum(n.values()):,}" if n else ""


def _defence(group: Group) -> str:
    """What an attack was against, in a few words."""
    return group.title.removeprefix("attacks, ")


def _unique(found: Iterator[Sketch]) -> list[Sketch]:
    """The first sketch of each title."""
    titles: dict[str, Sketch] = {}
    for sketch in found:
        titles.setdefault(sketch.title, sketch)
    return list(titles.values())
