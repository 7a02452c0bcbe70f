"""Published numbers: digit for digit in our units, marked by how they were checked, never without their source."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.choices import published
from jembench.choices.published import fraction, read
from jembench.pages.tables import report
from jembench.pages.tables.publications import MARKS, tables
from jembench.pages.tables.table import Table
from jembench.types import UserError

RAW = json.loads(published.place().read_text(encoding="utf-8"))
FAMILIES = {"hybrid": "hybrid", "OOD detection, AUROC": "ood_auroc", "robust accuracy": "robust_accuracy"}
PERCENTS = st.decimals(0, 100, places=2)


@given(PERCENTS)
def test_a_percentage_goes_there_and_back_with_all_its_digits(value: Decimal) -> None:
    found = fraction(value, "percent")
    assert str(found.scaleb(2)) == str(value)
    assert 0 <= found <= 1
    assert fraction(found, "fraction") == found


@given(st.decimals(-1e6, 1e6, allow_nan=False), st.sampled_from(["percent", "fraction"]))
def test_what_is_no_fraction_is_refused(value: Decimal, unit: str) -> None:
    top = 100 if unit == "percent" else 1
    if 0 <= value <= top:
        assert fraction(value, unit) is not None
    else:
        with pytest.raises(ValueError, match=f"is no {unit}"):
            fraction(value, unit)


def values(family: str, row: dict[str, Any]) -> list[float | None]:
    """The numbers of a row of the file, in its units, by hand."""
    if family == "hybrid":
        return [row["accuracy"], row["is"], row["fid"]]
    if family == "ood_auroc":
        return list(row["auroc"])
    return [row["ece"]] if family == "calibration_ece" else [row["clean"], row["robust"]]


def test_every_number_of_the_file_is_there_in_our_units() -> None:
    """By a reading of its own, in floating point."""
    scales = {"hybrid": [100, 1, 1], "ood_auroc": [1] * 4, "robust_accuracy": [100, 100], "calibration_ece": [100]}
    seen = 0
    for family in read(published.place()):
        name = FAMILIES.get(family.title, "calibration_ece")
        raw = [row for row in RAW[name]["rows"] if row.get("data", "cifar10") == family.track]
        assert [row.model for row in family.rows] == [row["model"] for row in raw]
        for row, printed in zip(family.rows, raw, strict=True):
            assert (row.source, row.checked) == (printed["source"], printed["checked"])
            for ours, theirs, scale in zip(row.values, values(name, printed), scales[name], strict=True):
                assert (ours is None) == (theirs is None)
                assert ours is None or theirs is None or float(ours) == pytest.approx(theirs / scale, abs=1e-12)
                seen += 1
    assert seen == sum(len(values(name, row)) for name in scales for row in RAW[name]["rows"]) > 100


def shipped() -> list[Table]:
    return [table for track in ("cifar10", "cifar100") for table in tables(track)]


def test_the_headline_rows() -> None:
    """Of the paper's table 1, its calibration on CIFAR-100, and the last digit of what was printed with a zero."""
    hybrid, ood, _, robust = tables("cifar10")
    (calibration,) = tables("cifar100")
    assert ["JEM ‡", "0.929", "8.76", "38.4"] in hybrid.rows
    assert ["JEAT ‡", "0.8516", "8.80", "38.24"] in hybrid.rows
    assert ["JEM ‡", "max p(y|x)", "0.89", "0.75", "0.87", "0.79"] in ood.rows
    assert ["Carmon2019Unlabeled", "L∞ 8/255", "0.8969", "0.5953"] in robust.rows
    assert ["JEM †", "0.0487"] in calibration.rows
    assert ood.header == ["model", "score", "svhn", "interp", "cifar100", "celeba"]
    assert tables("svhn") == tables("digits") == []


