"""Measurements: what asks a model, and turns a batch into per-example columns.

- Here: frozen dataclasses whose name, version and fields are the identity of their records.
- Never: a mean over examples, a metric, the store, the class of a model.
- A new one: a module here and a line in `MEASUREMENTS`; a change that moves a column raises the version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.ground.families import Family

if TYPE_CHECKING:
    from jembench.measurements.contract import Measurement

MEASUREMENTS: Family[type[Measurement]] = Family(
    "measurement",
    {
        "logits": (".logits:Logits", "the logits of every example, from one forward pass"),
        "features": (".features:Features", "what enters the last layer of a classifier, its penultimate features"),
        "input_gradient": (".input_gradient:InputGradient", "log p(x) and the norm of its gradient"),
        "refinement": (".refinement:RefinementEffect", "what n SGLD steps do to every example"),
        "code_length": (".code_length:CodeLength", "how many bits a lossless compressor needs for an image"),
        "detector": (".detector:Detector", "the score of a post-hoc detector of outliers"),
        "seen": (".seen:Seen", "what a model says of images after something was done to them"),
        "twin": (".twin:Twin", "what another model predicts of the same images"),
        "dequantised": (".dequantised:Dequantised", "exact log p with uniform noise within a grey level"),
        "unnormalised": (".dequantised:Unnormalised", "log p with such noise, up to log Z"),
        "annealed": (".partition:ImportanceWeights", "log weights of annealed chains, for log Z"),
        "samples": (".samples:Samples", "images that a model generates"),
        "embedded": (".embedded:Embedded", "images as a feature extractor sees them"),
        "trajectory": (".trajectory:Trajectory", "what happens along a long chain"),
        "attacked": (".attacked:AttackOutcome", "one attack on every example, and what its images really do"),
        "worst": (".worst:Worst", "the worst case over all attacks on every example"),
        "rejected": (".rejected:Rejected", "robustness of a model that may abstain"),
        "certificate": (".certificate:Certificate", "the L2 ball in which the smoothed class is certain"),
        "distal": (".distal:Distal", "noise that becomes a confident example"),
        "gradient_check": (
            ".gradient_check:GradientCheck",
            "whether a gradient is there, finite and the slope of the loss",
        ),
    },
    __package__,
    group="jembench.measurements",
    fits=lambda thing: isinstance(thing, type) and hasattr(thing, "columns"),
)
