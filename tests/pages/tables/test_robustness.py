"""Tables of attacks: how a radius is written."""

import pytest

from jembench.pages.tables.robustness import _ball


@pytest.mark.parametrize(
    ("norm", "eps", "words"),
    [
        ("linf", 8 / 255, "L∞ 8/255"),
        ("linf", 2 / 255, "L∞ 2/255"),
        ("linf", 0.2, "L∞ .2"),  # 51/255, which nobody writes
        ("linf", 0.123457, "L∞ .123457"),
        ("l2", 0.5, "L2 .5"),
        ("l2", 1.0, "L2 1"),
    ],
)
def test_an_eps_is_in_grey_levels_where_its_decimals_do_not_end(norm: str, eps: float, words: str) -> None:
    assert _ball(f"{norm}-{eps:g}") == words
