"""Bands say what tests have shown, no more and no less."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.metrics.ranks import bands, detectable


@st.composite
def columns(draw):
    k = draw(st.integers(0, 9))
    apart = np.zeros((k, k), bool)
    for i in range(k):
        for j in range(i):
            apart[i, j] = apart[j, i] = draw(st.booleans())
    return draw(st.permutations(range(k))), apart.tolist()


@given(columns())
def test_two_models_share_a_band_if_and_only_if_they_are_not_told_apart(column):
    order, apart = column
    letters = [set(word) for word in bands(order, apart)]
    for i in order:
        for j in order:
            assert bool(letters[i] & letters[j]) == (i == j or not apart[i][j])


@given(columns())
def test_the_best_model_has_the_first_letter_and_no_band_is_within_another(column):
    order, apart = column
    words = bands(order, apart)
    if order:
        assert words[order[0]].startswith("a")
    groups = {letter: {place for place, word in enumerate(words) if letter in word} for letter in "".join(words)}
    for one in groups.values():
        assert not any(one < other for other in groups.values())


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_a_detectable_difference_is_found_with_its_power(alpha):
    rng = np.random.default_rng(1)
    for error in (0.1, 3.0):
        z = np.abs(rng.normal(detectable(error, alpha=alpha), error, 20_000)) / error
        found = (z > NormalDist().inv_cdf(1 - alpha / 2)).mean()
        assert found == pytest.approx(0.8, abs=0.015)
