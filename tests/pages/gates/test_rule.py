"""The rule of a gate: what it judges, by which bars; and which of the three comparisons two results ask for."""

from dataclasses import replace
from pathlib import Path

import pytest

from jembench.metrics.paired import holm
from jembench.pages.gates.rule import PLAIN, Rule, tolerances
from jembench.pages.gates.spread import of_golden, together
from jembench.pages.gates.verdict import GateVerdict, judge, kind_of
from jembench.pages.pairs.differences import difference
from jembench.pages.pairs.side import Side
from jembench.pages.summary import headlines
from jembench.store.results import ResultDocument, SourceFacts, read_result
from jembench.types import UserError
from jembench.zoo import baselines


def golden(name: str, place: str = "golden") -> Side:
    """A shipped golden result; only documents are shared among tests, so that one may change its sources."""
    folder = baselines.folder("digits") / name / place
    return Side(name, read_result(folder), folder)


def changed(side: Side, **changes: object) -> Side:
    """The same examples under another document."""
    return Side(side.label, side.document.model_copy(update=changes), side.folder)


@pytest.fixture(scope="module")
def jem() -> Side:
    return golden("jem")


@pytest.fixture(scope="module")
def softmax() -> Side:
    return golden("softmax")


def ids(verdict: GateVerdict) -> set[str]:
    return {row.id for row in verdict.rows}


def gated(document: ResultDocument) -> set[str]:
    """The metrics with a value, a better direction and a tolerance."""
    return {
        metric.id
        for metric in document.metrics
        if metric.tolerance is not None and metric.value is not None and metric.better != "neither"
    }


def test_of_the_same_weights_all_metrics_are_judged_else_the_headlines(jem: Side, softmax: Side) -> None:
    first = {metric.id for _, metric in headlines(jem.document)}
    assert ids(judge(jem, jem)) == gated(jem.document)
    assert ids(judge(softmax, jem)) == first & gated(jem.document)
    assert ids(judge(changed(jem, seed=1), jem)) == first & gated(jem.document)


def test_metrics_are_named_by_id_by_pattern_or_by_the_two_words(jem: Side, softmax: Side) -> None:
    for names, expected in (
        (("test/accuracy",), {"test/accuracy"}),
        (
            ("test/accuracy", "mean/max_p?/auroc"),
            {"test/accuracy", "mean/max_py/auroc"},
        ),
        (("headlines", "near/mass/auroc"), {metric.id for _, metric in headlines(jem.document)} | {"near/mass/auroc"}),
    ):
        assert ids(judge(softmax, jem, Rule(metrics=names))) == expected & gated(jem.document)
    assert ids(judge(jem, jem, Rule(metrics=("all",)))) == gated(jem.document)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(metrics=("test/acuracy",)), "unknown metric of the golden result 'test/acuracy'; did you mean"),
        (Rule(metrics=("x/*",)), "unknown metric of the golden result"),
        (Rule(tolerances={"test/acuracy": 0.1}), "did you mean 'test/accuracy'"),
        (
            Rule(metrics=("chain/effective_share",)),
            "has no tolerance: give one, --tolerance chain/effective_share=VALUE",
        ),
        (Rule(metrics=("test/raw/brier_uncertainty",)), "has no better direction"),
    ],
)
def test_what_cannot_be_judged_is_refused(rule: Rule, words: str, jem: Side) -> None:
    with pytest.raises(UserError) as error:
        judge(jem, jem, rule)
    assert words in str(error.value)


def test_values_that_are_none_are_refused() -> None:
    for wrong in ({"alpha": 0.0}, {"alpha": 1.0}, {"tolerances": {"a": -1.0}}, {"tolerances": {"a": float("nan")}}):
        with pytest.raises(UserError):
            Rule(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="goes with --retrained"):
        Rule(seeds=(Path("seeds.json"),))
    assert tolerances(["test/accuracy=.01", "*=1"]) == {"test/accuracy": 0.01, "*": 1.0}
    for word in ("test/accuracy", "=1", "test/accuracy=much", ""):
        with pytest.raises(UserError, match="takes METRIC=VALUE"):
            tolerances([word])


def test_the_last_tolerance_that_fits_holds(jem: Side, softmax: Side) -> None:
    rule = Rule(metrics=("test/accuracy",), tolerances={"test/*": 0.0, "*": 0.5, "test/accuracy": 0.25})
    (row,) = judge(softmax, jem, rule).rows
    assert row.tolerance == 0.25


def test_a_metric_fails_only_beyond_its_tolerance_and_significantly(jem: Side, softmax: Side) -> None:
    """Each of the four corners, of the same difference."""
    found = {row.id: row for row in judge(softmax, jem).rows}
    drop = found["mean/mass/auroc"]
    assert drop.outcome == "worse"
    assert drop.p is not None
    wide = Rule(tolerances={"*": 1.0})
    assert judge(softmax, jem, replace(wide, metrics=("mean/mass/auroc",))).rows[0].outcome == "unchanged"
    (slight,) = judge(softmax, jem, Rule(metrics=("test/accuracy",))).rows
    assert slight.difference is not None
    assert slight.loss > 0
    unsure = Rule(metrics=("test/accuracy",), tolerances={"*": 0.0}, alpha=min(0.999, (slight.p or 1) * 0.99))
    assert judge(softmax, jem, unsure)
    if slight.p is not None and slight.p < 0.99:
        assert not judge(softmax, jem, replace(unsure, alpha=slight.p * 1.001))


