"""Does a calibration term in training pay? python tests/experiments/calibration.py --work DIR

Trains the `softmax` recipe of digits with three weights of the soft-binned calibration error, five seeds each, and
prints test NLL, debiased squared ECE and accuracy, and their paired differences to weight 0 (mean, and Student's 95 %
interval over seeds).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from variants import trained, variant

from jembench import data
from jembench.metrics.classification import confidence, nll, prediction
from jembench.metrics.debiased import debiased_squared_ece
from jembench.zoo import baselines, catalogue
from jembench.zoo.weights import load_weights

WEIGHTS = (0.0, 0.3, 1.0)
SEEDS = 5


def measured(weight: float, seed: int, work: Path) -> list[float]:
    recipe = variant("softmax", {"objective": {"soft_ece": weight}, "training": {"seed": seed}})
    folder = work / f"calibration-{weight}-{seed}"
    trained(recipe, folder)
    model = catalogue.build(recipe, data.track("digits")).eval()
    load_weights(model, folder / baselines.WEIGHTS)
    test = data.load("digits", "test")
    with torch.no_grad():
        logits = model.logits(torch.from_numpy(test.pixels())).numpy()
    correct = prediction(logits) == test.labels
    squared = debiased_squared_ece(confidence(logits), correct).value
    assert squared is not None
    return [float(nll(logits, test.labels).mean()), squared, float(correct.mean())]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    found = {weight: np.array([measured(weight, seed, work) for seed in range(SEEDS)]) for weight in WEIGHTS}
    print("| weight | NLL | squared ECE | accuracy |\n| --- | ---: | ---: | ---: |")
    for weight, values in found.items():
        print(f"| {weight} | " + " | ".join(f"{value:.4f}" for value in values.mean(0)) + " |")
        if weight > 0:
            difference = values - found[0.0]
            half = stats.t.ppf(0.975, SEEDS - 1) * difference.std(0, ddof=1) / SEEDS**0.5
            cells = [f"{mean:+.4f} ± {end:.4f}" for mean, end in zip(difference.mean(0), half, strict=True)]
            print("| difference to 0 | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
