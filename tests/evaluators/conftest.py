"""What tests of attacks share: the truth on gauss."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from jembench import data
from jembench.data import gauss


@pytest.fixture
def nearest() -> Callable[[str], NDArray[np.float64]]:
    """A function from a norm to the distance of every test image of gauss to the nearest other class of the oracle."""
    return _nearest


def _nearest(norm: str) -> NDArray[np.float64]:
    """Distance of every test image of gauss to the nearest other class of the oracle; 0 where it is wrong.

    Classes are equally likely Gaussians of one covariance, so the boundary to class k is a hyperplane half-way, and
    the ball that touches the nearest of them is the largest one inside the cell.
    """
    images = data.load("gauss", "test")
    x, y, means = images.pixels().reshape(-1, 64).astype(np.float64), images.labels, gauss.means()
    normals = means[y][:, None] - means[None]
    heights = np.einsum("ned,ned->ne", x[:, None] - (means[y][:, None] + means[None]) / 2, normals)
    length = np.abs(normals).sum(2) if norm == "linf" else np.linalg.norm(normals, axis=2)
    with np.errstate(invalid="ignore"):
        distances = heights / length
    distances[np.arange(len(y)), y] = np.inf
    return np.maximum(distances.min(1), 0)
