"""Detectors: each number is pytorch-ood's own on the same model, fitted on the training split and on nothing else."""

import numpy as np
import pytest
import torch
from pytorch_ood import detector as pytorch_ood
from torch.utils.data import DataLoader, TensorDataset

from jembench import data
from jembench.ground import generators
from jembench.measurements import detector as module
from jembench.measurements.detector import DETECTORS, Detector
from jembench.measurements.features import Features
from jembench.types import Batch, UserError
from jembench.zoo import catalogue
from jembench.zoo.references import parse


@pytest.fixture(scope="module")
def model():
    return catalogue.load(catalogue.resolve(parse("jem"), track="digits"))


def images(source, start=0, stop=None):
    found = data.load("digits", source)
    x = torch.from_numpy(found.pixels(start, stop))
    return Batch(x, torch.from_numpy(found.labels[start:stop]), torch.arange(len(x)), found.levels)


def records(model, given):
    return {**Features().columns(model, given, generators.generator()), "label": given.labels.numpy()}


def score(model, name, given, training):
    """What the engine does: records of the examples and of the whole training split."""
    made = Detector(name)
    rows = (records(model, given),) * made.featured
    whole = (records(model, training),) * made.fitted
    filled = Batch(given.images, given.labels, given.index, given.levels, rows, whole)
    return made.columns(model, filled, generators.generator())["detector_score"]


def direct(model, name):
    """The detector as the package's documentation builds it, on images."""
    z, last = model.penultimate, model.readout

    def maps(x):
        return z(x)[:, :, None, None]

    def head(h):
        return last(h.flatten(1))

    return {
        "mahalanobis": lambda: pytorch_ood.Mahalanobis(z),
        "rmd": lambda: pytorch_ood.RMD(z),
        "knn": lambda: pytorch_ood.KNN(z, k=50),
        "vim": lambda: pytorch_ood.ViM(z, d=last.in_features // 2, w=last.weight, b=last.bias),
        "react": lambda: pytorch_ood.ReAct(maps, head, percentile=0.9),
        "dice": lambda: pytorch_ood.DICE(z, w=last.weight, b=last.bias, p=0.9),
        "ash": lambda: pytorch_ood.ASH(maps, head, variant="ash-s", percentile=0.65),
        "scale": lambda: pytorch_ood.SCALE(maps, head, percentile=0.65),
        "she": lambda: pytorch_ood.SHE(z, last),
        "nnguide": lambda: pytorch_ood.NNGuide(z, last, k=10),
        "fdbd": lambda: pytorch_ood.fDBD(z, last),
        "gradnorm": lambda: pytorch_ood.GradNorm(model, lambda parameter: parameter == "network.head.weight"),
        "kl_matching": lambda: pytorch_ood.KLMatching(model),
        "gen": lambda: pytorch_ood.GEN(model),
        "odin": lambda: pytorch_ood.ODIN(model),
    }[name]()


@pytest.mark.parametrize("name", DETECTORS)
def test_it_is_pytorch_oods_own_with_the_other_sign(model, name):
    """The package fits and scores by itself, from the images, the gradient of the whole network included."""
    training, given = images("train"), images("textures", 0, 40)
    made = direct(model, name)
    made.fit(DataLoader(TensorDataset(training.images, training.labels), batch_size=250))
    if name != "odin":
        with torch.no_grad():
            expected = -made(given.images).numpy()
    else:
        expected = -made(given.images).numpy()
    found = score(model, name, given, training)
    assert found.dtype == np.float64
    assert found == pytest.approx(expected, rel=2e-3, abs=2e-3 * float(np.std(expected)))
    assert np.corrcoef(np.argsort(np.argsort(found)), np.argsort(np.argsort(expected)))[0, 1] > 0.999


@pytest.mark.parametrize("name", DETECTORS)
def test_larger_is_more_in_distribution(model, name):
    """Test digits above uniform noise; planted, the package's own sign puts them below."""
    training = images("train")
    inside, outside = (score(model, name, images(source, 0, 100), training) for source in ("test", "noise"))
    assert np.mean(inside[:, None] > outside) > 0.85
    assert np.mean(-inside[:, None] > -outside) < 0.15


@pytest.mark.parametrize("name", DETECTORS)
def test_a_score_depends_on_its_image_and_on_the_training_split_alone(model, name):
    """Scored beside other images it is the same: nothing is fitted on what is scored."""
    training = images("train")
    beside, alone = images("test", 0, 30), images("test", 4, 5)
    together = score(model, name, beside, training)
    single = score(model, name, alone, training)
    assert single[0] == pytest.approx(together[4], rel=1e-3, abs=1e-4 * float(np.std(together)))
    if Detector(name).fitted:
        half = Batch(training.images[::2], training.labels[::2], training.index[::2], training.levels)
        assert not np.allclose(score(model, name, beside, half), together, rtol=1e-6)


def test_a_detector_fitted_on_the_wrong_split_would_be_caught(model):
    """Planted bug: fitted on the test images, their nearest neighbours are near themselves."""
    given = images("test", 0, 100)
    right, wrong = score(model, "knn", given, images("train")), score(model, "knn", given, images("test"))
    assert not np.allclose(right, wrong, rtol=0.01)


def test_neither_the_model_nor_the_global_generators_are_touched(model):
    given, training = images("test", 0, 20), images("train")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    for name in DETECTORS:
        score(model, name, given, training)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("count", [5, 60])
def test_too_small_a_training_split_is_one_line(model, count):
    """Too few neighbours; a class that is missing."""
    training = images("train", 0, count)
    training.labels[training.labels == 3] = 2
    with pytest.raises(UserError, match=f"needs 50 images of it, some of every class, not {count} images of"):
        score(model, "knn", images("test", 0, 5), training)


def test_an_unknown_detector_gets_the_nearest_name():
    with pytest.raises(UserError, match=r"unknown detector 'mahalanobi'; did you mean 'mahalanobis'\?"):
        Detector("mahalanobi")


def test_a_missing_package_is_one_line_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"detector 'knn' needs pytorch-ood: pip install 'jembench\[ood\]'"):
        Detector("knn")


def test_a_readout_without_bias_will_do():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.readout = torch.nn.Linear(64, 10, bias=False).requires_grad_(False)

        def penultimate(self, x):
            return x.flatten(1)

        def logits(self, x):
            return self.readout(self.penultimate(x))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Model()
    for name in ("vim", "dice"):
        assert np.isfinite(score(made, name, images("test", 0, 9), images("train"))).all()
