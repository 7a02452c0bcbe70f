"""Validation: outliers of training images only, numbers that agree with others', and a criterion that chooses right."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torch import Tensor, nn

from jembench import data
from jembench.data.sets import ImageSet
from jembench.ground import generators, seeding
from jembench.metrics.auroc import auroc
from jembench.metrics.calibration import ece
from jembench.metrics.classification import brier, confidence, nll, prediction
from jembench.models.recipes import Recipe, SelectionPart
from jembench.models.softmax import Softmax
from jembench.training.validation import OUTLIERS, Validation, merit, outliers
from jembench.zoo import catalogue

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def train() -> ImageSet:
    return data.load("digits", "train")


@pytest.fixture(scope="module")
def made(train: ImageSet) -> np.ndarray[Any, Any]:
    return outliers(train)


@pytest.fixture(scope="module")
def validation(train: ImageSet) -> Validation:
    return Validation.of(data.load("digits", "validation"), train, device=CPU)


@pytest.fixture(scope="module")
def net() -> Softmax:
    with generators.forked("net"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.SiLU(), nn.Linear(16, 10))
    return Softmax(network).eval()


def test_the_outliers_are_as_many_as_there_should_be(made: np.ndarray[Any, Any]) -> None:
    assert made.dtype == np.float32
    assert made.shape[1:] == (1, 8, 8)
    assert OUTLIERS + OUTLIERS // 2 < len(made) <= 2 * OUTLIERS  # about 0.9^3 of the mosaics have strange quadrants
    assert 0 <= made.min() < made.max() <= 1


def test_shuffled_images_have_the_pixels_of_a_training_image(made: np.ndarray[Any, Any], train: ImageSet) -> None:
    """All pixels of one image, elsewhere, and in another order for every image."""
    x = train.pixels(0, OUTLIERS).reshape(OUTLIERS, -1)
    shuffled = made[:OUTLIERS].reshape(OUTLIERS, -1)
    assert np.array_equal(np.sort(shuffled), np.sort(x))
    assert not (shuffled == x).all(1).any()
    order = {tuple(seeding.permutation("validation", "shuffled", i, n=64)) for i in range(OUTLIERS)}
    assert len(order) == OUTLIERS


def test_the_channels_of_a_shuffled_image_stay_together() -> None:
    images = np.arange(3 * 3 * 4 * 4).reshape(3, 3, 4, 4) % 17
    labels = np.array([0, 1, 2])
    colour = replace(data.load("digits", "train"), images=images, labels=labels)
    x, shuffled = colour.pixels(), outliers(colour)[:3]
    for one, other in zip(x, shuffled, strict=True):
        assert sorted(map(tuple, one.reshape(3, -1).T)) == sorted(map(tuple, other.reshape(3, -1).T))


def test_mosaics_are_quadrants_of_training_images_of_other_classes(made: np.ndarray[Any, Any], train: ImageSet) -> None:
    """Each quadrant is that of a training image, in its place; the other three are not of the class of the first."""
    x, labels = train.pixels(0, OUTLIERS), train.labels[:OUTLIERS]
    halves = {"top": slice(0, 4), "bottom": slice(4, 8)}
    places = [(rows, columns) for rows in halves.values() for columns in halves.values()]
    for mosaic in made[OUTLIERS:]:
        found = []
        for rows, columns in places:
            same = (x[:, :, rows, columns] == mosaic[:, rows, columns]).all((1, 2, 3))
            found.append(set(labels[same]))  # several where the quadrant is empty
        first, *others = found
        assert any(all(other - {y} for other in others) for y in first)
    assert not any((x == mosaic).all((1, 2, 3)).any() for mosaic in made[OUTLIERS:])  # no training image among them


def test_outliers_are_the_same_every_time_and_see_no_other_split(
    made: np.ndarray[Any, Any], train: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(data, "load", lambda *_: pytest.fail("another split was loaded"))
        torch.rand(3)
        assert np.array_equal(outliers(train), made)
    first = replace(train, images=train.images[:OUTLIERS], labels=train.labels[:OUTLIERS])
    assert np.array_equal(outliers(first), made)


def test_validation_holds_the_validation_split(validation: Validation, made: np.ndarray[Any, Any]) -> None:
    split = data.load("digits", "validation")
    assert np.array_equal(validation.images.numpy(), split.pixels())
    assert np.array_equal(validation.labels.numpy(), split.labels)
    assert np.array_equal(validation.outliers.numpy(), made)


def test_the_numbers_are_those_of_the_metrics_and_of_scikit_learn(net: Softmax, validation: Validation) -> None:
    found = validation.measure(net)
    assert set(found) == {
        *("accuracy", "nll", "brier", "ece", "auroc_log_px", "auroc_max_py", "auroc_mass", "log_px", "gap")
    }
    labels = validation.labels.numpy()
    with torch.no_grad():
        f, g = (net.logits(x).numpy() for x in (validation.images, validation.outliers))
    correct = prediction(f) == labels
    assert found["accuracy"] == correct.mean()
    assert found["nll"] == pytest.approx(nll(f, labels).mean(), rel=1e-6)
    assert found["brier"] == pytest.approx(brier(f, labels).mean(), rel=1e-6)
    assert found["ece"] == pytest.approx(ece(confidence(f), correct), rel=1e-6)

    p, q = (torch.from_numpy(z).double().softmax(1).numpy() for z in (f, g))
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, p.argmax(1)))
    assert found["nll"] == pytest.approx(sklearn.log_loss(labels, p, labels=list(range(10))), rel=1e-5)
    assert found["brier"] == pytest.approx(np.square(p - np.eye(10)[labels]).sum(1).mean(), rel=1e-5)
    density, other = (np.log(np.exp(z.astype(np.float64)).sum(1)) for z in (f, g))
    assert found["log_px"] == pytest.approx(density.mean(), rel=1e-5)
    assert found["gap"] == pytest.approx(density.mean() - other.mean(), abs=1e-5)
    inside = np.r_[np.ones(len(f)), np.zeros(len(g))]
    for name, scores in {
        "log_px": np.r_[density, other],
        "max_py": np.r_[p.max(1), q.max(1)],
        "mass": -np.r_[slopes(net, validation.images), slopes(net, validation.outliers)],
    }.items():
        assert found[f"auroc_{name}"] == pytest.approx(sklearn.roc_auc_score(inside, scores), abs=1e-4)
        assert found[f"auroc_{name}"] == pytest.approx(auroc(scores[inside == 1], scores[inside == 0]), abs=1e-4)


def slopes(net: Softmax, images: Tensor) -> np.ndarray[Any, Any]:
    """|d log p(x) / dx| of one image at a time, by torch.func."""
    slope = torch.func.vmap(torch.func.grad(lambda x: net.log_density(x[None])[0]))(images)
    return slope.flatten(1).norm(dim=1).detach().numpy()


def test_batches_do_not_matter(net: Softmax, validation: Validation, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = validation.measure(net)
    monkeypatch.setattr("jembench.training.validation.BATCH", 37)
    assert validation.measure(net) == pytest.approx(whole, rel=1e-5, abs=1e-6)


class Quiet:
    """A density that is no classifier."""

    normalized = True

    def log_density(self, x: Tensor) -> Tensor:
        return -x.square().sum((1, 2, 3))


class Loud:
    """A classifier that is no density."""

    def logits(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :10]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Quiet(), {"auroc_log_px", "auroc_mass", "log_px", "gap"}),
        (Loud(), {"accuracy", "nll", "brier", "ece", "auroc_max_py"}),
    ],
)
def test_a_model_gives_the_numbers_that_it_can(model: object, names: set[str], validation: Validation) -> None:
    assert set(validation.measure(model)) == names


def test_measuring_leaves_a_model_as_it_was(validation: Validation) -> None:
    recipe = Recipe.model_validate(
        {
            "track": "digits",
            "about": "a test",
            "model": {"kind": "softmax", "width": 4},
            "training": {"iterations": 1, "batch": 8},
        }
    )
    with generators.forked("weights"):
        model = catalogue.build(recipe, data.track("digits")).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    validation.measure(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_gives_no_numbers_is_an_error(value: float, validation: Validation) -> None:
    class Broken(Loud):
        def logits(self, x: Tensor) -> Tensor:
            return super().logits(x) * value

    with pytest.raises(ValueError, match=r"finite|NaN"):
        validation.measure(Broken())


VALUES = {"accuracy": 0.9, "nll": 0.4, "brier": 0.2, "ece": 0.02, "log_px": -50.0}


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [("last", None), ("accuracy", 0.9), ("nll", -0.4), ("likelihood", -50.0), ("ece-accuracy", 0.9)],
)
def test_a_criterion_is_a_number_to_be_maximised(criterion: Any, expected: float | None) -> None:
    assert merit(VALUES, SelectionPart(criterion=criterion)) == expected


@pytest.mark.parametrize(
    ("name", "low", "high"), [("accuracy", 0.8, 0.9), ("nll", 0.9, 0.8), ("likelihood", -2.0, 1.0)]
)
def test_better_is_more(name: Any, low: float, high: float) -> None:
    key = "log_px" if name == "likelihood" else name
    worse, better = (merit({**VALUES, key: value}, SelectionPart(criterion=name)) for value in (low, high))
    assert worse < better


@pytest.mark.parametrize(("error", "bound", "stays"), [(0.03, 0.03, True), (0.031, 0.03, False), (0.05, 0.06, True)])
def test_an_uncalibrated_checkpoint_is_out_however_accurate(error: float, bound: float, stays: bool) -> None:
    part = SelectionPart(criterion="ece-accuracy", max_ece=bound)
    assert (merit({**VALUES, "ece": error, "accuracy": 1.0}, part) is not None) == stays
