"""AUROC with its intervals on many scores: python tests/speed/auroc.py

Bar: AUROC, FPR95 and both AUPR with their intervals of 100,000 scores, and the paired difference of two scores on them,
in at most 1 s each with one thread. The median of the rounds is printed with the fastest and the slowest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from jembench.metrics.auroc import auroc_estimate
from jembench.metrics.detection import detection_estimates
from jembench.metrics.paired_auroc import mean_auroc_difference

SCORES = 100_000
BAR = 1.0


def rounds(name: str, work: Callable[[], object], count: int = 7) -> None:
    found = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    verdict = "ok" if median(found) <= BAR else f"over the bar of {BAR} s"
    print(f"{name:40} {median(found):.3f} s ({min(found):.3f}-{max(found):.3f})  {verdict}")


def main() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, SCORES // 2), rng.normal(0, 1, SCORES // 2)
    x2, y2 = x + rng.normal(0, 1, x.size), y + rng.normal(0, 1, y.size)
    rounds("AUROC, interval", lambda: auroc_estimate(x, y))
    rounds("AUROC, FPR95, both AUPR, intervals", lambda: detection_estimates(x, y))
    rounds("paired difference, interval, p", lambda: mean_auroc_difference([(y, y2, None)], x, x2))


if __name__ == "__main__":
    main()
