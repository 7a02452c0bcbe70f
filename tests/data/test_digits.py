"""The digits track against scikit-learn's own loader, and every OOD set against its recipe."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits, load_sample_image
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from jembench import data
from jembench.data import digits, sets
from jembench.ground import seeding
from jembench.types import UserError

SPLITS = ("train", "validation", "test", "ood-base")
OOD = tuple(source.name for source in digits.TRACK.ood)


def rows(images, labels=None):
    """Images, with their labels, as a set of bytes."""
    flat = images.reshape(len(images), -1).astype(np.int64)
    flat = flat if labels is None else np.column_stack([flat, labels])
    return sorted(row.tobytes() for row in flat)


def test_the_digits_are_scikit_learns():
    """Read without importing it, in its order."""
    images, labels = digits.original()
    theirs = load_digits()
    assert np.array_equal(images[:, 0], theirs.images)
    assert np.array_equal(labels, theirs.target)


def test_every_digit_is_in_exactly_one_split_with_its_label():
    parts = [data.load("digits", name) for name in SPLITS]
    images, labels = np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts])
    theirs = load_digits()
    assert len(images) == 1797
    assert rows(images, labels) == rows(theirs.images, theirs.target)
    assert len(set(rows(images))) == 1797  # no digit is there twice, so the splits are disjoint


@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_stratified_to_within_one_and_shuffled(name):
    total = np.bincount(load_digits().target)
    labels = data.load("digits", name).labels
    proportional = total * len(labels) / 1797
    assert (np.abs(np.bincount(labels, minlength=10) - proportional) < 1).all()
    # "The first N" is a random sample: neighbours share a class as often as chance, one in ten.
    together = int((labels[1:] == labels[:-1]).sum())
    assert stats.binomtest(together, len(labels) - 1, 0.1).pvalue > 0.001


@pytest.mark.parametrize("name", [source.name for source in digits.TRACK.sources])
def test_images_are_integers_in_range_and_pixels_their_fractions(name):
    images = data.load("digits", name)
    assert images.images.dtype == np.uint8
    assert images.images.shape[1:] == digits.TRACK.shape
    assert images.images.max() <= 16
    assert images.labels.dtype == np.int64
    assert np.array_equal(images.pixels() * 16, images.images)
    assert np.array_equal(images.pixels(3, 5), images.pixels()[3:5])


@pytest.mark.parametrize("name", OOD)
def test_ood_images_have_no_class(name):
    assert (data.load("digits", name).labels == -1).all()


@pytest.mark.parametrize("name", ["test", "noise"])
@pytest.mark.parametrize("fault", ["pixel", "label", "order", "fewer"])
def test_other_bytes_are_refused(monkeypatch, name, fault):
    """Whatever changes a number is noticed before there is a number."""
    images = digits.build(name)
    changed = {
        "pixel": lambda: replace(
            images, images=images.images ^ (np.arange(images.images.size) == 999).reshape(images.images.shape)
        ),
        "label": lambda: replace(
            images, labels=np.where(np.arange(len(images)) == 7, 3 - images.labels, images.labels)
        ),
        "order": lambda: replace(images, images=np.roll(images.images, 1, axis=0)),
        "fewer": lambda: replace(images, images=images.images[:-1], labels=images.labels[:-1]),
    }[fault]()
    monkeypatch.setattr(digits, "build", lambda _: changed)
    with pytest.raises(UserError, match=f"digits/{name}: the images are not those of the track") as error:
        data.load("digits", name)
    assert "\n" not in str(error.value)


def test_an_unknown_track_is_named_with_its_neighbour():
    with pytest.raises(UserError, match="did you mean 'digits'"):
        data.track("digit")


def test_interp_is_the_mean_of_disjoint_pairs_of_different_classes():
    base, mixed = data.load("digits", "ood-base"), data.load("digits", "interp").images
    pairs = sets.pairs(base.labels).T
    assert len(set(pairs.ravel().tolist())) == pairs.size == 180
    assert (base.labels[pairs[:, 0]] != base.labels[pairs[:, 1]]).all()
    mean = base.images[pairs].astype(np.float64).mean(axis=1)
    assert np.array_equal(mixed, np.floor(mean))


@pytest.mark.parametrize("labels", [[], [1], [1, 1, 1], [0, 0, 0, 1], [0, 1, 0, 1, 2]])
def test_pairs_never_join_a_class_with_itself(labels):
    pairs = sets.pairs(np.array(labels, dtype=np.int64)).T
    used = pairs.ravel().tolist()
    assert len(used) == len(set(used))
    assert all(labels[i] != labels[j] for i, j in pairs.tolist())


def kept(name):
    base = data.load("digits", "ood-base")
    return base.images[~np.isin(base.labels, digits.STILL_DIGITS[name])]


def test_rotated_is_a_quarter_turn_to_the_left_of_the_classes_that_do_not_stay_digits():
    expected = np.stack([np.rot90(image[0]) for image in kept("rotated")])
    assert np.array_equal(data.load("digits", "rotated").images[:, 0], expected)


def test_flipped_is_a_mirror_image_of_the_classes_that_do_not_stay_digits():
    expected = np.stack([np.fliplr(image[0]) for image in kept("flipped")])
    assert np.array_equal(data.load("digits", "flipped").images[:, 0], expected)


def test_inverted_is_sixteen_minus_x():
    inverted = data.load("digits", "inverted").images.astype(int)
    assert np.array_equal(inverted + data.load("digits", "ood-base").images, np.full_like(inverted, 16))


def test_no_ood_image_is_made_from_a_test_image():
    """DeLong's interval takes the two samples as independent."""
    test = data.load("digits", "test").images
    made = {"rotated": np.rot90(test, axes=(2, 3)), "flipped": test[..., ::-1], "inverted": 16 - test}
    for name in OOD:
        images = rows(data.load("digits", name).images)
        assert not set(images) & set(rows(test))
        if name in made:
            assert not set(images) & set(rows(made[name]))
    assert all(digits.TRACK.source(name).base == "ood-base" for name in ("interp", *made))
    assert all(digits.TRACK.source(name).base is None for name in ("textures", "noise"))


