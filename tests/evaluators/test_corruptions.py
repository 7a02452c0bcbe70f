"""Corrupted copies of the test images, as CIFAR-10-C has them: the accuracy of each, and what is no such folder."""

import numpy as np
import pytest

import jembench
from jembench import api, data
from jembench.data import corruptions
from jembench.types import UserError

TRACK = data.track("digits")


@pytest.fixture
def folder(tmp_path):
    """Digits that are darker at each severity, and digits that stay: grey arrays of five severities."""
    test = data.load("digits", "test")
    pixels = np.rint(test.images * (255 / 16)).astype(np.uint8).transpose(0, 2, 3, 1)
    dark = [np.rint(pixels * (1 - severity / 6)).astype(np.uint8) for severity in range(1, 6)]
    np.save(tmp_path / "dark.npy", np.concatenate(dark))
    np.save(tmp_path / "none.npy", np.concatenate([pixels] * 5))
    np.save(tmp_path / "labels.npy", np.tile(test.labels, 5))
    return tmp_path


@pytest.mark.parametrize("suite", ["accuracy", "calibration"])
def test_accuracy_of_every_copy_and_means_over_corruptions(folder, tmp_path, suite):
    request = api.Request(models=(api.parse("softmax"),), suites=(suite,), corruptions=folder, output=tmp_path / "runs")
    (result,) = api.measure(request)
    model = jembench.load("softmax")
    for name, severity in (("dark", 1), ("dark", 5), ("none", 3)):
        images = corruptions.load(f"corruption:{severity}:{name}:{folder}", TRACK)
        import torch

        right = model.logits(torch.from_numpy(images.pixels())).argmax(1).numpy() == images.labels
        metric = result.metrics[f"{name}-{severity}/accuracy"]
        assert metric.value == pytest.approx(right.mean())
        assert metric.n == {f"{name}-{severity}": 360}
    mean = (result.metrics["dark-5/accuracy"].value + result.metrics["none-5/accuracy"].value) / 2
    assert result.metrics["severity-5/accuracy"].value == pytest.approx(mean)
    assert result.metrics["dark-5/accuracy"].value < result.metrics["none-5/accuracy"].value
    assert "corrupted test images · digits-v1" in result.to_markdown()


def test_uncorrupted_copies_are_the_test_images(folder):
    images = corruptions.load(f"corruption:4:none:{folder}", TRACK)
    test = data.load("digits", "test")
    assert {(x.tobytes(), int(y)) for x, y in zip(images.images, images.labels, strict=True)} == {
        (x.tobytes(), int(y)) for x, y in zip(test.images, test.labels, strict=True)
    }


def test_without_a_folder_nothing_moves(tmp_path):
    plain = api.evaluate("softmax", "accuracy", limit=20, output=tmp_path)
    assert set(plain.metrics) == {"test/accuracy"}


BAD = {
    "empty": (lambda folder: [path.unlink() for path in folder.iterdir()], "zenodo.org/records/2535967"),
    "no labels": (lambda folder: (folder / "labels.npy").unlink(), "with labels.npy"),
    "another shape": (lambda folder: np.save(folder / "dark.npy", np.zeros((5, 3, 3, 3), np.uint8)), "needs uint8"),
    "no fifth": (lambda folder: np.save(folder / "dark.npy", np.zeros((7, 8, 8, 1), np.uint8)), "needs uint8"),
    "wrong labels": (lambda folder: np.save(folder / "labels.npy", np.full(360, 12)), "are no classes of 360 images"),
    "negative labels": (lambda folder: np.save(folder / "labels.npy", np.full(360, -1)), "are no classes"),
    "a pickle": (
        lambda folder: np.save(folder / "dark.npy", np.array([{}], dtype=object), allow_pickle=True), "not a readable"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_such_folder_is_one_line(folder, name):
    change, words = BAD[name]
    change(folder)
    with pytest.raises(UserError) as error:
        corruptions.sources(folder, TRACK)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
