"""What a score is: a name, the recorded columns that it reads, and a function of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


class Column(NamedTuple):
    """A column of the records of a measurement, both by name."""

    measurement: str
    column: str


@dataclass(frozen=True)
class Score:
    """A named score.

    Attributes:
        name: identifier of the score in files.
        title: name of the score in tables and pictures.
        about: one line of explanation.
        reads: columns that the score is a function of, which may be of several measurements of the same examples.
        compute: maps these columns, ``(N,)`` or ``(N, K)`` each, and the number of ``fit``, if any, to scores ``(N,)``.
        fit: maps the same columns of the training split to a number; None for a score that needs no such number.
    """

    name: str
    title: str
    about: str
    reads: tuple[Column, ...]
    compute: Callable[..., Floats]
    fit: Callable[..., float] | None = None
