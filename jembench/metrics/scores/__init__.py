"""Scores: per-example numbers, **larger = more in-distribution**.

A score is a pure function of recorded columns, array in, array out, so that a corrected score is computed again from
stored records without the model. A new one is a module here, with the function and its :class:`Score`, and a line in
:data:`SCORES`.
"""

from __future__ import annotations

from jembench.metrics.scores import (
    complexity,
    entropy,
    log_px,
    mass,
    max_logit,
    max_py,
    refine_distance,
    refine_gradient,
    refine_log_px,
    typicality,
)
from jembench.metrics.scores.score import Column, Score

__all__ = ["BASELINE", "PAPER", "SCORES", "Column", "Score"]

#: The three of Grathwohl et al. (ICLR 2020, section 5.3 and table 3). Validation chooses checkpoints by these alone.
PAPER: tuple[Score, ...] = (log_px.SCORE, max_py.SCORE, mass.SCORE)

SCORES: tuple[Score, ...] = (
    *PAPER,
    entropy.SCORE,
    max_logit.SCORE,
    typicality.SCORE,
    complexity.SCORE,
    refine_log_px.SCORE,
    refine_gradient.SCORE,
    refine_distance.SCORE,
)

#: The score that every classifier has; others are tested against it on the same images.
BASELINE: Score = max_py.SCORE
