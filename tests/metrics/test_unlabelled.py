"""Accuracy without labels: exact where a method is fitted, blind to what must not matter, sane on degenerate input."""

import inspect
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jembench.metrics.classification import softmax
from jembench.metrics.unlabelled import METHODS, Labelled, Target, mean_confidence, meta_energy, temperature_at

N, K = 240, 5
Change = Callable[[Target], Target]


def calibrated(seed: int, *, n: int = N, scale: float = 3.0, hidden: float = 0.0) -> Labelled:
    """Labels drawn from softmax(f); logits of f with `hidden` noise that the model does not know of."""
    rng = np.random.default_rng(seed)
    f = rng.normal(size=(n, K)) * scale
    labels = (softmax(f).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=K - 1)
    seen = f + hidden * rng.normal(size=f.shape)
    lower = np.logaddexp.reduce(seen, axis=1) - hidden * rng.random(n)
    return Labelled(Target(seen, lower, rng.integers(K, size=n)), labels)


SOURCE = calibrated(0)
SHIFTS = [calibrated(seed, hidden=hidden) for seed, hidden in enumerate((0.5, 1.5, 3.0, 5.0), start=1)]
TARGET = calibrated(9, hidden=2.0).images


def changed(images: Labelled, change: Change) -> Labelled:
    return Labelled(change(images.images), images.labels)


def estimate(name: str, *, change: Change = lambda images: images, target: Target = TARGET) -> float:
    fit = METHODS[name](changed(SOURCE, change), [changed(each, change) for each in SHIFTS])
    return fit(change(target))


def test_a_target_has_no_labels() -> None:
    """A method cannot leak what it is not given."""
    assert set(Target.__dataclass_fields__) == {"logits", "log_density", "twin"}
    for method in METHODS.values():
        assert list(inspect.signature(method).parameters) == ["source", "shifts"]
        assert len(inspect.signature(method(SOURCE, SHIFTS)).parameters) == 1


@pytest.mark.parametrize("name", ["constant", "doc", "atc", "atc_entropy"])
def test_what_is_fitted_at_the_source_is_exact_there(name: str) -> None:
    assert METHODS[name](SOURCE, SHIFTS)(SOURCE.images) == pytest.approx(SOURCE.accuracy, abs=1e-12)


@pytest.mark.parametrize("name", ["log_px", "balanced", "energy", "doc_regression", "mde"])
def test_regressions_are_unbiased_over_what_they_are_fitted_on(name: str) -> None:
    """The constant of a regression makes the mean error over the conditions 0, but for half an image's doubt."""
    fit = METHODS[name](SOURCE, SHIFTS)
    errors = [fit(each.images) - each.accuracy for each in (SOURCE, *SHIFTS)]
    assert np.mean(errors) == pytest.approx(0, abs=1e-3)


def test_the_mean_confidence_of_a_calibrated_model_is_its_accuracy() -> None:
    many = calibrated(5, n=40_000)
    assert METHODS["confidence"](SOURCE, SHIFTS)(many.images) == pytest.approx(many.accuracy, abs=0.008)


def collapsed(seed: int, strength: float, *, n: int = 2000) -> Labelled:
    """A calibrated model whose classes got constants of their own: it calls too much by the name of some."""
    each = calibrated(seed, n=n)
    constants = strength * np.array([3.0, 1.0, 0.0, -1.0, -3.0])
    return Labelled(Target(each.images.logits + constants, np.zeros(n)), each.labels)


@pytest.mark.parametrize("strength", [1.5, 2.5])
def test_ours_sees_through_a_collapse_onto_few_classes(strength: float) -> None:
    """The known class frequencies take the constants back, so that p_v is calibrated; confidence is not."""
    source, shifts = collapsed(0, 0.0), [collapsed(1, 0.5), collapsed(2, 1.0)]
    target = collapsed(3, strength)
    for name in ("balanced", "energy"):
        assert METHODS[name](source, shifts)(target.images) == pytest.approx(target.accuracy, abs=0.04)
    for name in ("constant", "confidence", "doc"):
        assert METHODS[name](source, shifts)(target.images) > target.accuracy + 0.15


def test_ours_is_misled_where_the_classes_are_not_as_frequent_as_it_assumes() -> None:
    """The stated assumption: half of the classes are missing, and a good model looks as if it had collapsed."""
    source, shifts = collapsed(0, 0.0), [collapsed(1, 0.5), collapsed(2, 1.0)]
    some = collapsed(3, 0.0)
    some = some.take(np.flatnonzero(some.labels < 2))
    assert METHODS["energy"](source, shifts)(some.images) < some.accuracy - 0.1
    assert METHODS["confidence"](source, shifts)(some.images) == pytest.approx(some.accuracy, abs=0.04)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_images_does_not_matter(name: str) -> None:
    order = np.random.default_rng(0).permutation(N)
    assert estimate(name, target=TARGET.take(order)) == pytest.approx(estimate(name), abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.floats(-1e4, 1e4))
def test_an_unknown_log_z_does_not_matter(constant: float) -> None:
    """log p(x) up to a constant: also where the constant is larger than all differences."""

    def change(images: Target) -> Target:
        return Target(images.logits, images.log_density + constant, images.twin)

    for name in ("log_px", "energy"):
        assert estimate(name, change=change) == pytest.approx(estimate(name), abs=1e-6)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "mde"])
