r"""Evaluator ``likelihood``: how many bits per dimension does the density need for a test image?

With log p of dequantised images in nats (:mod:`jembench.measurements.dequantised`), D pixels and L grey levels,

.. math::
    \text{bits/dim} = -\frac{E \log p(\tilde x)}{D \log 2} + \log_2(L - 1),

an upper bound of the cost of coding the integer images; uniform noise costs :math:`\log_2 L`.

**Energy-based models** give :math:`\log p + \log Z`. Their p is the one at temperature 1, normalised on the cube of
dequantised images, and log Z comes from annealed chains (:mod:`jembench.measurements.partition`): a lower bound L and
an upper bound U, each with its interval (:mod:`jembench.metrics.log_z`). bits/dim are given at the middle of L and U,
and their interval is the sum of two: of the mean over test images, and from the low end of L to the high end of U. Its
method says so. "resampled starts" in it says that the reverse chains did not start from exact samples of the model,
which an energy model does not have, so that U holds only if they were in equilibrium. Where the bounds are crossed by
more than chance, or further apart than ``WIDEST`` bits/dim, there is a reason instead of a number.

At temperature 1 the shipped energy models are close to uniform noise (jem 4.03 bits/dim, noise 4.09, glow 2.27): the
SGLD chains that they were trained with, and are sampled by, are far colder (:mod:`jembench.langevin.sgld`), and show
them sharper than the density that they define.

A density that is normalised needs no log Z. On a track whose truth is known it is annealed all the same, as a check:
log Z of the oracle is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from jembench.evaluators.quantities import Headline
from jembench.ground import seeding
from jembench.measurements.contract import Need, RecordBatch, gather
from jembench.measurements.dequantised import Dequantised, Unnormalised
from jembench.measurements.partition import ImportanceWeights
from jembench.metrics import intervals, log_z
from jembench.metrics.estimate import Estimate
from jembench.metrics.metric import Kind, Metric

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.metrics.log_z import Bracket

BITS = Kind("bits_per_dim", "lower", 0.01)
FORWARD, REVERSE, LOG_Z = (Kind(name, "neither") for name in ("log_z_forward", "log_z_reverse", "log_z"))
EFFECTIVE = Kind("effective_size", "higher")  # of the weights: how many equal ones would be as good
DIRECTIONS = ("forward", "reverse")

SOURCE = "chains"  # whose rows are chains
CHAINS = 128
NO_DENSITY = "the model gives no log density"
WIDEST = 0.1  # bits/dim of a bracket
LARGEST = 512  # dimensions of an image up to which log Z is annealed: the bracket gets wider, and hours are needed

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Likelihood:
    """Bits per dimension of the test split, and log Z where the density is not normalised."""

    name: ClassVar[str] = "likelihood"
    version: ClassVar[int] = 2
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("test/bits_per_dim", "bits/dim", "code length of a test pixel under p(x)"),
    )
    tables: ClassVar[str] = "jembench.pages.tables.likelihood:likelihood"
    columns: ClassVar[tuple[str, ...]] = (
        "log_px_dequantised",
        "log_unnormalised",
        "log_weight_forward",
        "log_weight_reverse",
    )

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Dequantised log densities of the test split, and annealed chains in both directions."""
        if _large(track):
            return Need(Dequantised(), "test"), Need(Unnormalised(), "test")
        check = track.exact
        forward = Need(ImportanceWeights("forward", check=check), SOURCE, limit=CHAINS)
        reverse = Need(ImportanceWeights("reverse", check=check), SOURCE, limit=CHAINS, whole=(forward,))
        return Need(Dequantised(), "test"), Need(Unnormalised(), "test"), forward, reverse

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """Log densities and log weights in nats, those that exist."""
        if "normalized" in batch.columns:
            return {"log_px_dequantised": batch.columns["log_density"]} if batch.columns["normalized"].all() else {}
        columns = {name: batch.columns[name] for name in self.columns if name in batch.columns}
        return {name: column for name, column in columns.items() if not np.isnan(column).all()}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """``test/bits_per_dim``, and of ``chains`` the bounds of log Z, the bracket, and effective sizes."""
        columns = ("log_density", "normalized", "log_unnormalised", "log_weight_forward", "log_weight_reverse", "exact")
        records = gather(batches, *columns)
        test, chains = records.get("test", {}), records.get(SOURCE, {})
        partition = _partition(test, chains, track)
        return [_bits(test, partition, chains, track), *_log_z(partition, chains)]


