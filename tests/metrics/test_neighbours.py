"""Neighbours are the brute force's, copies at distance 0 exactly, whatever the block."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jembench.metrics import neighbours
from jembench.metrics.neighbours import inside, nearest, radii


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000), st.integers(1, 12), st.integers(1, 15), st.integers(1, 4), st.integers(1, 60), st.booleans()
)
def test_they_are_the_full_sorts(seed: int, m: int, n: int, d: int, block: int, whole: bool) -> None:
    """Also on a grid, full of ties: the lower index first, and the same in any block."""
    rng = np.random.default_rng(seed)
    q, p = rng.normal(size=(m, d)), rng.normal(size=(n, d))
    if whole:
        q, p = np.rint(q), np.rint(p)
    exact = np.sqrt(np.square(q[:, None] - p[None]).sum(axis=2))
    order = np.argsort(exact, axis=1, kind="stable")
    k = int(rng.integers(1, n + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        indices, distances = nearest(q, p, k)
        radius = rng.uniform(0, 2, n)
        found = np.concatenate([rows for _, rows in inside(q, p, radius)])
    np.testing.assert_array_equal(indices, order[:, :k])
    np.testing.assert_array_equal(distances, np.take_along_axis(exact, order[:, :k], axis=1))
    np.testing.assert_array_equal(found, np.square(exact) <= np.square(radius) + 1e-10)


def test_copies_far_from_the_origin() -> None:
    """Where |q|^2 + |p|^2 - 2 q'p has lost all digits of the distance, a copy is found and is at 0."""
    p = np.random.default_rng(0).normal(1e6, 1e-3, (200, 30))
    indices, distances = nearest(p[::-1], p, 1)
    assert (indices[:, 0] == np.arange(200)[::-1]).all()
    assert (distances == 0).all()
    assert (radii(p, 1) > 0).all()


def test_malformed_inputs_are_refused(refused: Callable[..., None]) -> None:
    refused("1..3", nearest, np.ones((2, 2)), np.ones((3, 2)), 4)
    refused("dimensions", nearest, np.ones((2, 2)), np.ones((3, 3)), 1)
    refused("NaN", nearest, np.ones((2, 2)) * np.nan, np.ones((3, 2)), 1)