def test_noise_is_uniform_over_the_levels_and_over_the_pixels():
    noise = data.load("digits", "noise").images
    assert stats.chisquare(np.bincount(noise.ravel(), minlength=17)).pvalue > 0.01
    by_pixel = noise.reshape(len(noise), 64).mean(axis=0)
    assert np.abs(by_pixel - 8).max() < 4.5 * np.sqrt((17**2 - 1) / 12 / len(noise))
    assert len(set(rows(noise))) == 360


def textures():
    """How ``jembench/data/textures.npy`` was made: grey cells with a span of at least 4 levels, 180 a photograph."""
    parts = []
    for name in ("china.jpg", "flower.jpg"):
        rgb = load_sample_image(name).astype(np.int64)
        grey = (299 * rgb[..., 0] + 587 * rgb[..., 1] + 114 * rgb[..., 2]) // 1000
        height, width = grey.shape[0] // 8, grey.shape[1] // 8
        cells = grey[: height * 8, : width * 8].reshape(height, 8, width, 8).swapaxes(1, 2).reshape(-1, 8, 8)
        cells = cells * 17 // 256
        cells = cells[cells.max((1, 2)) - cells.min((1, 2)) >= 4]
        parts.append(cells[seeding.permutation("digits-v1", "textures", name, n=len(cells))[:180]])
    patches = np.concatenate(parts)
    return patches[seeding.permutation("digits-v1", "textures", n=len(patches))]


def test_textures_are_patches_of_the_two_photographs():
    """JPEG decoders differ by a level here and there: why the patches ship as integers."""
    shipped = data.load("digits", "textures").images[:, 0].astype(int)
    close = np.abs(shipped - textures()) <= 1
    assert close.mean() >= 0.99


def test_textures_are_not_flat_and_not_repeated():
    shipped = data.load("digits", "textures").images[:, 0].astype(int)
    assert (shipped.max((1, 2)) - shipped.min((1, 2)) >= 4).all()
    assert len(set(rows(shipped))) == 360


@pytest.mark.parametrize(
    ("name", "read_as_digits"),
    [("flipped", set()), ("rotated", {0})],  # a quarter turn leaves a 0 a 0 to a reader, if a wide one
)
def test_the_classes_left_out_are_those_that_stay_digits(name: str, read_as_digits: set[int]):
    """Those that most of three unlike classifiers call by the same name, more often than not, and no others.

    They learn from train; the transformed images are those of train, validation and ood-base, never of test.
    """
    train = data.load("digits", "train")
    parts = [data.load("digits", split) for split in ("train", "validation", "ood-base")]
    images = np.concatenate([part.images for part in parts])
    images = images[..., ::-1] if name == "flipped" else np.rot90(images, axes=(2, 3))
    labels = np.concatenate([part.labels for part in parts])
    votes = np.zeros(10, dtype=int)
    for classifier in (SVC(), KNeighborsClassifier(3), ExtraTreesClassifier(100, random_state=0)):
        named = classifier.fit(train.images.reshape(-1, 64), train.labels).predict(images.reshape(-1, 64))
        votes += [(named[labels == k] == k).mean() > 0.5 for k in range(10)]
    kept = set(np.flatnonzero(votes >= 2).tolist())
    assert kept | read_as_digits == set(digits.STILL_DIGITS[name])
