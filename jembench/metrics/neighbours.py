"""Nearest neighbours and membership in balls, by brute force in blocks.

Squared distances of a block are |q|^2 + |p|^2 - 2 q'p, fast but with an error of rounding that depends on the block.
What could hang on it is decided apart: neighbours are measured anew by differences (a copy is at distance 0 exactly),
with every point that rounding could have left out, and a point on the edge of a ball is inside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from jembench.metrics.arrays import Booleans, Floats, Integers, finite_matrix

BLOCK = 1 << 22  # distances held at a time; no result depends on it
TIE = 1e-11  # of |q|^2 + |p|^2: more than a squared distance's rounding


def nearest(queries: ArrayLike, points: ArrayLike, k: int) -> tuple[Integers, Floats]:
    """Indices and distances `(m, k)`, ascending, of the k points `(n, D)` nearest to each query `(m, D)`.

    Of points at the same distance the one of lower index comes first.

    Raises:
        ValueError: not finite matrices of one D, or k out of 1..n.
    """
    q, p = pair(queries, points, "queries", "points")
    if not 1 <= k <= len(p):
        raise ValueError(f"need k in 1..{len(p)}, the number of points, got {k}")
    indices, distances = np.empty((len(q), k), dtype=np.int64), np.empty((len(q), k))
    for start, squares, tie in _blocks(q, p):
        edge = np.partition(squares, k - 1, axis=1)[:, k - 1]
        candidates = squares <= (edge + 2 * tie)[:, None]
        for row, mask in enumerate(candidates):
            index = np.flatnonzero(mask)
            exact = np.sqrt(np.square(p[index] - q[start + row]).sum(axis=1))
            order = np.argsort(exact, kind="stable")[:k]
            indices[start + row], distances[start + row] = index[order], exact[order]
    return indices, distances


def radii(points: Floats, k: int) -> Floats:
    """Distance `(n,)` of each point to its k-th nearest other point, for k < n."""
    return nearest(points, points, k + 1)[1][:, k]


def inside(queries: Floats, points: Floats, radius: Floats) -> Iterator[tuple[int, Booleans]]:
    """Whether queries lie in the closed balls around points `(n, D)`: (first query, `(rows, n)`), block after block."""
    for start, squares, tie in _blocks(queries, points):
        yield start, squares <= np.square(radius) + tie[:, None]


def pair(first: ArrayLike, second: ArrayLike, one: str, other: str) -> tuple[Floats, Floats]:
    """Two finite matrices with the same number of columns.

    Raises:
        ValueError: not finite matrices, or of different dimensions.
    """
    a, b = finite_matrix(first, one), finite_matrix(second, other)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{one} have {a.shape[1]} dimensions, {other} {b.shape[1]}")
    return a, b


def _blocks(q: Floats, p: Floats) -> Iterator[tuple[int, Floats, Floats]]:
    """(first query, squared distances `(rows, n)`, their error's bound `(rows,)`)."""
    center = p.mean(axis=0)
    p = p - center
    lengths, rows = np.square(p).sum(axis=1), max(1, BLOCK // len(p))
    for start in range(0, len(q), rows):
        part = q[start : start + rows] - center
        own = np.square(part).sum(axis=1)
        squares = part @ p.T
        squares *= -2
        squares += own[:, None]
        squares += lengths
        yield start, squares, TIE * (own + lengths.max())
