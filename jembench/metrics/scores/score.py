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
        name: identifier in files.
        title: what people read.
        about: one line of explanation.
        reads: the columns that it is a function of, which may be of several measurements of the same examples.
        compute: these columns, ``(N,)`` or ``(N, K)`` each, to scores ``(N,)``; after them the number of ``fit``.
        fit: the same columns of the training split to a number, for a score that needs one; None otherwise.
    """

    name: str
    title: str
    about: str
    reads: tuple[Column, ...]
    compute: Callable[..., Floats]
    fit: Callable[..., float] | None = None