def test_every_row_has_the_mark_of_its_check_and_the_table_says_what_it_means() -> None:
    for family in read(published.place()):
        table = next(item for item in tables(family.track) if item.title.startswith(family.title))
        for row, cells in zip(family.rows, table.rows, strict=True):
            mark = {"recalled": " †", "secondary": " ‡", "code": ""}[row.checked]
            assert cells[0] == row.model + mark
        for checked, (_, words) in MARKS.items():
            assert (words in table.notes) == any(row.checked == checked for row in family.rows)


def test_every_model_stands_below_its_table_with_its_source() -> None:
    for family in read(published.place()):
        table = next(item for item in tables(family.track) if item.title.startswith(family.title))
        for row in family.rows:
            (note,) = (note for note in table.notes if note.startswith(f"{row.source}: "))
            assert row.model in note.removeprefix(f"{row.source}: ").split("; ")


def test_the_eps_of_eb_jdat_is_said_of_all_its_rows_and_of_no_other() -> None:
    robust = tables("cifar10")[-1]
    assert "(1) as printed by EB-JDAT (its code applies half that eps)" in robust.notes
    ours = [row[0] for row in robust.rows if str(row[1]).endswith(" (1)")]
    assert ours == [
        f"{row['model']} ‡" for row in RAW["robust_accuracy"]["rows"] if row["source"] == "arXiv 2505.19459"
    ]
    assert len(ours) == 4


def test_nothing_published_can_be_bold_and_tables_fit_100_columns() -> None:
    for table in shipped():
        assert all(isinstance(cell, str) for row in table.rows for cell in row)  # words, which nothing ranks
    text = report.markdown_of(shipped())
    assert "**" not in text
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 100


Change = Callable[[dict[str, Any]], Any]


def first(family: str, **change: Any) -> Change:
    """Change the first row of a family."""
    return lambda content: content[family]["rows"][0].update(change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (first("hybrid", accuracy=929), "929 is no percent"),
        (first("hybrid", accuracy=-1), "-1 is no percent"),
        (first("hybrid", fid=-0.5), "hybrid/rows/0/fid"),
        (first("hybrid", accuracy=float("nan")), "hybrid/rows/0/accuracy"),
        (first("hybrid", accuracy="high"), "hybrid/rows/0/accuracy"),
        (first("hybrid", checked="yes"), "hybrid/rows/0/checked"),
        (first("hybrid", source=""), "hybrid/rows/0/source"),
        (first("hybrid", kid=1), "hybrid/rows/0/kid"),
        (lambda content: content["hybrid"]["rows"][0].pop("is"), "hybrid/rows/0/is"),
        (lambda content: content["hybrid"]["units"].update(accuracy="bits"), "hybrid/units/accuracy"),
        (lambda content: content["hybrid"].update(rows=[]), "hybrid/rows"),
        (first("ood_auroc", auroc=[0.1, 0.2, 0.3]), "has 3 values for 4 sets"),
        (first("ood_auroc", auroc=[0.1, 0.2, 0.3, 1.3]), "1.3 is no fraction"),
        (lambda content: content["ood_auroc"].update(units="points"), "has 4 values for 0 sets"),
        (first("calibration_ece", data="imagenet"), "'imagenet', which is no track"),
        (lambda content: content["calibration_ece"].update(units="permille"), "unknown unit 'permille'"),
        (first("robust_accuracy", threat="same"), "the row above it, and there is none"),
        (first("robust_accuracy", threat="L1 12"), "robust_accuracy/rows/0/threat"),
        (lambda content: content.pop("hybrid"), "hybrid"),
        (lambda content: content.update(more={}), "more"),
    ],
)
def test_a_file_that_is_not_valid_is_refused_by_name(tmp_path: Path, change: Change, words: str) -> None:
    content = json.loads(published.place().read_text(encoding="utf-8"))
    path = tmp_path / "published.json"
    path.write_text(json.dumps(content))
    read(path)
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: not valid published numbers (")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_json_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "published.json"
    for content in (None, b"{", b"\xff", b"[]"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match="not valid published numbers"):
            read(path)
