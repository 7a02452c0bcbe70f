"""What values a metric can have, by its name: a number outside is no measurement."""

from __future__ import annotations

import math
from collections.abc import Iterator

from jembench.metrics.metric import Metric

#: Shares and other numbers in [0, 1].
SHARES = frozenset(
    {
        *("accuracy", "robust_accuracy", "one_shot_accuracy", "certified_accuracy", "conditional_accuracy"),
        *("auroc", "clean_auroc", "ood_pushed_auroc", "test_pushed_auroc", "both_pushed_auroc", "refined_auroc"),
        *(
            "shift_auroc",
            "fpr95",
            "aupr_in",
            "aupr_out",
            "ece15",
            "ece20",
            "adaptive_ece15",
            "classwise_ece15",
            "mce15",
        ),
        *("kde_ece", "aurc", "precision", "recall", "coverage", "accuracy_beyond", "effective_share", "reliable"),
        *("claims_held", "reached", "estimated_accuracy", "estimation_error"),
    }
)
RANGES = {
    **dict.fromkeys(SHARES, (0.0, 1.0)),
    **dict.fromkeys(("auroc_gain", "severity_trend", "overconfidence", "gain"), (-1.0, 1.0)),
    **dict.fromkeys(("nll", "density", "median_distance", "queries", "forwards", "gradients"), (0.0, math.inf)),
    "brier": (0.0, 2.0),
    "inception_score": (1.0, math.inf),
}
#: The evaluators whose names of metrics are these; numbers of those of plug-ins may be anything.
OURS = frozenset(
    {
        *("accuracy", "calibration", "shifts", "unlabelled", "ood", "stress", "corruptions", "scores", "detectors"),
        *("generation", "chains", "likelihood", "robustness", "distance"),
    }
)
SLACK = 1e-9  # of rounding
MOST = 10**12  # examples behind a metric


def faults(metric: Metric) -> Iterator[str]:
    """What is not possible in a metric: a value out of its range, an interval without a value, its ends crossed."""
    least, most = RANGES.get(metric.name, (-math.inf, math.inf)) if metric.evaluator in OURS else (-math.inf, math.inf)
    if metric.value is None:
        if metric.low is not None or metric.high is not None:
            yield f"{metric.id} has an interval and no value"
    elif not least - SLACK <= metric.value <= most + SLACK:
        yield f"{metric.id} is {metric.value:.6g}, which lies outside of {least:g} to {most:g}"
    if metric.low is not None and metric.high is not None and metric.low > metric.high:
        yield f"{metric.id} has its low end {metric.low:.6g} above its high end {metric.high:.6g}"
    if not all(0 <= count <= MOST for count in metric.n.values()):
        yield f"{metric.id} is of fewer than 0 examples, or more than there can be"
    if metric.p is not None and not -SLACK <= metric.p <= 1 + SLACK:
        yield f"{metric.id} has a p-value of {metric.p:.6g}"
    if metric.tolerance is not None and metric.tolerance < 0:
        yield f"{metric.id} has a tolerance below 0"
