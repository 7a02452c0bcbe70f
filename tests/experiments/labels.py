"""What do unlabelled images buy? python tests/experiments/labels.py

The paired differences of `jem-ssl` and `softmax-10` over their training seeds, which draw the same labels: mean, and
Student's 95 % interval over the draws. From the ``seeds.json`` of the two baselines.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from jembench.pages.seeds import read_seeds
from jembench.zoo import baselines

METRICS = ("test/accuracy", "test/raw/nll", "mean/log_px/auroc", "mean/max_py/auroc", "mean/mass/auroc")


def values(name: str, metric: str) -> dict[int, float]:
    """Seed -> value of a metric."""
    seeds = read_seeds(baselines.folder("digits") / name)
    assert seeds is not None, f"{name} has no seeds.json"
    found = {run.seed: run.metrics[metric][0] for run in seeds.runs}
    assert None not in found.values(), f"{name} lacks {metric}"
    return {seed: float(value) for seed, value in found.items() if value is not None}


def main() -> None:
    print("| metric | softmax-10 | jem-ssl | paired difference |\n| --- | ---: | ---: | ---: |")
    for metric in METRICS:
        twin, model = values("softmax-10", metric), values("jem-ssl", metric)
        difference = np.array([model[seed] - twin[seed] for seed in sorted(twin)])
        half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / len(difference) ** 0.5
        means = [np.mean(list(found.values())) for found in (twin, model)]
        print(f"| {metric} | {means[0]:.3f} | {means[1]:.3f} | {difference.mean():+.3f} ± {half:.3f} |")


if __name__ == "__main__":
    main()
