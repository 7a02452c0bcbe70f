"""What passes between measurement and evaluator: descriptions, ids, gathered records."""

from collections.abc import Iterable
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench import data
from jembench.choices.evaluators import evaluators
from jembench.evaluators import EVALUATORS
from jembench.evaluators.contract import scalars
from jembench.measurements.contract import UNDESCRIBED, Need, RecordBatch, by_need, describe, gather, joined
from jembench.measurements.logits import Logits
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Kind, Metric
from jembench.zoo import catalogue
from jembench.zoo.references import parse


@dataclass(frozen=True)
class Noisy:
    """A measurement with a setting."""

    sigma: float
    name: ClassVar[str] = "noisy"
    version: ClassVar[int] = 3


def test_a_description_is_name_version_and_fields() -> None:
    assert describe(Noisy(0.5)) == {"name": "noisy", "version": 3, "sigma": 0.5}
    assert describe(Noisy(0.5)) != describe(Noisy(0.25))


def test_an_id_has_no_empty_parts() -> None:
    assert Metric("auroc", "textures", "mass").id == "textures/mass/auroc"
    assert Metric("accuracy", "test").id == "test/accuracy"


def test_a_metric_keeps_all_of_its_estimate() -> None:
    kind = Kind("auroc", "higher", 0.005)
    made = kind.of(Estimate(0.5, 0.25, None, "wilson"), source="a", n={"a": 3}, variant="mass")
    assert (made.value, made.low, made.high, made.method) == (0.5, 0.25, None, "wilson")
    assert (made.id, made.n, made.better, made.reason) == ("a/mass/auroc", {"a": 3}, "higher", None)
    assert made.tolerance == 0.005


def test_a_missing_metric_keeps_all_but_the_value() -> None:
    """A direction and a tolerance, or no gate could tell that a number went missing."""
    made = Kind("auroc", "higher", 0.005).missing("no density", source="a", variant="mass")
    assert (made.id, made.value, made.reason) == ("a/mass/auroc", None, "no density")
    assert (made.better, made.tolerance, made.n) == ("higher", 0.005, {})


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 4)), max_size=8))
def test_gather_puts_chunks_together_in_their_order(sizes: list[tuple[str, int]]) -> None:
    """Any cut into chunks, of any interleaving of sources, gives each source's records in order."""
    counters = {"a": 0, "b": 0}
    batches = []
    for source, size in sizes:
        values = np.arange(counters[source], counters[source] + size)
        counters[source] += size
        batches.append(RecordBatch(Logits(), source, {"x": values, "y": values[:, None] * [1, 2], "other": values}))
    found = gather(iter(batches), "x", "y", "absent")
    assert set(found) == {source for source, _ in sizes}
    for source, columns in found.items():
        assert set(columns) == {"x", "y"}
        np.testing.assert_array_equal(columns["x"], np.arange(counters[source]))
        np.testing.assert_array_equal(columns["y"][:, 1], 2 * columns["x"])


def test_gather_refuses_to_mix_two_measurements_in_one_column() -> None:
    """Of other settings is another measurement, whatever its name; other sources and other columns do not meet."""
    low, high = (
        RecordBatch(Noisy(sigma), "a", {"x": np.arange(3), f"only {sigma}": np.arange(3)}) for sigma in (0.25, 0.5)
    )
    with pytest.raises(ValueError, match=r"x of a comes from Noisy\(sigma=0\.25\) and from Noisy\(sigma=0\.5\)"):
        gather([low, high], "x")
    assert set(gather([low, high], "only 0.25", "only 0.5")["a"]) == {"only 0.25", "only 0.5"}
    elsewhere = RecordBatch(Noisy(0.5), "b", high.columns)
    assert set(gather([low, elsewhere], "x")) == {"a", "b"}
    same = RecordBatch(Noisy(0.25), "a", low.columns)
    assert gather([low, same], "x")["a"]["x"].tolist() == [0, 1, 2, 0, 1, 2]


