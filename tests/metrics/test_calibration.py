"""ECE against torchmetrics and brute force; the laws of bins; the band against its own definition."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from jembench.metrics.calibration import (
    adaptive_ece,
    calibration_estimate,
    classwise_ece,
    consistency_band,
    ece,
    mass_bins,
    mce,
    width_bins,
)

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)
SEED = 20240


def probabilities(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Dirichlet rows and labels drawn from them: a perfectly calibrated model."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.3), n)
    return p, (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=k - 1), rng


def slow_ece(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """The definition, bin by bin."""
    total = 0.0
    for j in range(bins):
        edges = np.linspace(0, 1, bins + 1)
        inside = (confidence >= edges[j]) & ((confidence < edges[j + 1]) | (j == bins - 1))
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@given(PAIRS, st.integers(1, 25))
def test_ece_is_its_definition(pairs: list[tuple[float, bool]], bins: int) -> None:
    """Random and degenerate inputs, edges and 1.0 included."""
    p, y = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs], dtype=float)
    assert ece(p, y, bins=bins) == pytest.approx(slow_ece(p, y, bins), abs=1e-12)


@pytest.mark.parametrize("bins", [10, 15, 20])
def test_ece_is_torchmetrics_below_one(bins: int) -> None:
    """Parity where the definitions agree: no confidence of exactly 1."""
    p, y, _ = probabilities(500, 10, SEED)
    p = np.clip(p, 0, 1 - 1e-5)  # torchmetrics rounds to float32 on the way
    reference = multiclass_calibration_error(
        torch.from_numpy(p), torch.from_numpy(y), num_classes=10, n_bins=bins, norm="l1"
    )
    assert ece(p.max(axis=1), p.argmax(axis=1) == y, bins=bins) == pytest.approx(float(reference), abs=1e-6)
    first = np.ascontiguousarray(p[:, 0])
    one = binary_calibration_error(torch.from_numpy(first), torch.from_numpy(y == 0).int(), n_bins=bins)
    assert ece(first, y == 0, bins=bins) == pytest.approx(float(one), abs=1e-6)


@pytest.mark.parametrize(("ours", "norm", "theirs"), [(ece, "l1", 0.525), (mce, "max", 1.0)])
def test_the_last_bin_is_closed_unlike_torchmetrics(ours: Callable[..., float], norm: str, theirs: float) -> None:
    """Torchmetrics gives 1.0 a bin of its own, so its errors do not offset those at .95; here they do."""
    p, y = np.array([1.0, 0.95]), np.array([0, 1])
    assert ours(p, y) == pytest.approx(0.475)
    reference = binary_calibration_error(torch.from_numpy(p), torch.from_numpy(y), n_bins=15, norm=norm)
    assert float(reference) == pytest.approx(theirs)
    assert ours([1.0] * 4, [1, 1, 0, 0]) == pytest.approx(0.5)


@pytest.mark.parametrize("bins", [10, 15, 20])
def test_mce_is_torchmetrics_below_one(bins: int) -> None:
    """Parity where the definitions agree, as for the ECE."""
    p, y, _ = probabilities(500, 10, SEED)
    p = np.clip(p, 0, 1 - 1e-5)
    reference = multiclass_calibration_error(
        torch.from_numpy(p), torch.from_numpy(y), num_classes=10, n_bins=bins, norm="max"
    )
    assert mce(p.max(axis=1), p.argmax(axis=1) == y, bins=bins) == pytest.approx(float(reference), abs=1e-6)


@given(PAIRS, st.integers(1, 25))
def test_mce_is_its_definition_and_at_least_the_ece(pairs: list[tuple[float, bool]], bins: int) -> None:
    """The largest gap of a bin that holds an example, ties, edges and 1.0 included; with one bin, the ECE."""
    p, y = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs], dtype=float)
    index = width_bins(p, bins)
    slow = max(abs(y[index == j].mean() - p[index == j].mean()) for j in set(index))
    assert mce(p, y, bins=bins) == pytest.approx(slow, abs=1e-12)
    assert ece(p, y, bins=bins) - 1e-12 <= mce(p, y, bins=bins) <= 1
    assert mce(p, y, bins=1) == pytest.approx(ece(p, y, bins=1), abs=1e-12)


def test_an_open_last_bin_would_be_caught() -> None:
    """Planted bug: dropping confidences of 1 breaks the one-bin law, ECE = |accuracy - mean confidence|."""

    def open_ece(p: np.ndarray, y: np.ndarray) -> float:
        keep = p < 1
        return float(abs((y[keep] - p[keep]).sum()) / p.size)

    p, y = np.array([1.0, 1.0, 0.8]), np.array([0, 0, 1])
    law = abs(y.mean() - p.mean())
    assert ece(p, y, bins=1) == pytest.approx(law)
    assert open_ece(p, y) != pytest.approx(law)


@given(PAIRS, st.integers(1, 20), st.randoms(use_true_random=False))
def test_order_and_bounds(pairs: list[tuple[float, bool]], bins: int, random: object) -> None:
    """Both ECEs ignore the order, lie in [0, 1] and are at least |accuracy - mean confidence|."""
    p, y = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    other = np.random.default_rng(len(pairs)).permutation(len(pairs))
    for metric in (ece, adaptive_ece):
        value = metric(p, y, bins=bins)
        assert value == pytest.approx(metric(p[other], y[other], bins=bins), abs=1e-12)
        assert abs(y.mean() - p.mean()) - 1e-12 <= value <= 1 + 1e-12


@given(st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=1, max_size=50), st.integers(1, 20))
def test_equal_confidences_share_a_bin(values: list[float], bins: int) -> None:
    """Bins are functions of the confidence, in its order, whatever the ties."""
    p = np.array(values)
    for index in (mass_bins(p, bins), width_bins(p, bins)):
        assert (np.diff(index[np.argsort(p)]) >= 0).all()
        assert index.min() >= 0
        assert index.max() < bins
        assert all(len(set(index[p == v])) == 1 for v in values)


@given(st.integers(1, 200), st.integers(1, 20))
def test_untied_mass_bins_have_equal_mass(n: int, bins: int) -> None:
    """Sizes differ by one at most."""
    sizes = np.bincount(mass_bins(np.random.default_rng(n).permutation(n) / n, bins), minlength=bins)
    assert sizes.max() - sizes.min() <= 1


def test_ties_split_by_input_order_would_be_caught() -> None:
    """Planted bug: equal-count splitting of tied confidences depends on the order of the examples."""

    def by_order(p: np.ndarray, y: np.ndarray, bins: int) -> float:
        parts = np.array_split(np.argsort(p, kind="stable"), bins)
        return float(sum(abs((y[i] - p[i]).sum()) for i in parts) / p.size)

    p, y, other = np.full(4, 0.5), np.array([1, 1, 0, 0]), np.array([0, 2, 1, 3])
    assert by_order(p, y, 2) != by_order(p, y[other], 2)
    assert adaptive_ece(p, y, bins=2) == adaptive_ece(p, y[other], bins=2) == 0


def test_a_perfect_model_has_none() -> None:
    """Certain and right: 0 exactly. Confidences that are their bin's frequencies: 0."""
    assert ece([1.0] * 5, [1] * 5) == adaptive_ece([1.0] * 5, [1] * 5) == 0
    assert classwise_ece(np.eye(3), [0, 1, 2]) == 0
    p, y = np.repeat([0.25, 0.75], 4), np.array([1, 0, 0, 0, 1, 1, 1, 0])
    assert ece(p, y) == adaptive_ece(p, y, bins=2) == 0
    many, labels, _ = probabilities(200_000, 4, SEED)
    assert ece(many.max(axis=1), many.argmax(axis=1) == labels) < 0.005
    assert classwise_ece(many, labels) < 0.005