def _large(track: Track) -> bool:
    return math.prod(track.shape) > LARGEST


def _bits(test: Columns, partition: Bracket | str, chains: Columns, track: Track) -> Metric:
    """Bits per dimension, or why there are none."""
    if not test:
        return BITS.missing(NO_DENSITY, source="test")
    normalized = bool(test["normalized"].all())
    nats = test["log_density" if normalized else "log_unnormalised"].astype(np.float64)
    if bad := int((~np.isfinite(nats)).sum()):
        reason = f"the dequantised log density is NaN or infinite on {bad} of {len(nats)} images of test"
        return BITS.missing(reason, source="test")
    unit = math.prod(track.shape) * math.log(2)  # nats of a bit per dimension
    estimate = intervals.mean(-nats / unit + math.log2(track.levels - 1), rng=seeding.rng("likelihood", "bits_per_dim"))
    if not normalized:
        if isinstance(partition, str):
            return BITS.missing(f"the log density is not normalised: {partition}", source="test")
        if doubt := _doubt(partition, unit):
            return BITS.missing(doubt, source="test")
        estimate = _shifted(estimate, partition, unit, _method(chains))
    return BITS.of(estimate, source="test", n={"test": len(nats)})


def _shifted(estimate: Estimate, partition: Bracket, unit: float, method: str) -> Estimate:
    """The estimate with log Z added: an end of the sum is the sum of the ends."""
    low, high = (
        None if end is None else end + bound / unit
        for end, bound in ((estimate.low, partition.low), (estimate.high, partition.high))
    )
    return Estimate(estimate.value + partition.value / unit, low, high, f"{estimate.method} + {method}")


def _doubt(partition: Bracket, unit: float) -> str | None:
    """Why a bracket is not good enough, if it is not."""
    ends = f"forward {partition.forward.value:.2f}, reverse {partition.reverse.value:.2f} nats"
    if partition.crossed:
        return f"the bounds of log Z are crossed: {ends}; the reverse chains did not start in equilibrium"
    if (width := (partition.high - partition.low) / unit) > WIDEST:
        return f"log Z is known to {width:.2g} bits/dim only, more than {WIDEST:g}: {ends}"
    return None


def _partition(test: Columns, chains: Columns, track: Track) -> Bracket | str:
    """The bracket of log Z, or why there is none."""
    if not test:
        return NO_DENSITY
    forward, reverse = (chains.get(f"log_weight_{direction}") for direction in DIRECTIONS)
    trust = "the density is normalised: log Z = 0 is taken on trust"
    if _large(track):
        dimensions = f"log Z is annealed up to {LARGEST} dimensions, an image has {math.prod(track.shape):,}"
        return trust if test["normalized"].all() else dimensions
    if forward is None or reverse is None:
        return "log Z was not measured"
    if test["normalized"].all() and np.isnan(forward).all():
        return trust
    for name, column in (("forward", forward), ("reverse", reverse)):
        if bad := int((np.isnan(column) | np.isposinf(column)).sum()):
            return f"{bad} of {len(column)} {name} log weights are NaN or infinite"
        if np.isneginf(column).all():
            return f"all {name} weights are 0"
    base = math.prod(track.shape) * math.log(track.levels / (track.levels - 1))  # log of the volume of the cube
    return log_z.bracket(forward, reverse, log_z0=base, rng=seeding.rng("likelihood", "log_z"))


def _log_z(partition: Bracket | str, chains: Columns) -> list[Metric]:
    """The bounds and the bracket, in nats, and what the weights are worth."""
    if isinstance(partition, str):
        return [
            *(kind.missing(partition, source=SOURCE) for kind in (FORWARD, REVERSE, LOG_Z)),
            *(EFFECTIVE.missing(partition, source=SOURCE, variant=direction) for direction in DIRECTIONS),
        ]
    sizes = {direction: log_z.effective_size(chains[f"log_weight_{direction}"]) for direction in DIRECTIONS}
    n = {SOURCE: len(chains["log_weight_forward"])}
    return [
        FORWARD.of(partition.forward, source=SOURCE, n=n),
        REVERSE.of(partition.reverse, source=SOURCE, n=n),
        LOG_Z.of(partition.estimate(_method(chains)), source=SOURCE, n=n),
        *(EFFECTIVE.of(Estimate(size), source=SOURCE, n=n, variant=direction) for direction, size in sizes.items()),
    ]


def _method(chains: Columns) -> str:
    return "AIS bracket" if chains["exact"].all() else "AIS bracket, resampled starts"
