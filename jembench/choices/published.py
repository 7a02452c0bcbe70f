"""Published numbers: what others have printed, in rows of their own.

``leaderboards/published.json`` holds them as they were printed, each section of rows in the units that it states. Here
percents become fractions, digit for digit: 92.90 % is 0.9290, no digit more and none less, since a published number
says how far it goes by its digits alone. IS and FID have no unit and stay what they are.

They are of other protocols than ours and have no intervals, and who quotes them has not always read them at their
source: ``checked`` says which. So their cells are words, which no leaderboard can rank, in tables that hold none of our
numbers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field

from jembench.data import PAPERS, TRACKS
from jembench.ground.entry import Entry, reason
from jembench.types import UserError

PUBLISHED = "published.json"
SAME = "same"  # as in the row above
DIGITS = {"percent": 2, "fraction": 0}  # unit -> places that the point moves to the left

Text = Annotated[str, Field(min_length=1)]
Checked = Literal["code", "secondary", "recalled"]
Quality = Annotated[Decimal, Field(ge=0)]


class _Printed(Entry):
    model: Text
    source: Text
    checked: Checked


class _Hybrid(_Printed):
    accuracy: Decimal | None
    score: Quality | None = Field(alias="is")
    fid: Quality | None


class _Detection(_Printed):
    score: Text
    auroc: list[Decimal | None]


class _Calibration(_Printed):
    data: Text
    ece: Decimal


class _Robust(_Printed):
    threat: Annotated[str, Field(pattern=rf"^({SAME}|(Linf|L2) [0-9./]+(, .+)?)$")]
    clean: Decimal | None
    robust: Decimal


class _HybridUnits(Entry):
    accuracy: Literal["percent", "fraction"]
    score: Literal["1"] = Field(alias="is")
    fid: Literal["1"]


U = TypeVar("U")
R = TypeVar("R", bound=_Printed)


class _Section(Entry, Generic[U, R]):
    units: U
    rows: Annotated[list[R], Field(min_length=1)]


class _Document(Entry):
    """The content of ``published.json``."""

    about: str
    hybrid: _Section[_HybridUnits, _Hybrid]
    ood_auroc: _Section[str, _Detection]
    calibration_ece: _Section[str, _Calibration]
    robust_accuracy: _Section[str, _Robust]


@dataclass(frozen=True)
class Row:
    """A published row.

    Attributes:
        model: its name.
        label: what else it is of: a score, a threat model; empty if there is but one.
        values: in our units; None where a number is not reported or not known.
        source: where it is printed.
        checked: ``code`` read in the authors' repository, ``secondary`` quoted by a later source, or ``recalled``.
        remark: what it must not be read without.
    """

    model: str
    label: str
    values: tuple[Decimal | None, ...]
    source: str
    checked: Checked
    remark: str = ""


@dataclass(frozen=True)
class Section:
    """Published rows of one kind on one track.

    Attributes:
        track: name of the track.
        title: of what they are.
        header: names of the columns.
        rows: in the order of the file.
        remark: what holds for all of them.
    """

    track: str
    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    remark: str = ""


def place() -> Path:
    """The file of published numbers: inside the package in a wheel, beside it in a clone or an editable install."""
    package = Path(__file__).resolve().parents[1]
    wheel = package / f"_{PUBLISHED}"
    return wheel if wheel.is_file() else package.parent / "leaderboards" / PUBLISHED


def read(path: Path) -> list[Section]:
    """All published rows, in our units.

    Raises:
        UserError: if the file is missing or not valid, such as a percentage above 100.
    """
    try:
        document = _Document.model_validate(json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal))
        return [_hybrid(document), _detection(document), *_calibration(document), _robust(document)]
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid published numbers ({reason(error)}): correct them") from error


def fraction(value: Decimal | None, unit: str) -> Decimal | None:
    """A printed number as a fraction, with the digits that it was printed with.

    Raises:
        ValueError: for an unknown unit, or a number outside 0..1.

    >>> str(fraction(Decimal("92.90"), "percent"))
    '0.9290'
    """
    if unit not in DIGITS:
        raise ValueError(f"unknown unit {unit!r}; known are {' and '.join(DIGITS)}")
    if value is None:
        return None
    if not 0 <= value <= 10 ** DIGITS[unit]:
        raise ValueError(f"{value} is no {unit}")
    return value.scaleb(-DIGITS[unit])


def _hybrid(document: _Document) -> Section:
    section = document.hybrid
    unit = section.units.accuracy
    rows = [_row(row, "", [fraction(row.accuracy, unit), row.score, row.fid]) for row in section.rows]
    return Section(PAPERS, "hybrid", ("model", "accuracy", "IS", "FID"), tuple(rows))


def _detection(document: _Document) -> Section:
    """The AUROCs; the units name the OOD sets."""
    section = document.ood_auroc
    head, _, order = section.units.partition("; order of sets: ")
    unit, _, remark = head.partition("; ")
    sets = [name.strip() for name in order.split(",") if name.strip()]
    rows = []
    for row in section.rows:
        if len(row.auroc) != len(sets):
            raise ValueError(f"ood_auroc: {row.model} has {len(row.auroc)} values for {len(sets)} sets")
        rows.append(_row(row, row.score, [fraction(value, unit) for value in row.auroc]))
    return Section(PAPERS, "OOD detection, AUROC", ("model", "score", *sets), tuple(rows), remark)


def _calibration(document: _Document) -> list[Section]:
    """A section for every track that rows name as their data."""
    section = document.calibration_ece
    unit, _, remark = section.units.partition("; ")
    errors: dict[str, list[Row]] = {}
    for row in section.rows:
        if row.data not in TRACKS:
            raise ValueError(f"calibration_ece: {row.model} is of {row.data!r}, which is no track")
        errors.setdefault(row.data, []).append(_row(row, "", [fraction(row.ece, unit)]))
    return [Section(track, "calibration", ("model", "ECE"), tuple(rows), remark) for track, rows in errors.items()]


def _robust(document: _Document) -> Section:
    section = document.robust_accuracy
    unit, _, remark = section.units.partition("; ")
    rows: list[Row] = []
    threat = ""
    for row in section.rows:
        threat = threat if row.threat == SAME else row.threat
        if not threat:
            raise ValueError(f"robust_accuracy: {row.model} has the threat of the row above it, and there is none")
        ball, _, words = threat.partition(", ")
        values = [fraction(value, unit) for value in (row.clean, row.robust)]
        rows.append(_row(row, ball.replace("Linf", "L∞"), values, words))
    return Section(PAPERS, "robust accuracy", ("model", "threat", "clean", "robust"), tuple(rows), remark)


def _row(row: _Printed, label: str, values: Sequence[Decimal | None], remark: str = "") -> Row:
    return Row(row.model, label, tuple(values), row.source, row.checked, remark)