def test_classwise_is_the_mean_over_classes_and_ignores_their_names() -> None:
    """Two classes: each class's error is the same number, that of the binary problem."""
    p, y, rng = probabilities(300, 5, SEED)
    assert classwise_ece(p, y) == pytest.approx(np.mean([ece(p[:, k], y == k) for k in range(5)]))
    names = rng.permutation(5)
    assert classwise_ece(p[:, np.argsort(names)], names[y]) == pytest.approx(classwise_ece(p, y))


@pytest.mark.parametrize("kind", ["ece", "adaptive", "classwise", "mce"])
def test_the_band_holds_a_calibrated_model(kind: str) -> None:
    """Labels drawn from the predictions: 95 % of the values lie in the band (92-98 % of 300 sets)."""
    rng = np.random.default_rng(SEED)
    p = rng.dirichlet(np.full(4, 0.4), 150)
    top = p.max(axis=1)
    statistics: dict[str, tuple[np.ndarray, Callable[[np.ndarray], float]]] = {
        "ece": (top, lambda y: ece(top, p.argmax(axis=1) == y)),
        "adaptive": (top, lambda y: adaptive_ece(top, p.argmax(axis=1) == y)),
        "mce": (top, lambda y: mce(top, p.argmax(axis=1) == y, bins=4)),
        "classwise": (p, lambda y: classwise_ece(p, y)),
    }
    argument, statistic = statistics[kind]
    bins = 4 if kind == "mce" else 15  # with more, a bin of one example decides: two values and no 95 % of them
    low, high = consistency_band(kind, argument, rng=rng, bins=bins, replicates=4000)  # type: ignore[arg-type]
    ladder = p.cumsum(axis=1)
    draws = [statistic((rng.random((150, 1)) > ladder).sum(axis=1).clip(max=3)) for _ in range(1000)]
    assert 0.92 <= np.mean([low <= d <= high for d in draws]) <= 0.98
    assert low > 0


