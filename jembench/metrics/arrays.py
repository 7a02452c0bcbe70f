"""Validated arrays: the one place where a metric's input is checked.

A metric of an empty array, of NaN or of misaligned arrays has no value, and a silent one is worse than an
error: each function here returns its argument as a numpy array or raises a ValueError of one line.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

ROUNDING = 1e-5  # a float32 softmax may pass 1 by this much


def vector(values: ArrayLike, name: str) -> Floats:
    """Return `values` as a float64 vector `(n,)`, n >= 1, without NaN; infinities pass.

    Raises:
        ValueError: empty, not one-dimensional, or NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a non-empty vector, got shape {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name} contains NaN")
    return array


def finite_vector(values: ArrayLike, name: str) -> Floats:
    """Return `values` as in `vector`, all finite.

    Raises:
        ValueError: as `vector`, or an infinity.
    """
    array = vector(values, name)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains an infinity")
    return array


def finite_matrix(values: ArrayLike, name: str) -> Floats:
    """Return `values` as a finite float64 matrix `(N, K)`, N, K >= 1.

    Raises:
        ValueError: empty, not two-dimensional, NaN or infinite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must be a non-empty matrix (N, K), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or an infinity")
    return array


def class_labels(values: ArrayLike, n: int, *, classes: int) -> Integers:
    """Return `values` as int64 labels `(n,)` in 0..classes-1.

    Raises:
        ValueError: another shape, not integers, or out of range.
    """
    array = np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"labels must have shape ({n},), got {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {array.dtype}")
    if array.min() < 0 or array.max() >= classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}, got {array.min()}..{array.max()}")
    return array.astype(np.int64)


def fractions(values: ArrayLike, name: str) -> Floats:
    """Return `values` as a vector in [0, 1]; an excess of float32 rounding is clipped.

    Raises:
        ValueError: as `vector`, or out of [0, 1].
    """
    return _unit(vector(values, name), name)


def probability_matrix(values: ArrayLike, name: str) -> Floats:
    """Return `values` as a matrix `(N, K)` in [0, 1] whose rows sum to 1.

    Raises:
        ValueError: as `finite_matrix`, out of [0, 1], or a row that does not sum to 1.
    """
    array = _unit(finite_matrix(values, name), name)
    if np.abs(array.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(f"{name} must have rows that sum to 1")
    return array


def flags(values: ArrayLike, n: int | None, name: str) -> Booleans:
    """Return `values` as booleans `(n,)`; numbers must be 0 or 1.

    Raises:
        ValueError: another shape, empty, or a value that is neither 0 nor 1.
    """
    array: NDArray[Any] = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or (n is not None and array.size != n):
        raise ValueError(f"{name} must have shape ({n or 'n >= 1'},), got {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be boolean or 0/1")
    return array.astype(np.bool_)


def check_bins(bins: int) -> None:
    """Raise a ValueError unless bins >= 1."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")


def _unit(array: Floats, name: str) -> Floats:
    if array.min() < -ROUNDING or array.max() > 1 + ROUNDING:
        raise ValueError(f"{name} must lie in [0, 1], got {array.min():g}..{array.max():g}")
    return np.clip(array, 0.0, 1.0)
