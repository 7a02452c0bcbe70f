"""Checks of what a model is given: whether it was trained on pixels of another scale or order of colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import comb
from typing import TYPE_CHECKING

from jembench.sanity.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor

LEVEL = 1e-3  # of the exact paired test, for all candidates together
ERRORS = 8  # below as many nothing can be told

#: Mean and deviation of published normalisations, by what they are of and their channels.
PUBLISHED = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "CIFAR-100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "SVHN": ((0.4377, 0.4438, 0.4728), (0.198, 0.201, 0.197)),
    "MNIST": ((0.1307,), (0.3081,)),
}


def scaled(subject: Subject) -> str:
    """No other scale, normalisation or order of colours tells more images right, by McNemar's exact paired test."""
    errors = int((~subject.right).sum())
    if not subject.adjustable or errors < ERRORS or not bool(subject.logits.isfinite().all()):
        return ""
    candidates = list(_candidates(subject))
    best, gain = "", 0.0
    for words, change in candidates:
        f = subject.ask(change(subject.images))
        if not bool(f.isfinite().all()):
            continue
        right = f.argmax(1) == subject.labels
        won, lost = int((right & ~subject.right).sum()), int((~right & subject.right).sum())
        if won - lost > gain * len(right) and _p_value(won, lost) < LEVEL / len(candidates):
            best, gain = (
                f"accuracy {subject.accuracy:.2f} of {len(right)} images becomes {right.float().mean():.2f} {words}",
                (won - lost) / len(right),
            )
    return best


def _candidates(subject: Subject) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """What else the pixels could be, in words that name the option, and the change that makes them so."""
    import torch

    channels = subject.images.shape[1]
    own = _settings(subject)
    if own is not None:
        mean, std = own
        yield "without --mean and --std: the model normalises by itself", lambda x: x * std + mean
        return
    yield "with --range 0..255", lambda x: x * 255
    yield "with --range -1..1", lambda x: x * 2 - 1
    scales = {name: pair for name, pair in PUBLISHED.items() if len(pair[0]) == channels}
    if len(subject.mean) == channels:
        scales["the track"] = (subject.mean, subject.std)
    for name, (centre, spread) in scales.items():
        m, s = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (centre, spread))
        flags = " ".join(
            f"--{flag} {','.join(f'{v:.4g}' for v in each)}" for flag, each in (("mean", centre), ("std", spread))
        )
        yield f"with {flags} (of {name})", lambda x, m=m, s=s: (x - m) / s  # type: ignore[misc]
    yield "with light and dark exchanged (1 - x): invert the pixels in your model", lambda x: 1 - x
    if channels == 3:
        yield (
            "with the colours in the order blue, green, red: turn them in your model, x[:, [2, 1, 0]]",
            lambda x: x.flip(1),
        )


def _settings(subject: Subject) -> tuple[Tensor, Tensor] | None:
    """Mean and deviation that the model was wrapped with, if it was with any."""
    mean, std = getattr(subject.model, "mean", None), getattr(subject.model, "std", None)
    if mean is None or std is None or (not bool(mean.any()) and bool((std == 1).all())):
        return None
    return mean.cpu(), std.cpu()


def _p_value(won: int, lost: int) -> float:
    """One-sided exact p-value that as many are won by chance: a binomial of won + lost with 1/2."""
    n = won + lost
    return float(sum(comb(n, k) for k in range(won, n + 1)) / 2**n)
