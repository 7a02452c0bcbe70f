"""Images of one set in another are found, to the last bit or slightly changed; those of official splits are apart."""

from dataclasses import replace

import numpy as np
import pytest

from jembench import api, data
from jembench.data import contamination, export, overlap, user
from jembench.data.overlap import Overlap
from jembench.types import UserError

TRACK = data.track("digits")


def changed(images, kind):
    rng = np.random.default_rng(0)
    x = images.astype(float)
    top = 16.0
    if kind == "noise":
        x += 0.03 * top * rng.standard_normal(x.shape)
    elif kind == "brightness":
        x = 0.8 * x + 0.1 * top
    elif kind == "contrast":
        x = 0.7 * (x - 8) + 8
    return np.clip(np.rint(x), 0, top).astype(np.uint8)


@pytest.mark.parametrize("kind", ["noise", "brightness", "contrast"])
def test_20_planted_copies_and_20_changed_ones_are_found(kind):
    test, train = data.load("digits", "test"), data.load("digits", "train")
    images = test.images.copy()
    images[:20] = train.images[100:120]
    images[20:40] = changed(train.images[200:220], kind)
    found = overlap.compare(replace(test, images=images), [train])
    assert found == Overlap(len(test), 20, 20)


def test_no_test_image_of_the_official_split_is_a_training_image():
    assert overlap.of_track(TRACK) == Overlap(360, 0, 0, 0)
    assert overlap.words(Overlap(360, 0, 0, 0), "digits") == ""


def test_copies_within_a_set_are_counted():
    test = data.load("digits", "test")
    images = test.images.copy()
    images[5] = images[7] = images[9]
    assert overlap.compare(replace(test, images=images), []) == Overlap(360, 0, 0, 2)


def test_flat_images_are_near_nothing():
    """Without a mean nothing is left of them."""
    test, train = data.load("digits", "test"), data.load("digits", "train")
    flat = replace(test, images=np.full_like(test.images, 3))
    assert overlap.compare(flat, [train]).near == 0
    assert overlap.compare(flat, [flat]).exact == 360


@pytest.mark.parametrize("form", ["npz", "folder"])
def test_an_exported_set_is_the_same_set(tmp_path, form):
    images = data.load("digits", "train")
    place = tmp_path / ("train.npz" if form == "npz" else "train")
    export.export(images, place)
    again = user.fitted("set", str(place), TRACK)
    assert overlap.compare(images, [again], near=False).exact == len(images) == len(again)
    with pytest.raises(UserError, match="nothing is overwritten"):
        export.export(images, place)


@pytest.mark.parametrize("form", ["npz", "folder"])
def test_labels_are_exported(tmp_path, form):
    from jembench.data import origins

    images = data.load("digits", "test")
    place = tmp_path / ("test.npz" if form == "npz" else "test")
    export.export(images, place)
    rows = list(origins.read(str(place), "set", labelled=True).images)
    found = {(image.tobytes(), y) for image, y in rows}
    pixels = np.rint(images.images * (255 / 16)).astype(np.uint8).transpose(0, 2, 3, 1)
    assert found == {(image.tobytes(), y) for image, y in zip(pixels, images.labels, strict=True)}


def test_outliers_without_a_class_lie_in_the_folder_itself(tmp_path):
    export.export(data.load("digits", "textures"), tmp_path / "textures")
    assert len(list((tmp_path / "textures").glob("*.png"))) == 360


@pytest.fixture
def split(tmp_path):
    """A user's own random split of all digits: most test images are in it."""
    from jembench.data.digits import original

    images, labels = original()
    chosen = np.random.default_rng(0).permutation(len(images))[:1400]
    pixels = np.rint(images[chosen, 0] * (255 / 16)).astype(np.uint8)
    np.savez(tmp_path / "split.npz", images=pixels, labels=labels[chosen])
    return tmp_path / "split.npz", images[chosen]


def test_a_random_split_of_the_users_is_found_out(tmp_path, split):
    path, images = split
    found = contamination.of(str(path), TRACK)
    inside = {image.tobytes() for image in images}
    expected = sum(image.tobytes() in inside for image in data.load("digits", "test").images)
    assert expected > 200
    assert found["test"].exact == expected
    assert found["textures"] == Overlap(360, 0, 0, 0)
    words = contamination.words(str(path), TRACK)
    assert any(f"{expected} of 360 images of 'test' are among them" in each for each in words)
    export.export(data.load("digits", "train"), tmp_path / "official.npz")
    assert contamination.of(str(tmp_path / "official.npz"), TRACK)["test"] == Overlap(360, 0, 0, 0)
    assert not [each for each in contamination.words(str(tmp_path / "official.npz"), TRACK) if "'test'" in each]


def test_results_say_what_the_model_was_trained_on(tmp_path, split):
    path, _ = split
    request = api.Request(models=(api.parse("softmax"),), suites=("accuracy",), limit=20, output=tmp_path / "runs")
    (first,) = api.measure(request)
    assert not first.document.warnings
    (told,) = api.measure(replace(request, trained_on=str(path)))
    assert not told.evaluation.outcome.computed  # its numbers are the same
    assert any("images of 'test' are among them" in words for words in told.document.warnings)
    (again,) = api.measure(request)
    assert again.document.warnings == told.document.warnings
