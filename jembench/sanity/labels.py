"""Checks of a model against labels: told right by more than chance, in the track's order of the classes."""

from __future__ import annotations

from math import comb

import numpy as np

from jembench.sanity.subject import Subject

LEVEL = 1e-3
CONFUSED = 0.5  # accuracy above which no other order of the classes is looked for


def ordered(subject: Subject) -> str:
    """No other order of the classes explains the predictions.

    The order is the assignment that explains half of the images best; the other half judges it.
    """
    if subject.accuracy > CONFUSED or subject.classes > len(subject.labels) // 4:
        return ""
    from scipy.optimize import linear_sum_assignment

    predictions, labels = subject.logits.argmax(1).cpu().numpy(), subject.labels.cpu().numpy()
    half = np.arange(len(labels)) % 2 == 0
    table = np.zeros((subject.classes, subject.classes))
    np.add.at(table, (predictions[half], labels[half]), 1)
    _, order = linear_sum_assignment(-table)
    permuted = order[predictions[~half]] == labels[~half]
    plain = predictions[~half] == labels[~half]
    if permuted.mean() < CONFUSED or permuted.mean() < 2 * plain.mean():
        return ""
    words = ", ".join(map(str, order[:20])) + (", …" if len(order) > 20 else "")
    return (
        f"accuracy {plain.mean():.2f} becomes {permuted.mean():.2f} with its classes in another order: they seem to "
        f"be the track's classes {words}; put them in the track's order"
    )


def better_than_chance(subject: Subject) -> str:
    """More images are told right than by chance, by an exact binomial test."""
    n, right, chance = len(subject.labels), int(subject.right.sum()), 1 / subject.classes
    p = sum(comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(right, n + 1))
    if p < LEVEL:
        return ""
    return (
        f"accuracy {right / n:.2f} of {n} images is that of chance: are the weights loaded, and are they of this track?"
    )
