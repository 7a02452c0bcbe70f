"""Differences follow from the examples, and agree with the numbers of the two results."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jembench.metrics.metric import Metric
from jembench.metrics.paired import two_sided
from jembench.pages.pairs.differences import difference
from jembench.pages.pairs.fit import excess, misfit
from jembench.pages.pairs.side import Side
from jembench.store.results import read_result
from jembench.zoo import baselines

PAIRED = {"newcombe", "bootstrap-t", "randomisation", "delong-paired", "concordant"}


def side(name: str, place: str = "golden") -> Side:
    folder = baselines.folder("digits") / name / place
    return Side(name, read_result(folder), folder)


@pytest.mark.parametrize("pair", [("jem", "softmax"), ("softmax", "jempp")])
def test_what_is_tested_on_the_examples_is_the_difference_of_the_metrics(pair: tuple[str, str]) -> None:
    one, other = map(side, pair)
    names = [metric.id for metric in one.document.metrics if metric.name in ("accuracy", "nll", "ece15", "brier")]
    names += ["mean/log_px/auroc", "textures/mass/auroc", "interp/max_py/auroc", "mean/max_logit/auroc"]
    methods = set()
    for name in names:
        found = difference(one, other, name)
        if found is not None and found.p is not None:
            assert found.estimate.value == pytest.approx(found.after.value - found.before.value, abs=1e-9), name
            methods.add(found.estimate.method)
    assert {"newcombe", "bootstrap-t", "randomisation", "delong-paired"} <= methods


def test_robust_accuracy_is_tested_image_by_image() -> None:
    one, other = side("jem", "robustness/plain"), side("softmax-adv", "robustness/plain")
    tested = 0
    for metric in one.document.metrics:
        if metric.name == "robust_accuracy" and metric.value is not None:
            found = difference(one, other, metric.id)
            assert found is not None
            assert found.estimate.value == pytest.approx(found.after.value - found.before.value, abs=1e-9), metric.id
            if found.estimate.method == "newcombe":
                tested += 1
                first, second = (each.column("test", metric.variant.replace("clean", "null")) for each in (one, other))
                if first is not None and second is not None:
                    won, lost = int(((second == 1) & (first == 0)).sum()), int(((second == 0) & (first == 1)).sum())
                    assert found.p == two_sided(won, lost)
    assert tested > 20


def test_samples_are_tested_as_independent_and_bands_not_at_all() -> None:
    one, other = side("jem"), side("jempp")
    found = difference(one, other, "fresh/digits-ref/fd")
    assert found is not None
    assert (found.estimate.method, found.p is not None and found.p < 1e-6) == ("mover", True)
    assert found.loss < 0
    assert found.error == pytest.approx((found.estimate.high - found.estimate.value) / 1.959964, rel=1e-5)
    band = difference(one, other, "test/raw/mce15")
    assert band is not None
    assert (band.p, band.error) == (None, None)


def test_a_model_does_not_differ_from_itself() -> None:
    one = side("jem")
    for metric in one.document.metrics[:40]:
        found = difference(one, one, metric.id)
        if found is not None:
            assert found.estimate.value == 0
            assert found.p in (None, 1.0)


def test_there_is_no_difference_of_what_one_side_lacks() -> None:
    one, other = side("jem"), side("softmax")
    assert difference(one, other, "fresh/digits-ref/fd") is None
    assert difference(one, other, "no/such/metric") is None


def test_examples_of_other_images_have_no_test() -> None:
    """A side with fewer examples than its document says cannot be paired."""
    one, other = side("jem"), side("softmax")
    cut = {name: {key: column[:100] for key, column in part.items()} for name, part in other.sources.items()}
    other.__dict__["sources"] = cut
    for name in ("test/accuracy", "test/raw/nll", "test/raw/ece15"):
        found = difference(one, other, name)
        assert found is not None
        assert found.estimate.method not in PAIRED, name


def test_unknown_scores_of_some_images_have_no_test() -> None:
    one, other = side("jem"), side("softmax")
    holes = other.sources["test"]["log_px"].copy()
    holes[3] = np.nan
    other.sources["test"]["log_px"] = holes
    found = difference(one, other, "mean/log_px/auroc")
    assert found is not None
    assert found.p is None


def test_a_part_is_no_misfit_and_the_whole_is_no_part(tmp_path: Path) -> None:
    whole = side("jem").document
    part = whole.protocol.model_copy(update={"evaluators": whole.protocol.evaluators[:2]})
    assert excess(part, whole.protocol) is None
    assert "is not among the others'" in str(excess(whole.protocol, part))
    other = whole.protocol.model_copy(update={"track": "gauss-v1"})
    assert excess(other, whole.protocol) == "track is 'gauss-v1', not 'digits-v1'"
    facts = whole.protocol.sources["interp"].model_copy(update={"sha256": "0" * 64})
    bytes_ = whole.protocol.model_copy(update={"sources": {**whole.protocol.sources, "interp": facts}})
    assert str(excess(bytes_, whole.protocol)).startswith("sha256 of 'interp' is 0000")
    assert misfit(whole, whole) is None
    assert misfit(whole, whole.model_copy(update={"limit": 30})) == "limit is None and 30"


def test_the_error_is_that_of_the_arm_towards_zero() -> None:
    one, other = side("jem"), side("softmax")
    found = difference(one, other, "mean/log_px/auroc")
    assert found is not None
    assert found.estimate.value < 0
    assert found.error == pytest.approx((found.estimate.high - found.estimate.value) / 1.959964, rel=1e-5)
    better = replace(found, after=Metric("auroc", "mean", better="higher", value=0.9))
    assert better.loss == -found.estimate.value