def test_p_values_are_those_of_the_paired_tests_by_holm(jem: Side, softmax: Side) -> None:
    rows = [row for row in judge(softmax, jem).rows if row.p is not None]
    raw = []
    for row in rows:
        found = difference(jem, softmax, row.id)
        assert found is not None
        assert found.p is not None
        raw.append(found.p)
    assert [row.p for row in rows] == holm(raw)


def test_without_a_test_a_metric_is_reported_and_fails_only_by_name(jem: Side, softmax: Side) -> None:
    """severity-3/accuracy is of the test images and has no interval; the plain classifier has lost .3 of it."""
    found = {row.id: row for row in judge(softmax, jem).rows}
    assert found["severity-3/accuracy"].outcome == "not tested"
    named = judge(softmax, jem, Rule(metrics=("severity-3/accuracy",)))
    assert [(row.outcome, row.reason) for row in named.worse] == [("worse", "no test")]
    patterned = judge(softmax, jem, Rule(metrics=("severity-3/acc*",)))
    assert [row.outcome for row in patterned.rows] == ["not tested"]


def test_a_value_that_went_missing_fails_in_every_comparison(jem: Side, softmax: Side) -> None:
    for fresh, rule in ((jem, PLAIN), (softmax, PLAIN), (softmax, Rule(retrained=True))):
        kept = [metric for metric in fresh.document.metrics if metric.id != "test/accuracy"]
        verdict = judge(changed(fresh, metrics=kept), jem, rule)
        assert "test/accuracy" in {row.id for row in verdict.worse if row.outcome == "missing"}


def test_the_three_comparisons(jem: Side, softmax: Side) -> None:
    retrained = Rule(retrained=True)
    assert kind_of(jem.document, jem.document, PLAIN) == "same weights and seed"
    assert kind_of(jem.document, jem.document, retrained) == "same weights and seed"
    assert kind_of(changed(jem, seed=1).document, jem.document, retrained) == "other seed"
    assert kind_of(softmax.document, jem.document, PLAIN) == "other weights"
    assert kind_of(softmax.document, jem.document, retrained) == "retrained"


def noisy(side: Side, seed: int) -> Side:
    """The same result as if its protocol had put noise on the images."""
    sources = {
        name: SourceFacts(sha256=facts.sha256, n=facts.n, noise=0.03)
        for name, facts in side.document.protocol.sources.items()
    }
    return changed(side, protocol=side.document.protocol.model_copy(update={"sources": sources}), seed=seed)


def test_images_with_other_noise_do_not_pair(jem: Side, softmax: Side) -> None:
    """Then only the intervals of the two speak, and no example is read."""
    one, other = noisy(jem, 0), noisy(softmax, 1)
    verdict = judge(Side("x", other.document, Path("nowhere")), Side("y", one.document, Path("nowhere")))
    assert not verdict.paired
    methods = {row.difference.estimate.method for row in verdict.rows if row.difference and row.p is not None}
    assert methods == {"mover"}
    assert judge(noisy(softmax, 0), one).paired


def test_trainings_are_of_one_protocol_and_have_weights_of_their_own(jem: Side, softmax: Side) -> None:
    weights = jem.document.model.model_copy(update={"weights_sha256": "0" * 64})
    seeds = together(jem.document, [jem.document.model_copy(update={"model": weights}), jem.document])
    assert [run.seed for run in seeds.runs] == [0, 1]
    with pytest.raises(UserError, match="differ in metric"):
        together(jem.document, [softmax.document])
    with pytest.raises(UserError, match="at least 2 training seeds"):
        together(jem.document, [jem.document])
    bare = softmax.document.model_copy(
        update={"model": softmax.document.model.model_copy(update={"weights_sha256": None})}
    )
    with pytest.raises(UserError, match="without a weights file"):
        together(jem.document, [bare])


def test_trainings_are_found_beside_the_golden_result(jem: Side, softmax: Side, tmp_path: Path) -> None:
    folder = jem.folder.parent
    for places, named in (([jem.folder, folder], []), ([], [folder]), ([], [folder / "seeds.json"])):
        assert len(of_golden(jem.document, places, named, []).runs) == 5
    with pytest.raises(UserError, match=r"needs the spread of training seeds.*--seeds RESULT"):
        of_golden(jem.document, [tmp_path], [], [])
    with pytest.raises(UserError, match="have no run with its weights"):
        of_golden(softmax.document.model_copy(update={"protocol_hash": jem.document.protocol_hash}), [folder], [], [])
