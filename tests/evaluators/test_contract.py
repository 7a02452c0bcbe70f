"""What passes between measurement and evaluator: descriptions, ids, gathered records."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jembench.evaluators import EVALUATORS, evaluator
from jembench.evaluators.contract import Metric, RecordBatch, describe, gather, metric
from jembench.metrics.estimate import Estimate


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
    made = metric(Estimate(0.5, 0.25, None, "wilson"), "auroc", source="a", n={"a": 3}, better="higher", variant="mass")
    assert (made.value, made.low, made.high, made.method) == (0.5, 0.25, None, "wilson")
    assert (made.id, made.n, made.better, made.reason) == ("a/mass/auroc", {"a": 3}, "higher", None)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 4)), max_size=8))
def test_gather_puts_chunks_together_in_their_order(sizes: list[tuple[str, int]]) -> None:
    """Any cut into chunks, of any interleaving of sources, gives each source's records in order."""
    counters = {"a": 0, "b": 0}
    batches = []
    for source, size in sizes:
        values = np.arange(counters[source], counters[source] + size)
        counters[source] += size
        batches.append(RecordBatch("m", source, {"x": values, "y": values[:, None] * [1, 2], "other": values}))
    found = gather(iter(batches), "x", "y", "absent")
    assert set(found) == {source for source, _ in sizes}
    for source, columns in found.items():
        assert set(columns) == {"x", "y"}
        np.testing.assert_array_equal(columns["x"], np.arange(counters[source]))
        np.testing.assert_array_equal(columns["y"][:, 1], 2 * columns["x"])


def test_evaluators_are_registered_under_their_own_names() -> None:
    assert {name: evaluator(name).name for name in EVALUATORS} == {name: name for name in EVALUATORS}
