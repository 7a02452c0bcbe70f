"""Compare: which of two or more models is better, example by example, from their result folders alone.

Results of one track, on the same bytes, hold a row per example, matched by source and index. Where a protocol adds
noise to the images, they are the same under the same seed only. The first is the reference; of every other one the
**paired** difference to it is tested by those of :mod:`jembench.pages.pairs.differences`.

All p-values are two-sided, and those of one table are corrected together by Holm's method. The intervals are not: each
holds 95 % alone. Both are of the test images and not of training: another training seed is another model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from jembench.metrics import paired
from jembench.metrics.metric import Kind, Metric
from jembench.metrics.scores import SCORES
from jembench.pages import summary
from jembench.pages.pairs import differences
from jembench.pages.pairs.differences import Tested
from jembench.pages.pairs.fit import misfit
from jembench.pages.pairs.side import Side
from jembench.pages.tables.figures import interval, p_value
from jembench.pages.tables.table import Cell, Table, metrics, subset
from jembench.store.results import ResultDocument, read_result
from jembench.types import UserError

HEADER = ["difference", "p", "p (Holm)"]
INTERVALS = "low–high: 95 % interval, of test variance; p: two-sided; Holm: corrected for all tests of this table"
SURE = 0.05  # p-value below which a verdict is given
LOSSES = {"nll": "NLL", "brier": "Brier"}
JUDGED = ("accuracy", "calibration", "ood", "detectors")  # the evaluators whose scalars are compared


@dataclass(frozen=True)
class _Test:
    """A row: what is compared, its values, their difference and its p-value."""

    words: list[str]
    values: tuple[Metric, Metric]
    difference: Metric


def compare(folders: Sequence[Path]) -> list[Table]:
    """The tables of paired differences of every result to the first.

    Args:
        folders: result folders (``result.json`` and ``examples.parquet``) of at least two models.

    Raises:
        UserError: for fewer than two, a folder that is no result, results of different tracks, bytes, numbers of
            examples, noise or versions, or with nothing that both measured.
    """
    sides = opened(folders)
    head = f"paired, against {sides[0].label} · {sides[0].document.track}"
    first = ["model", "metric", sides[0].label, "value", *HEADER]
    second = ["model", "OOD set", "score", sides[0].label, "value", *HEADER]
    tables = [
        _table(f"accuracy, NLL and Brier, {head}", first, _against(sides, _losses)),
        _table(f"AUROC, {head}", second, _against(sides, _aurocs)),
        _table(f"further metrics, {head}", first, _against(sides, _others)),
    ]
    return _noted([table for table in tables if table.rows], sides)


def headlines(folders: Sequence[Path]) -> list[Table]:
    """One table of what is read first, the headlines of every evaluator that have a test, with a verdict.

    A verdict is of Holm's p-value below .05, over the tests of this table alone.

    Raises:
        UserError: as :func:`compare`.
    """
    sides = opened(folders)
    header = ["model", "metric", sides[0].label, "value", "difference", "95 %", "p (Holm)", "verdict"]
    titles = {metric.id: headline.title for headline, metric in summary.headlines(sides[0].document)}

    def tests(one: Side, other: Side) -> Iterator[_Test]:
        for name, title in titles.items():
            yield from _of(one, other, name, title)

    found = _against(sides, tests)
    rows: list[list[Cell]] = []
    for test, p in zip(found, paired.holm([test.difference.p or 0.0 for test in found]), strict=True):
        change, values = test.difference, [replace(value, low=None, high=None) for value in test.values]
        verdict = "better" if ((change.value or 0.0) > 0) == (change.better == "higher") else "worse"
        cells: list[Cell] = [
            replace(change, low=None, high=None),
            interval(change),
            p_value(p),
            verdict if p < SURE else "not sure",
        ]
        rows.append([*test.words, *values, *cells])
    title = f"paired, against {sides[0].label} · {sides[0].document.track}"
    notes = [f"difference: value less that of {sides[0].label}", INTERVALS]
    return _noted([Table(title, header, rows, notes)] if rows else [], sides)


def _noted(tables: list[Table], sides: Sequence[Side]) -> list[Table]:
    """The tables, each with a note on parts of published sets.

    Raises:
        UserError: if there is none.
    """
    if not tables:
        raise UserError(f"{sides[0].label} and the others have no scalars in common: evaluate them on one suite")
    return [replace(table, notes=[*table.notes, *subset(metrics(table), sides[0].document)]) for table in tables]


def opened(folders: Sequence[Path]) -> list[Side]:
    """The sides of a comparison, checked.

    Raises:
        UserError: as :func:`compare`.
    """
    if len(folders) < 2:
        raise UserError(f"a comparison needs at least 2 results, not {len(folders)}")
    documents = [read_result(folder) for folder in folders]
    for one, other in combinations(documents, 2):
        _check_same(one, other)
    names = [document.model.name for document in documents]
    labels = [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
    sides = [Side(*side) for side in zip(labels, documents, folders, strict=True)]
    for side in sides:
        side.sources  # noqa: B018  # damaged examples are an error now, not in the middle of a table
    return sides


def _against(sides: list[Side], tests: Callable[[Side, Side], Iterator[_Test]]) -> list[_Test]:
    """The tests of every other side against the first."""
    reference, *candidates = sides
    return [test for side in candidates for test in tests(reference, side)]


def _check_same(one: ResultDocument, other: ResultDocument) -> None:
    """Refuse two results that are not of the same images, measured in the same way."""
    who = f"{one.model.name!r} and {other.model.name!r} cannot be compared"
    reason = misfit(one, other)
    if reason is not None:
        raise UserError(f"{who}: {reason}")
    for part, names in (("evaluators", JUDGED), ("measurements", ("logits", "input_gradient", "refinement"))):
        ours, theirs = ({entry["name"]: entry for entry in getattr(it.protocol, part)} for it in (one, other))
        for name in ours.keys() & theirs.keys() & set(names):
            if ours[name]["version"] != theirs[name]["version"]:
                versions = f"{ours[name]['version']} and {theirs[name]['version']}"
                raise UserError(f"{who}: {part[:-1]} {name!r} has version {versions}: make the older one anew")


def _losses(one: Side, other: Side) -> Iterator[_Test]:
    """Accuracy, NLL and Brier of the test split."""
    accuracy = differences.accuracy(one, other)
    if accuracy is not None:
        yield _test(one, other, ["accuracy"], "test/accuracy", Kind("accuracy", "higher"), accuracy)
    for name, title in LOSSES.items():
        loss = differences.mean(one, other, name)
        if loss is not None:
            yield _test(one, other, [title], f"test/raw/{name}", Kind(name, "lower"), loss)


def _aurocs(one: Side, other: Side) -> Iterator[_Test]:
    """Every OOD set and score, then the means."""
    titles = {name: entry.title for name, entry in SCORES.items()}
    found = [metric for metric in one.metrics.values() if metric.name == "auroc" and metric.id in other.metrics]
    for source in dict.fromkeys(metric.source for metric in found):
        for score in dict.fromkeys(metric.variant for metric in found):
            test = differences.auroc(one, other, source, score)
            if test is not None:
                words = [source, titles.get(score, score)]
                yield _test(one, other, words, f"{source}/{score}/auroc", Kind("auroc", "higher"), test)


def _others(one: Side, other: Side) -> Iterator[_Test]:
    """Every further metric that has a test and a direction."""
    shown = {"test/accuracy", *(f"test/raw/{name}" for name in LOSSES)}
    for name, metric in one.metrics.items():
        if name not in shown and metric.name != "auroc" and metric.better != "neither":
            yield from _of(one, other, name, name)


def _of(one: Side, other: Side, name: str, title: str) -> Iterator[_Test]:
    """A metric, if it has a test."""
    found = differences.difference(one, other, name)
    if found is not None and found.p is not None:
        kind = Kind(found.after.name, found.after.better)
        yield _test(one, other, [title], name, kind, (found.estimate, found.p))


def _test(one: Side, other: Side, words: list[str], metric: str, kind: Kind, tested: Tested) -> _Test:
    estimate, p = tested
    values = one.metrics[metric], other.metrics[metric]
    n = {"test": values[1].n.get("test", 0)}
    difference = kind.of(estimate, source=words[0], n=n, p=p)
    return _Test([other.label, *words], values, difference)


def _table(title: str, header: list[str], tests: list[_Test]) -> Table:
    """The rows, with Holm's correction over all of them."""
    adjustments = paired.holm([test.difference.p or 0.0 for test in tests])
    rows: list[list[Cell]] = []
    for test, p in zip(tests, adjustments, strict=True):
        values = [replace(value, low=None, high=None) for value in test.values]  # the difference has the interval
        p_values = (p_value(test.difference.p or 0.0), p_value(p))
        rows.append([*test.words, *values, test.difference, *p_values])
    notes = [f"difference: value less that of {header[header.index('value') - 1]}", INTERVALS]
    if any(test.difference.method == "concordant" for test in tests):
        notes.append("0 with an interval: no example was placed differently, which bounds the difference")
    return Table(title, header, rows, notes)
