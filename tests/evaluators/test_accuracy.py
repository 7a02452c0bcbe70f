"""Evaluator ``accuracy``: hand-made records, and the oracle's Bayes error."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jembench import data
from jembench.api import Result
from jembench.data import gauss
from jembench.evaluators.accuracy import Accuracy
from jembench.measurements.contract import RecordBatch
from jembench.measurements.logits import Logits

TRACK = data.track("gauss")


def records(predicted: list[int], labels: list[int], cuts: tuple[int, ...] = ()) -> list[RecordBatch]:
    logits = np.eye(10, dtype=np.float32)[predicted]
    parts = zip(np.split(logits, cuts), np.split(np.array(labels), cuts), strict=True)
    return [RecordBatch(Logits(), "test", {"logits": f, "label": y}) for f, y in parts]


def test_three_of_four() -> None:
    (found,) = Accuracy().metrics(records([1, 2, 3, 4], [1, 2, 3, 5]), TRACK)
    assert (found.id, found.value, found.n, found.better) == ("test/accuracy", 0.75, {"test": 4}, "higher")
    assert 0 < found.low < 0.75 < found.high < 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30), st.data())
def test_chunk_boundaries_do_not_matter(pairs: list[tuple[int, int]], draw: st.DataObject) -> None:
    predicted, labels = map(list, zip(*pairs, strict=True))
    cut = draw.draw(st.integers(1, len(pairs) - 1))
    whole = Accuracy().metrics(records(predicted, labels), TRACK)
    assert Accuracy().metrics(records(predicted, labels, (cut,)), TRACK) == whole


def test_without_records_the_value_is_missing_and_says_why() -> None:
    (found,) = Accuracy().metrics([], TRACK)
    assert found.value is None
    assert found.reason is not None
    assert "logits" in found.reason
    assert found.better == "higher"


def test_its_scalars_are_its_columns_and_give_the_metric() -> None:
    (batch,) = records([1, 2, 3, 4], [1, 2, 3, 5])
    scalars = Accuracy().scalars(batch)
    assert tuple(scalars) == Accuracy.columns
    (found,) = Accuracy().metrics([batch], TRACK)
    assert (scalars["label"] == scalars["prediction"]).mean() == found.value


def test_the_oracles_accuracy_is_bayes(oracle: Result) -> None:
    found = oracle.metrics["test/accuracy"]
    assert found.low <= gauss.TRUTH["test/accuracy"] <= found.high
