"""Sanity: what is wrong with how a model was wired, told before minutes are spent on it.

- Here: checks of a loaded model on a few labelled images, each a short sentence or nothing.
- Never: a store, a plan, a model that is built here.
- A new one: a function of a `Subject` in a module here and a line in `CHECKS`.
"""

from __future__ import annotations

from jembench.ground import generators, guard
from jembench.ground.families import Family
from jembench.ground.numerics import reproducible
from jembench.sanity.subject import Check, Subject
from jembench.types import Capability, capabilities

VERSION = 1  # of the checks together; raised by every change of what they find
IMAGES = 128  # first ones of the test images

CHECKS: Family[Check] = Family(
    "check",
    {
        "finite": (".outputs:finite", "logits are numbers"),
        "logits": (".outputs:raw", "logits are not probabilities, nor their logarithms"),
        "alone": (".outputs:alone", "an image has the same logits alone and among others"),
        "twice": (
            ".outputs:twice",
            "an image has the same logits each time, unless the model says that it is stochastic",
        ),
        "in-place": (".outputs:untouched", "images are not changed in place"),
        "gradient": (".outputs:gradient", "logits have a gradient by the pixels"),
        "samples": (".outputs:samples", "samples are images in [0, 1]"),
        "input": (".inputs:scaled", "no other scale, normalisation or order of colours does better"),
        "classes": (".labels:ordered", "no other order of the classes does better"),
        "chance": (".labels:better_than_chance", "more images are told right than by chance"),
    },
    __package__,
)


NEEDS: dict[str, Capability] = {"samples": "sampler"}  # of checks that do not look at logits

#: What follows from a slip that is named already is no finding of its own: check -> those that come before it.
FIRST: dict[str, set[str]] = {
    "gradient": {"finite"},
    "input": {"finite"},
    "classes": {"finite", "input"},
    "chance": {"finite", "input", "classes"},
}


def findings(subject: Subject) -> dict[str, str]:
    """What is wrong with a model: check -> one sentence; empty if nothing was found.

    Raises:
        UserError: if the model fails on the images.
    """
    with guard.guarded(f"model {subject.name!r} fails on images of the track"), reproducible():
        slips: dict[str, str] = {}
        for name in CHECKS:
            if NEEDS.get(name, "classifier") not in capabilities(subject.model) or set(slips) & FIRST.get(name, set()):
                continue
            with generators.forked("sanity", name):
                if words := CHECKS[name](subject):
                    slips[name] = words
        return slips