def test_constants_of_the_logits_of_an_image_do_not_matter(name: str) -> None:
    """p(y|x) alone is read from the logits; MDE alone reads their level, its energy."""
    moved = np.random.default_rng(1).normal(size=(N, 1)) * 20
    assert estimate(name, change=lambda x: Target(x.logits + moved, x.log_density, x.twin)) == pytest.approx(
        estimate(name), abs=1e-5
    )


def test_ours_uses_the_density() -> None:
    """Where labels depend on log p(x) alone, `energy` sees it and `balanced` cannot."""
    rng = np.random.default_rng(2)

    def draw(low: float) -> Labelled:
        f = rng.normal(size=(2000, K)) * 3
        density = rng.normal(size=2000) - low
        right = rng.random(2000) < 1 / (1 + np.exp(-2 * (density + 1)))
        labels = np.where(right, f.argmax(axis=1), (f.argmax(axis=1) + 1) % K)
        return Labelled(Target(f, density), labels)

    source, shifts, far = draw(-2.0), [draw(low) for low in (-1.0, 0.0, 2.0)], draw(1.0)
    fits = {name: METHODS[name](source, shifts)(far.images) for name in ("balanced", "energy")}
    assert fits["energy"] == pytest.approx(far.accuracy, abs=0.03)
    assert abs(fits["balanced"] - far.accuracy) > 0.1


@pytest.mark.parametrize("outcome", ["right", "wrong"])
@pytest.mark.parametrize("name", METHODS)
def test_where_all_is_right_or_wrong_every_estimate_is_a_share(name: str, outcome: str) -> None:
    def judged(each: Labelled) -> Labelled:
        right = each.images.prediction
        return Labelled(each.images, right if outcome == "right" else (right + 1) % K)

    found = METHODS[name](judged(SOURCE), [judged(each) for each in SHIFTS])(TARGET)
    assert 0 <= found <= 1
    if name in ("constant", "atc", "atc_entropy", "log_px", "balanced", "energy", "mde"):
        assert found == pytest.approx(float(outcome == "right"), abs=0.01)


@pytest.mark.parametrize("logits", [np.zeros((20, K)), np.eye(K)[np.zeros(20, dtype=int)] * 900])
@pytest.mark.parametrize("name", METHODS)
def test_constant_confidence_and_one_class_are_no_trouble(name: str, logits: np.ndarray) -> None:
    images = Target(logits, np.zeros(20), np.zeros(20, dtype=np.int64))
    one = Labelled(images, np.zeros(20, dtype=np.int64))
    assert 0 <= METHODS[name](one, [one, one])(images) <= 1
    assert 0 <= METHODS[name](SOURCE, SHIFTS)(images) <= 1
    assert 0 <= METHODS[name](SOURCE, [])(TARGET) <= 1


def test_agreement_counts_equal_predictions() -> None:
    images = Target(np.eye(3)[[0, 1, 2, 0]], None, np.array([0, 1, 0, 0]))
    assert METHODS["gde"](SOURCE, SHIFTS)(images) == 0.75


@pytest.mark.parametrize("name", ["gde", "log_px", "energy"])
def test_what_is_not_there_is_said(name: str) -> None:
    bare = Labelled(Target(SOURCE.images.logits), SOURCE.labels)
    with pytest.raises(ValueError, match=r"second model|no log density"):
        METHODS[name](bare, [])(bare.images)


def test_the_meta_energy_is_the_papers_less_log_n() -> None:
    """-mean log softmax over the images of Z = -logsumexp, term by term."""
    z = -np.logaddexp.reduce(TARGET.logits, axis=1)
    paper = -np.mean(np.log(np.exp(z) / np.exp(z).sum()))
    assert meta_energy(TARGET.logits) == pytest.approx(paper - np.log(N))
    assert meta_energy(np.zeros((7, 3))) == pytest.approx(0)
    twice = np.concatenate([TARGET.logits, TARGET.logits])
    assert meta_energy(twice) == pytest.approx(meta_energy(TARGET.logits))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 0.999))
def test_a_temperature_matches_the_accuracy(accuracy: float) -> None:
    found = temperature_at(TARGET.logits, accuracy)
    assert mean_confidence(TARGET.logits, found) == pytest.approx(accuracy, abs=1e-9)


def test_a_temperature_out_of_reach_is_the_nearest() -> None:
    assert temperature_at(TARGET.logits, 0.0) == 100.0
    assert temperature_at(TARGET.logits, 1.0) == 0.01
    assert temperature_at(np.zeros((3, 2)), 0.7) == 1.0
    with pytest.raises(ValueError, match="accuracy"):
        temperature_at(TARGET.logits, 1.1)


def test_misaligned_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="log_density"):
        Target(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(ValueError, match="twin"):
        Target(np.zeros((3, 2)), None, np.zeros(2, dtype=np.int64))
    with pytest.raises(ValueError, match="labels"):
        Labelled(Target(np.zeros((3, 2))), np.array([0, 1, 2]))
