"""Compare: which of two or more models is better, example by example, from their result folders alone.

Results of one track, on the same bytes, hold a row per example, matched by source and index. Where a protocol adds
noise to the images, they are the same under the same seed only. The first is the reference; of every other one the
**paired** difference to it is tested:

- accuracy: Newcombe's interval and the exact sign test of the discordant examples (:mod:`jembench.metrics.paired`);
- NLL and Brier of the raw logits: the mean difference, by the studentised bootstrap;
- AUROC of every score and OOD set, and its means: DeLong's paired covariance (:mod:`jembench.metrics.paired_auroc`),
  over the first images where a score is too costly for all.

All p-values are two-sided, and those of one table are corrected together by Holm's method. The intervals are not: each
holds 95 % alone. Both are of the test images and not of training: another training seed is another model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jembench import data
from jembench.choices import protocols
from jembench.data.sets import Source, Track
from jembench.ground import seeding
from jembench.metrics import intervals, paired, paired_auroc
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Kind, Metric
from jembench.metrics.scores import PAPER, SCORES
from jembench.pages.tables.figures import p_value
from jembench.pages.tables.table import Cell, Table, get, metrics, subset
from jembench.store import records
from jembench.store.results import EXAMPLES, ResultDocument, read_result
from jembench.types import UserError

HEADER = ["difference", "p", "p (Holm)"]
INTERVALS = "low–high: 95 % interval, of test variance; p: two-sided; Holm: corrected for all tests of this table"
SURE = 0.05  # p-value below which a verdict is given
LOSSES = {"nll": "NLL", "brier": "Brier"}
JUDGED = ("accuracy", "calibration", "ood", "detectors")  # the evaluators whose scalars are compared

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class _Side:
    """One result: its label in tables, its document, and the scalars of its examples by source, in order of index."""

    label: str
    document: ResultDocument
    sources: dict[str, Columns]

    def column(self, source: str, name: str, n: int | None = None) -> NDArray[Any] | None:
        """A scalar of the first ``n`` examples of a source, by default of all; None where some of them has none."""
        values = self.sources.get(source, {}).get(name)
        if values is None:
            return None
        values = values[:n]
        absent = np.isnan(values) if values.dtype.kind == "f" else values < 0
        return None if absent.any() else values


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
    sides, track = _opened(folders)
    head = f"paired, against {sides[0].label} · {track.id}"
    first = ["model", "metric", sides[0].label, "value", *HEADER]
    second = ["model", "OOD set", "score", sides[0].label, "value", *HEADER]
    tables = [
        _table(f"accuracy, NLL and Brier, {head}", first, _against(sides, _losses)),
        _table(f"AUROC, {head}", second, _against(sides, lambda one, other: _aurocs(one, other, track))),
    ]
    return _noted([table for table in tables if table.rows], sides)


def headlines(folders: Sequence[Path]) -> list[Table]:
    """One table of what is read first: accuracy, NLL, Brier and the mean AUROCs of the paper's scores, with a verdict.

    A verdict is of Holm's p-value below .05, over the tests of this table alone.

    Raises:
        UserError: as :func:`compare`.
    """
    sides, track = _opened(folders)
    header = ["model", "metric", sides[0].label, "value", *HEADER]

    def tests(one: _Side, other: _Side) -> Iterator[_Test]:
        yield from _losses(one, other)
        for test in _aurocs(one, other, track, only=("mean",)):
            model, _, score = test.words
            if score in {score.title for score in PAPER}:
                yield replace(test, words=[model, f"AUROC {score}"])

    found = _against(sides, tests)
    table = _table(f"paired, against {sides[0].label} · {track.id}", header, found)
    rows: list[list[Cell]] = []
    for row, test, p in zip(table.rows, found, paired.holm([test.difference.p or 0.0 for test in found]), strict=True):
        value, higher = test.difference.value or 0.0, test.difference.better == "higher"
        verdict = "better" if (value > 0) == higher else "worse"
        rows.append([*row, verdict if p < SURE else "not sure"])
    return _noted([replace(table, header=[*header, "verdict"], rows=rows)] if rows else [], sides)


def _noted(tables: list[Table], sides: Sequence[_Side]) -> list[Table]:
    """The tables, each with a note on parts of published sets.

    Raises:
        UserError: if there is none.
    """
    if not tables:
        raise UserError(f"{sides[0].label} and the others have no scalars in common: evaluate them on one suite")
    return [replace(table, notes=[*table.notes, *subset(metrics(table), sides[0].document)]) for table in tables]


def _opened(folders: Sequence[Path]) -> tuple[list[_Side], Track]:
    """The sides of a comparison, checked, and the track as their protocol shows it."""
    if len(folders) < 2:
        raise UserError(f"a comparison needs at least 2 results, not {len(folders)}")
    documents = [read_result(folder) for folder in folders]
    for one, other in combinations(documents, 2):
        _check_same(one, other)
    names = [document.model.name for document in documents]
    labels = [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
    sides = [
        _Side(label, document, _examples(folder))
        for label, document, folder in zip(labels, documents, folders, strict=True)
    ]
    track = data.track(documents[0].track.rpartition("-v")[0])
    return sides, protocols.PROTOCOLS[documents[0].protocol.name].on(track, ("ood",))


def _against(sides: list[_Side], tests: Callable[[_Side, _Side], Iterator[_Test]]) -> list[_Test]:
    """The tests of every other side against the first."""
    reference, *candidates = sides
    return [test for side in candidates for test in tests(reference, side)]


def _check_same(one: ResultDocument, other: ResultDocument) -> None:
    """Refuse two results that are not of the same images, measured in the same way."""
    who = f"{one.model.name!r} and {other.model.name!r} cannot be compared"
    for what in ("track", "limit"):
        ours, theirs = getattr(one, what), getattr(other, what)
        if ours != theirs:
            raise UserError(f"{who}: {what} is {ours} and {theirs}")
    if one.protocol.name != other.protocol.name:
        raise UserError(f"{who}: protocol is {one.protocol.name} and {other.protocol.name}")
    for source in sorted(one.protocol.sources.keys() & other.protocol.sources.keys()):
        for what in ("n", "sha256", "noise"):
            ours, theirs = getattr(one.protocol.sources[source], what), getattr(other.protocol.sources[source], what)
            if ours != theirs:
                raise UserError(f"{who}: {what} of {source!r} is {ours} and {theirs}")
        if one.protocol.sources[source].noise and one.seed != other.seed:
            raise UserError(f"{who}: seed is {one.seed} and {other.seed}, which draw other noise on {source!r}")
    for part, names in (("evaluators", JUDGED), ("measurements", ("logits", "input_gradient", "refinement"))):
        ours, theirs = ({entry["name"]: entry for entry in getattr(it.protocol, part)} for it in (one, other))
        for name in ours.keys() & theirs.keys() & set(names):
            if ours[name]["version"] != theirs[name]["version"]:
                versions = f"{ours[name]['version']} and {theirs[name]['version']}"
                raise UserError(f"{who}: {part[:-1]} {name!r} has version {versions}: make the older one anew")


def _examples(folder: Path) -> dict[str, Columns]:
    """The scalars of a result by source, in order of index."""
    path = folder / EXAMPLES
    try:
        table = records.decode(path.read_bytes())
        sources, index = table.pop("source").astype(str), table.pop("index")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not readable ({error}); make the result anew") from error
    examples = {}
    for source in dict.fromkeys(sources.tolist()):
        rows = np.flatnonzero(sources == source)
        rows = rows[np.argsort(index[rows], kind="stable")]
        if not np.array_equal(index[rows], np.arange(len(rows))):
            raise UserError(f"{path}: the examples of {source!r} are not 0 to {len(rows) - 1}: make the result anew")
        examples[source] = {name: column[rows] for name, column in table.items()}
    return examples


def _losses(one: _Side, other: _Side) -> Iterator[_Test]:
    """Accuracy, NLL and Brier of the test split."""
    before, after = _correct(one), _correct(other)
    if before is not None and after is not None:
        p = paired.two_sided(int((after & ~before).sum()), int((before & ~after).sum()))
        estimate = paired.difference(after, before)
        yield _test(one, other, ["accuracy"], "test/accuracy", Kind("accuracy", "higher"), estimate, p, len(after))
    for name, title in LOSSES.items():
        reference, candidate = (side.column("test", name) for side in (one, other))
        if reference is not None and candidate is not None:
            difference = candidate.astype(np.float64) - reference
            estimate = intervals.mean(difference, rng=seeding.rng("compare", name))
            p = intervals.mean_test(difference, rng=seeding.rng("compare", name, "p"))
            yield _test(one, other, [title], f"test/raw/{name}", Kind(name, "lower"), estimate, p, len(candidate))


def _correct(side: _Side) -> NDArray[np.bool_] | None:
    label, prediction = side.column("test", "label"), side.column("test", "prediction")
    if label is None or prediction is None:
        return None
    correct: NDArray[np.bool_] = label == prediction
    return correct


def _aurocs(one: _Side, other: _Side, track: Track, *, only: Collection[str] = ()) -> Iterator[_Test]:
    """Every OOD set and score, then the means; or some of these alone."""
    scores = [
        {metric.variant: None for metric in side.document.metrics if metric.name == "auroc"} for side in (one, other)
    ]
    ood = {source.name: source for source in track.ood}
    for name in dict.fromkeys(metric.source for metric in one.document.metrics if metric.name == "auroc"):
        for score in scores[0] if not only or name in only else ():
            sets, theirs = (get(side.document, f"{name}/{score}/auroc").n.keys() - {"test"} for side in (one, other))
            if score in scores[1] and sets and sets == theirs:  # a mean over other sets is another number
                order = [*ood, *sorted(sets - ood.keys())]
                sources = [ood.get(each) or Source(each, "ood", 0, "") for each in order if each in sets]
                yield from _auroc(one, other, name, sources, score)


def _auroc(one: _Side, other: _Side, name: str, sources: Sequence[Source], score: str) -> Iterator[_Test]:
    """One score on one set, or its mean over several, on the examples of both; nothing if one side lacks it."""
    sizes = [get(side.document, f"{name}/{score}/auroc").n for side in (one, other)]
    n = {source: min(size[source] for size in sizes) for source in sizes[0].keys() & sizes[1].keys()}
    reference, candidate = (side.column("test", score, n.get("test")) for side in (one, other))
    if reference is None or candidate is None:
        return
    pairs = []
    for source in sources:
        old, new = (side.column(source.name, score, n.get(source.name)) for side in (one, other))
        if old is None or new is None or source.base == "test":  # the test supposes independent sets
            return
        pairs.append((new, old, source.base))
    estimate, p = paired_auroc.mean_auroc_difference(pairs, candidate, reference)
    titles = {name: entry.title for name, entry in SCORES.items()}
    words, kind = [name, titles.get(score, score)], Kind("auroc", "higher")
    yield _test(one, other, words, f"{name}/{score}/auroc", kind, estimate, p, len(candidate))


def _test(
    one: _Side, other: _Side, words: list[str], metric: str, kind: Kind, estimate: Estimate, p: float, n: int
) -> _Test:
    values = get(one.document, metric), get(other.document, metric)
    difference = kind.of(estimate, source=words[0], n={"test": n}, p=p)
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
