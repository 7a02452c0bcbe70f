"""The reference: every evaluator has its numbers and what they do not say."""

from jembench.evaluators import EVALUATORS
from jembench.evaluators.limits import LIMITS
from jembench.evaluators.quantities import QUANTITIES
from jembench.pages.reference import metrics


def test_every_evaluator_says_its_limits() -> None:
    assert set(LIMITS) == set(QUANTITIES) == set(EVALUATORS)
    page = metrics()
    for name, words in LIMITS.items():
        assert words.endswith(".")
        assert words in page.partition(f"## {name}\n")[2].partition("\n## ")[0]
