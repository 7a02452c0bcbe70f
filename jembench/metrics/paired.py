r"""Two classifiers, or two attacks, on the same examples: which one wins, and by how much.

Of n paired outcomes only the discordant ones speak: b won by the first alone, c by the second alone. If neither is
better, each is a fair coin:

    p = P(Bin(b + c, 1/2) >= b),

the exact one-sided form of McNemar's test (Psychometrika 1947), a sign test. Computed in whole numbers, so that it is
right to the last digit in any tail.

The difference p_1 - p_2 = (b - c) / n gets Newcombe's interval (Statistics in Medicine 1998, 17:2635, method 10). With
the distances dl_i, du_i from p_i to the ends of its Wilson interval and the correlation phi of the 2x2 table,

    low  = p_1 - p_2 - sqrt(dl_1^2 - 2 phi dl_1 du_2 + du_2^2),
    high = p_1 - p_2 + sqrt(du_1^2 - 2 phi du_1 dl_2 + dl_2^2),

where phi = (ad - bc) / sqrt((a+b)(c+d)(a+c)(b+d)) with a positive ad - bc lessened by n/2, at most to 0, and phi = 0
where a margin is empty. Unlike Wald's interval it has a width also where no pair is discordant.

Of many tests some are significant by luck. Holm (Scandinavian Journal of Statistics 1979) multiplies the i-th smallest
of k p-values by k - i + 1, and lets none fall below one before it: those at most alpha then hold a false rejection
with probability alpha at most, whatever their dependence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from numpy.typing import ArrayLike

from jembench.metrics.arrays import flags
from jembench.metrics.estimate import Estimate
from jembench.metrics.intervals import wilson


def sign_test(first: int, second: int) -> float:
    """p-value of `first` alone winning so often, against `second`, if both were equally good; 1 if neither ever does.

    Raises:
        ValueError: a count below 0.
    """
    if first < 0 or second < 0:
        raise ValueError(f"need counts of at least 0, got {first} and {second}")
    n = first + second
    total, ways = 0, math.comb(n, first)
    for k in range(first, n + 1):  # ways = C(n, k)
        total += ways
        ways = ways * (n - k) // (k + 1)
    return total / (1 << n)


def two_sided(first: int, second: int) -> float:
    """Two-sided p-value of `first` and `second` wins, if both were equally good: twice the smaller tail, at most 1.

    Raises:
        ValueError: a count below 0.
    """
    return min(1.0, 2 * min(sign_test(first, second), sign_test(second, first)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order of `p_values`.

    >>> holm([0.5, 0.01, 0.02])
    [0.5, 0.03, 0.04]

    Raises:
        ValueError: a p-value out of [0, 1].
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("p-values must lie in [0, 1]")
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    p_holm, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        p_holm[place] = largest
    return p_holm


def difference(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Share of True among `first` `(n,)` less that among `second` `(n,)` on the same examples, in [-1, 1].

    Raises:
        ValueError: empty, not vectors of one length, or not 0/1.
    """
    x = flags(first, None, "first")
    y = flags(second, x.size, "second")
    a, b, c, d = (int(cell.sum()) for cell in (x & y, x & ~y, ~x & y, ~x & ~y))
    n = a + b + c + d
    p, q = (a + b) / n, (a + c) / n
    (low_p, high_p), (low_q, high_q) = wilson(a + b, n), wilson(a + c, n)
    phi = _correlation(a, b, c, d)
    value = (b - c) / n
    low = value - _length(p - low_p, high_q - q, phi)
    high = value + _length(high_p - p, q - low_q, phi)
    return Estimate(value, max(-1.0, low), min(1.0, high), "newcombe")


def _length(u: float, v: float, phi: float) -> float:
    """Of the difference of two arms with correlation phi."""
    return math.sqrt(max(0.0, u * u - 2 * phi * u * v + v * v))


def _correlation(a: int, b: int, c: int, d: int) -> float:
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    excess: float = a * d - b * c
    if excess > 0:
        excess = max(excess - (a + b + c + d) / 2, 0.0)
    return excess / math.sqrt(margins)
