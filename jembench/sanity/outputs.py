"""Checks of what a model answers: numbers, logits, the same ones whatever stands beside an image, and a gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.ground import generators
from jembench.sanity.subject import Subject
from jembench.types import capabilities

if TYPE_CHECKING:
    from torch import Tensor

FEW = 16  # images that are asked about again
TOLERANCE = 1e-2  # share of the spread of the logits by which rounding may move them
BEYOND = 0.5  # how far beyond [0, 1] the noise of a chain may carry a pixel
SHARE = 0.05  # of the pixels that may be carried further
UNIT = 1e-4  # how far a sum of probabilities may be from 1, and its logarithm from 0


def finite(subject: Subject) -> str:
    """Logits are numbers."""
    bad = int((~subject.logits.isfinite().all(1)).sum())
    return f"logits of {bad} of {len(subject.images)} images are NaN or infinite" if bad else ""


def raw(subject: Subject) -> str:
    """Logits are not probabilities, nor their logarithms: both make log p(x) = logsumexp f(x) (nearly) constant."""
    f = subject.logits
    if not bool(f.isfinite().all()):
        return ""
    if float(f.logsumexp(1).abs().max()) < UNIT:
        return (
            "gives log-probabilities (log_softmax at its end), so log p(x) = logsumexp f(x) is 0 for every image: "
            "return the logits before it"
        )
    if float(f.min()) >= 0 and float((f.sum(1) - 1).abs().max()) < UNIT:
        return (
            "gives probabilities (softmax at its end), which are taken for logits: confidences, log p(x) and attacks "
            "are wrong; return the logits before the softmax"
        )
    return ""


def alone(subject: Subject) -> str:
    """An image has the same logits alone and among others, unless the model draws noise."""
    import torch

    if subject.noisy:
        return ""
    x, f = subject.images[:FEW], subject.logits[:FEW]
    apart = torch.cat([subject.ask(image[None]) for image in x])
    if _same(apart, f) or not _same(subject.ask(subject.images)[:FEW], f):
        return ""
    return (
        "gives an image other logits alone than in a batch: batch norm in training mode, or normalisation by the "
        "batch? Call eval() in build(), and normalise by constants"
    )


def twice(subject: Subject) -> str:
    """An image has the same logits each time, unless the model draws noise and says so."""
    if subject.noisy or _same(subject.ask(subject.images[:FEW]), subject.ask(subject.images[:FEW])):
        return ""
    return (
        "gives the same image other logits each time: dropout left on? Call eval() in build(); a model that draws "
        "noise on purpose says `stochastic = True`"
    )


def untouched(subject: Subject) -> str:
    """Images are not changed in place."""
    import torch

    x = subject.images[:FEW].clone()
    extra = {"generator": generators.generator("sanity")} if subject.noisy else {}
    with torch.no_grad():
        method = subject.model.logits
        getattr(method, "unprotected", method)(x, **extra)  # a user's model gets copies otherwise
    if torch.equal(x, subject.images[:FEW]):
        return ""
    return "changes the images that it is given in place: write x = x - mean, not x -= mean or x.sub_(mean)"


def samples(subject: Subject) -> str:
    """Samples, and the persistent chains of a sampler by chains, are images in [0, 1], not in 0..255 or -1..1."""
    import torch

    generator = generators.generator("sanity")
    if "chain" in capabilities(subject.model):
        x, what = subject.model.persistent()[0][:FEW], "keeps chains"
    else:
        conditional = getattr(subject.model, "conditional", False)
        labels = {"labels": subject.labels[:FEW]} if conditional else {}
        with torch.no_grad():
            x, what = subject.model.sample(FEW, generator=generator, **labels), "draws samples"
    if not len(x):
        return ""
    if not bool(x.isfinite().all()):
        return f"{what} with pixels that are NaN or infinite"
    low, high = float(x.min()), float(x.max())
    if float(((x < -BEYOND) | (x > 1 + BEYOND)).float().mean()) < SHARE:
        return ""
    return f"{what} with pixels in {low:.3g}..{high:.3g}, not in [0, 1]: they are clamped there; return them in [0, 1]"


def gradient(subject: Subject) -> str:
    """Logits have a finite gradient by the pixels, and not 0 everywhere."""
    import torch

    x = subject.images[:FEW].clone().requires_grad_()
    extra = {"generator": generators.generator("sanity")} if subject.noisy else {}
    f = subject.model.logits(x * 1.0, **extra)
    slope = torch.autograd.grad(f.sum(0)[0], x, allow_unused=True)[0] if f.requires_grad else None
    if slope is None:
        return (
            "gives no gradient by the pixels (torch.no_grad or detach() in its forward pass?): attacks by gradient "
            "find nothing, and what climbs log p(x) cannot run"
        )
    if not bool(slope.isfinite().all()):
        return "gives gradients by the pixels that are NaN or infinite"
    return "" if bool(slope.any()) else "gives gradients by the pixels that are 0: attacks by gradient find nothing"


def _same(one: Tensor, other: Tensor) -> bool:
    if not bool(one.isfinite().all() and other.isfinite().all()):
        return True  # that is a finding of its own
    spread = float(other.std()) if other.numel() > 1 else 0.0
    return float((one - other).abs().max()) <= TOLERANCE * max(spread, 1e-6)