def test_a_percentile_bootstrap_of_ece_would_be_caught() -> None:
    """Planted bug: on a calibrated model (true ECE 0) its interval never reaches the truth."""
    rng = np.random.default_rng(SEED)
    bootstrap = band = 0
    for _ in range(50):
        p = rng.uniform(0.2, 1, 300)
        y = rng.random(300) < p
        drawn = [ece(p[i], y[i]) for i in rng.integers(0, 300, (100, 300))]
        bootstrap += np.quantile(drawn, 0.025) <= 0.005
        estimate = calibration_estimate("ece", p, y, rng=rng, replicates=300)
        band += estimate.low <= estimate.value <= estimate.high
    assert bootstrap == 0
    assert band >= 43


def test_estimates_are_values_with_bands() -> None:
    """Deterministic given the generator; an overconfident model lies above its band."""
    p, y, _ = probabilities(400, 4, SEED)
    wrong = p**4 / (p**4).sum(axis=1, keepdims=True)
    top, hit = wrong.max(axis=1), wrong.argmax(axis=1) == y
    for one, two in zip(
        (
            calibration_estimate("ece", top, hit, rng=np.random.default_rng(0)),
            calibration_estimate("adaptive", top, hit, rng=np.random.default_rng(0)),
            calibration_estimate("mce", top, hit, rng=np.random.default_rng(0), bins=3),
            calibration_estimate("classwise", wrong, y, rng=np.random.default_rng(0)),
        ),
        (
            calibration_estimate("ece", top, hit, rng=np.random.default_rng(0)),
            calibration_estimate("adaptive", top, hit, rng=np.random.default_rng(0)),
            calibration_estimate("mce", top, hit, rng=np.random.default_rng(0), bins=3),
            calibration_estimate("classwise", wrong, y, rng=np.random.default_rng(0)),
        ),
        strict=True,
    ):
        assert one == two
        assert one.method == "consistency band"
        assert one.value > one.high


def test_degenerate_predictions_have_a_band() -> None:
    """Certain predictions draw only themselves; a single example has a band of its two outcomes."""
    rng = np.random.default_rng(0)
    assert consistency_band("classwise", np.eye(3), rng=rng) == (0.0, 0.0)
    assert consistency_band("ece", [1.0, 1.0], rng=rng) == (0.0, 0.0)
    assert consistency_band("adaptive", [0.7], rng=rng) == pytest.approx((0.3, 0.7))
    assert consistency_band("mce", [0.7], rng=rng) == pytest.approx((0.3, 0.7))
    assert consistency_band("mce", [1.0, 0.0], rng=rng) == (0.0, 0.0)
    with pytest.raises(ValueError, match="statistic"):
        consistency_band("nothing", [0.7], rng=rng)  # type: ignore[arg-type]
