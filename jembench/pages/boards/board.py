"""A leaderboard before it has a format: groups of results under one protocol, their headlines, bands and notes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jembench.evaluators.quantities import Headline
from jembench.metrics.metric import Direction, Metric
from jembench.pages.seeds import Seeds
from jembench.store.results import ResultDocument

OVERVIEW = "overview"  # the section with the first headline of every evaluator


@dataclass(frozen=True)
class Evidence:
    """One result of a model.

    Attributes:
        document: the content of its ``result.json``.
        folder: where ``result.json`` and ``examples.parquet`` are.
        seeds: the trainings that its numbers may be means over; None for one.
        means: the document with these means, in intervals of images and trainings together; None for one training.
    """

    document: ResultDocument
    folder: Path
    seeds: Seeds | None = None
    means: ResultDocument | None = None


@dataclass(frozen=True)
class Cell:
    """A headline metric of a model.

    Attributes:
        metric: the number with the interval of its test images, a mean over trainings where there are several; without
            a value where it was not measured.
        band: letters; two models share one if and only if no test has told them apart. Empty where nothing is tested.
        best: whether no test has told it apart from the best of its column, and some other was told apart from that.
        spread: standard deviation over training seeds; None for one training.
        fault: why the number is not reliable; empty if nothing was found.
    """

    metric: Metric
    band: str = ""
    best: bool = False
    spread: float | None = None
    fault: str = ""


@dataclass(frozen=True)
class Heading:
    """A headline of an evaluator, over all models.

    Attributes:
        headline: what it is.
        metric: id of the metrics.
        evaluator: name of the evaluator.
        better: direction in which values are better.
        unit: of the values; empty for a pure number.
        detectable: true difference that a test of two models finds with a power of .8; None where nothing is tested.
    """

    headline: Headline
    metric: str
    evaluator: str
    better: Direction
    unit: str = ""
    detectable: float | None = None


@dataclass(frozen=True)
class Standing:
    """A model.

    Attributes:
        name: its name, unique in its section.
        parts: its results, that of the most evaluators first.
        trainings: number of training seeds that its numbers are means over.
        guest: whether a user added it to the shipped ones.
        cells: its numbers, in the order of the columns.
        passes: forward and backward passes of single examples that measuring it took.
    """

    name: str
    parts: tuple[Evidence, ...]
    trainings: int
    guest: bool
    cells: tuple[Cell, ...]
    passes: int


@dataclass(frozen=True)
class Ranking:
    """A table of models and headlines.

    Attributes:
        key: :data:`OVERVIEW`, or the name of an evaluator.
        title: what it is called.
        columns: what was measured.
        rows: the models, by name.
        notes: what a reader must know, a sentence each.
    """

    key: str
    title: str
    columns: tuple[Heading, ...]
    rows: tuple[Standing, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Results that may be ranked together: one protocol, or parts of it.

    Attributes:
        protocol: name of the protocol.
        hash: of the protocol that all results are parts of.
        title: what was measured, in a few words.
        bare: whether it is of attacks on models without a defence.
        members: the results.
        sections: the overview, then a table for each evaluator.
    """

    protocol: str
    hash: str
    title: str
    bare: bool
    members: tuple[Evidence, ...]
    sections: tuple[Ranking, ...]

    def section(self, key: str) -> Ranking | None:
        """A section by its key."""
        return next((section for section in self.sections if section.key == key), None)


@dataclass(frozen=True)
class Board:
    """The leaderboard of a track.

    Attributes:
        track: versioned name of the track.
        about: what its images are.
        groups: what may be ranked together, the largest first; attacks behind a defence are groups of their own.
        apart: why a result is not in the first group of its kind, a sentence each.
    """

    track: str
    about: str
    groups: tuple[Group, ...]
    apart: tuple[str, ...] = field(default=())

    def rows(self) -> Iterator[Standing]:
        """The rows of all overviews."""
        for group in self.groups:
            section = group.section(OVERVIEW)
            yield from section.rows if section is not None else ()
