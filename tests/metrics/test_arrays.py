"""Every malformed input is refused with one line, and nothing well-formed is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jembench.metrics import arrays
from jembench.metrics.aupr import aupr_estimate
from jembench.metrics.auroc import auroc, mean_auroc_estimate
from jembench.metrics.calibration import classwise_ece, ece
from jembench.metrics.classification import nll
from jembench.metrics.fpr import fpr_estimate
from jembench.metrics.intervals import mean, wilson
from jembench.metrics.temperature import fit_temperature

NAN = float("nan")
RNG = np.random.default_rng(0)
BAD: list[tuple[str, Callable[[], Any]]] = [
    ("empty", lambda: auroc([], [1.0])),
    ("empty negative", lambda: aupr_estimate([1.0], []).value),
    ("nan", lambda: fpr_estimate([NAN], [1.0]).value),
    ("matrix for vector", lambda: auroc([[1.0]], [1.0])),
    ("tpr 0", lambda: fpr_estimate([1.0], [1.0], tpr=0.0).value),
    ("no sets", lambda: mean_auroc_estimate([], [1.0])),
    ("confidence > 1", lambda: ece([1.1], [1])),
    ("correct 2", lambda: ece([0.5], [2])),
    ("lengths", lambda: ece([0.5, 0.5], [1])),
    ("bins", lambda: ece([0.5], [1], bins=0)),
    ("rows", lambda: classwise_ece([[0.5, 0.2]], [0])),
    ("label range", lambda: nll([[0.0, 1.0]], [2])),
    ("label negative", lambda: nll([[0.0, 1.0]], [-1])),
    ("label float", lambda: nll([[0.0, 1.0]], [0.5])),
    ("label length", lambda: fit_temperature([[0.0, 1.0]], [0, 1])),
    ("logits inf", lambda: nll([[np.inf, 1.0]], [0])),
    ("logits vector", lambda: nll([0.0, 1.0], [0])),
    ("values inf", lambda: mean([np.inf], rng=RNG)),
    ("successes", lambda: wilson(3, 2)),
]


@pytest.mark.parametrize(("what", "call"), BAD, ids=[name for name, _ in BAD])
def test_malformed_inputs_are_refused(what: str, call: Callable[[], Any]) -> None:
    """A ValueError of one line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        call()


def test_rounding_of_a_float32_softmax_is_forgiven() -> None:
    """1.0000001 counts as 1."""
    assert arrays.fractions(np.array([1.0000001], dtype=np.float32), "p")[0] == 1.0
