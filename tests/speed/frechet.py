"""Arithmetic of the Frechet distance against torch-fidelity's: python tests/speed/frechet.py [DIMENSIONS]

Bar: from two (mean, covariance) of 2,048 dimensions to the distance in <= 0.35 x the time of torch-fidelity's
`fid_statistics_to_metric`, with the same value to 1e-4. Covariances are those of 5,000 examples of deviations that
fall as rank^-p for several p. The two in turn in one run, with the threads that OMP_NUM_THREADS allows; each round's
ratio is printed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
from torch_fidelity.metric_fid import fid_statistics_to_metric

from jembench.metrics.frechet import Moments, frechet, moments

DIMENSIONS = 2048
EXAMPLES = 5000
ROUNDS = 3
BAR = 0.35


def features(rng: np.random.Generator, dimensions: int, power: float, shift: float) -> np.ndarray:
    mixing = np.random.default_rng(1).normal(size=(dimensions, dimensions)) / dimensions**0.5
    return (rng.normal(shift, 1, (EXAMPLES, dimensions)) * (1.0 + np.arange(dimensions)) ** -power) @ mixing


def seconds(work: Callable[[], float]) -> tuple[float, float]:
    started = time.perf_counter()
    value = work()
    return time.perf_counter() - started, value


def statistics(m: Moments) -> dict[str, np.ndarray]:
    return {"mu": m.mean, "sigma": m.covariance}


def theirs(a: Moments, b: Moments) -> float:
    return float(next(iter(fid_statistics_to_metric(statistics(a), statistics(b), False).values())))


def compare(dimensions: int, power: float) -> None:
    rng = np.random.default_rng(0)
    a, b = (moments(features(rng, dimensions, power, shift)) for shift in (0.0, 0.1))
    ratios, pair = [], (frechet, theirs)
    for number in range(ROUNDS):
        order = (0, 1) if number % 2 == 0 else (1, 0)  # so that a drift of the machine favours neither
        found = {which: seconds(partial(pair[which], a, b)) for which in order}
        ratios.append(found[0][0] / found[1][0])
    difference = abs(found[0][1] / found[1][1] - 1)
    each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    print(
        f"{dimensions} dimensions, power {power}: ratio {median(ratios):.3f} ({each}; bar {BAR}); last "
        f"{found[0][0]:.2f} s against {found[1][0]:.2f} s; relative difference {difference:.0e}"
    )


def main() -> None:
    dimensions = int(sys.argv[1]) if len(sys.argv) > 1 else DIMENSIONS
    for power in (0.0, 0.5, 1.0):
        compare(dimensions, power)


if __name__ == "__main__":
    main()