def test_evaluators_are_frozen_and_measurements_say_what_they_need() -> None:
    """Both are described by their fields, which must not change after a key was made of them."""
    track = data.track("digits")
    for made in _all():
        with pytest.raises(FrozenInstanceError):
            made.name = "another"  # type: ignore[misc]
        for need in made.needs(track):
            assert isinstance(need.measurement.requires, frozenset)
            assert isinstance(need.measurement.finite, frozenset)
            assert need.measurement.requires <= {"classifier", "density", "sampler", "chain", "features"}


def test_evaluators_are_registered_under_their_own_names() -> None:
    assert [kind.name for kind in EVALUATORS.values()] == list(EVALUATORS)
    assert {made.name for made in _all()} == set(EVALUATORS) - {"detectors", "scores", "corruptions"}


def _all() -> list[Any]:
    """Every evaluator, those with attacks as a model meets them."""
    spec = catalogue.resolve(parse("softmax"), track="digits")
    made = (evaluators(suite, spec, data.track("digits")) for suite in ("all", "robustness", "distance"))
    return [item for items in made for item in items]


def test_scalars_that_need_other_batches_are_asked_of_the_evaluator() -> None:
    """`scalars` takes each batch alone, or for an evaluator with `joined` all batches at hand."""

    class Alone:
        columns = ("twice",)

        def scalars(self, batch: RecordBatch) -> dict[str, np.ndarray]:
            return {"twice": 2 * batch.columns["x"]}

    class Whole(Alone):
        def joined(self, batches: Iterable[RecordBatch]) -> dict[str, dict[str, np.ndarray]]:
            x = np.concatenate([batch.columns["x"] for batch in batches])
            return {"test": {"share": x / x.sum()}}

    batches = [RecordBatch(Logits(), "test", {"x": np.array(x)}) for x in ([1.0, 2.0], [5.0])]
    assert scalars(Alone(), batches)["test"]["twice"].tolist() == [2, 4, 10]  # type: ignore[arg-type]
    assert scalars(Whole(), batches)["test"]["share"].tolist() == [0.125, 0.25, 0.625]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Outer:
    """A measurement that is about another, and about who knows what."""

    inner: Logits
    parts: tuple[Noisy, ...] = ()
    who: str = field(default="me", metadata=UNDESCRIBED)
    name: ClassVar[str] = "outer"
    version: ClassVar[int] = 2

    def columns(self, *_: object) -> dict[str, np.ndarray]:
        return {}


def test_a_measurement_within_another_is_described_with_its_name_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a corrected one makes another key; a plain dataclass is its fields, and who is measured is left out."""
    before = describe(Outer(Logits(), (Noisy(0.5),)))
    assert before == {
        "name": "outer",
        "version": 2,
        "inner": {"name": "logits", "version": Logits.version},
        "parts": [{"sigma": 0.5}],
    }
    monkeypatch.setattr(Logits, "version", Logits.version + 1)
    assert describe(Outer(Logits(), (Noisy(0.5),))) != before
    assert describe(Outer(Logits(), who="you")) == describe(Outer(Logits()))


def test_records_are_joined_by_need_and_by_measurement() -> None:
    """Of one measurement on one source, those that build on different records are two needs and one measurement."""
    first, second = Need(Noisy(0.5), "a"), Need(Noisy(0.5), "a", given=(Need(Logits(), "a"),))
    other = Need(Noisy(0.25), "b")
    batches = [
        RecordBatch(need.measurement, need.source, {"x": np.array(x), "v": np.array(x)[:, None] * [1, 2]}, need)
        for need, x in ((first, [1, 2]), (other, [9]), (second, [5]), (first, [3]))
    ]
    found = by_need(iter(batches))
    assert list(found) == [first, other, second]
    assert found[first]["x"].tolist() == [1, 2, 3]
    assert found[second]["v"].tolist() == [[5, 10]]
    together = joined(iter(batches))
    assert together[Noisy(0.5), "a"]["x"].tolist() == [1, 2, 5, 3]
    assert together[Noisy(0.25), "b"]["x"].tolist() == [9]
    assert set(together) == {(Noisy(0.5), "a"), (Noisy(0.25), "b")}
