"""Streams: which labels a run may use, where a batch comes from, and what is done to its images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from jembench import data, seeding
from jembench.data.sets import ImageSet
from jembench.recipes import DataPart
from jembench.streams import Streams, labelled, shifted
from jembench.team import Share
from jembench.types import UserError

CPU = torch.device("cpu")
PLAIN = DataPart(noise=0.0)


def coded(n=60, classes=4, levels=65_536, shape=(1, 4, 4)):
    """Image i is i + 1 in every pixel, so that it can be told wherever it turns up."""
    images = np.broadcast_to(np.arange(1, n + 1, dtype=np.uint16)[:, None, None, None], (n, *shape)).copy()
    return ImageSet(images, np.arange(n) % classes, levels)


def streams(part=PLAIN, images=None, *, batch=8, share=None, **options):
    whole = Share(0, batch, batch)
    return Streams(images or coded(), part, classes=4, share=share or whole, device=CPU, **options)


def numbers(x, levels=65_536):
    """Which image each of a batch is, by the pixel in its middle."""
    return (x[:, 0, 1, 1] * (levels - 1)).round().long() - 1


def drawn(made, count, *, of="labels", with_labels=False):
    """``count`` batches of a stream."""
    generator = seeding.generator("batches", of)
    for _ in range(count):
        yield made.of_labels(generator) if of == "labels" else made.of_density(generator, with_labels=with_labels)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(1, 6), st.integers(0, 5))
def test_exactly_so_many_labels_of_every_class_or_a_reason(labels, wanted, seed):
    """Sorted, different, of the right class, the same each time; one class too few is an error that names the first."""
    y = np.array(labels)
    part = DataPart(labels_per_class=wanted, labels_seed=seed)
    counts = np.bincount(y, minlength=4)
    if counts.min() < wanted:
        k = int(np.flatnonzero(counts < wanted)[0])
        message = f"class {k} has {counts[k]} labelled training examples, the recipe needs {wanted}"
        with pytest.raises(UserError, match=message):
            labelled(y, part, classes=4)
        return
    chosen = labelled(y, part, classes=4)
    assert np.bincount(y[chosen], minlength=4).tolist() == [wanted] * 4
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, labelled(y, part, classes=4))


def test_without_a_number_every_label_is_used_and_the_seed_says_nothing():
    y = np.arange(50) % 4
    for seed in (0, 1):
        assert labelled(y, DataPart(labels_seed=seed), classes=4).tolist() == list(range(50))
    with pytest.raises(UserError, match="class 4 has 0 labelled training examples, the recipe needs 1"):
        labelled(y, DataPart(), classes=5)


def test_examples_without_a_class_of_the_track_are_never_labelled():
    y = np.array([0, -1, 1, -1, 2, 3])
    assert labelled(y, DataPart(), classes=4).tolist() == [0, 2, 4, 5]


def test_the_labels_are_drawn_by_their_seed_and_every_example_may_be_one():
    """Other seeds, other labels; over many seeds each example of a class is chosen equally often."""
    y = np.arange(40) % 4
    sets = [tuple(labelled(y, DataPart(labels_per_class=3, labels_seed=seed), classes=4)) for seed in range(400)]
    assert len(set(sets)) > 395
    counts = np.bincount(np.concatenate(sets), minlength=40)
    for k in range(4):  # without replacement a count has variance 400 * .3 * .7, and 9 degrees of freedom a class
        statistic = ((counts[y == k] - 120) ** 2 / 120).sum() / (1 - 0.3) * (9 / 10)
        assert statistic < stats.chi2.ppf(0.999, 9)


def test_more_labels_hold_the_fewer():
    """One seed: the 3 labels of a class are among the 5, so that runs with more labels differ in nothing else."""
    y = np.arange(80) % 4
    few, more = (set(labelled(y, DataPart(labels_per_class=n), classes=4).tolist()) for n in (3, 5))
    assert few < more


def test_the_labelled_stream_draws_the_known_labels_uniformly_and_the_density_stream_all_images():
    made = streams(DataPart(noise=0.0, labels_per_class=5), batch=64)
    known = made.labelled.tolist()
    assert len(known) == 20
    counts = {of: torch.zeros(60) for of in ("labels", "density", "conditional")}
    for x, y in drawn(made, 60):
        assert torch.equal(y, numbers(x) % 4)
        counts["labels"] += torch.bincount(numbers(x), minlength=60)
    for x, y in drawn(made, 60, of="density"):
        assert y is None
        counts["density"] += torch.bincount(numbers(x), minlength=60)
    for x, y in drawn(made, 60, of="density", with_labels=True):
        assert torch.equal(y, numbers(x) % 4)
        counts["conditional"] += torch.bincount(numbers(x), minlength=60)
    for name in ("labels", "conditional"):
        assert counts[name].nonzero().flatten().tolist() == known
        assert stats.chisquare(counts[name][known].numpy()).pvalue > 0.001
    assert stats.chisquare(counts["density"].numpy()).pvalue > 0.001


def test_without_noise_and_shift_images_are_the_pixels_of_the_track():
    train = data.load("digits", "train")
    made = Streams(train, PLAIN, classes=10, share=Share(0, 16, 16), device=CPU)
    x, y = made.of_labels(seeding.generator("pixels"))
    pixels = torch.from_numpy(train.pixels())
    for image, label in zip(x, y, strict=True):
        same = (pixels == image).flatten(1).all(1)
        assert same.any()
        assert label in torch.from_numpy(train.labels)[same]


def test_the_input_noise_is_gaussian_of_its_standard_deviation():
    x, _ = streams(DataPart(noise=0.02), batch=2000).of_labels(seeding.generator("noise"))
    clean, _ = streams(batch=2000).of_labels(seeding.generator("noise"))  # the same draws come before the noise
    noise = (x - clean).flatten().double().numpy() / 0.02
    assert stats.kstest(noise, "norm").pvalue > 0.01


@pytest.mark.parametrize("levels", [17, 256])
def test_dequantised_images_have_the_uniform_noise_of_one_grey_level(levels):
    """Rounded to the nearest level they are the image again: nothing is lost, no cell overlaps."""
    images = coded(12, levels=levels)
    for of in ("labels", "density"):
        generators = [seeding.generator("cells", of) for _ in range(2)]
        made, plain = streams(images=images, batch=1500, dequantise=True), streams(images=images, batch=1500)
        (x, _), (clean, _) = (
            s.of_labels(g) if of == "labels" else s.of_density(g, with_labels=False)
            for s, g in zip((made, plain), generators, strict=True)
        )
        cells = ((x - clean) * (levels - 1)).double().flatten().numpy() + 0.5
        assert stats.kstest(cells, "uniform").pvalue > 0.01
        whole = (x * (levels - 1) - clean * (levels - 1)).abs().max()
        assert whole <= 0.5 + 1e-3


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("dequantise", [False, True])
@pytest.mark.parametrize("part", [DataPart(shift=1), DataPart(shift=1, shift_density=0, noise=0.1, labels_per_class=3)])
def test_shares_make_up_the_batches_of_one_process(size, dequantise, part):
    """Bit for bit, with every augmentation, over several draws of one generator."""

    def batches(share):
        made, generator = streams(part, share=share, dequantise=dequantise), seeding.generator("shares")
        found = []
        for _ in range(3):
            found += [*made.of_labels(generator), made.of_density(generator, with_labels=False)[0]]
            found += [*made.of_density(generator, with_labels=True)]
        return found

    expected = batches(Share(0, 8, 8))
    each = 8 // size
    parts = [batches(Share(r * each, (r + 1) * each, 8)) for r in range(size)]
    for pieces, whole in zip(zip(*parts, strict=True), expected, strict=True):
        assert torch.equal(torch.cat(pieces), whole)


@pytest.mark.parametrize(("shift_density", "moves"), [(None, True), (0, False), (1, True)])
def test_the_density_stream_has_a_shift_of_its_own(shift_density, moves):
    """A shifted image of ones has zeros at an edge."""
    part = DataPart(noise=0.0, shift=1, shift_density=shift_density)
    made, generator = streams(part, batch=100), seeding.generator("own")
    edges = lambda x: (x == 0).flatten(1).any(1)  # noqa: E731
    assert edges(made.of_labels(generator)[0]).float().mean() == pytest.approx(8 / 9, abs=0.12)
    for with_labels in (False, True):
        x, _ = made.of_density(generator, with_labels=with_labels)
        assert edges(x).any() == moves
    still = streams(DataPart(noise=0.0, shift=0, shift_density=2), batch=100)
    assert not edges(still.of_labels(generator)[0]).any()
    assert edges(still.of_density(generator, with_labels=False)[0]).any()


def test_drawing_does_not_change_the_training_images():
    made = streams(DataPart(shift=1, noise=0.5), dequantise=True)
    before = made.images.clone()
    for x, _ in drawn(made, 5):
        x.zero_()
    for x, _ in drawn(streams(), 2, of="density"):
        x.zero_()
    assert torch.equal(made.images, before)


def test_shifted_moves_whole_images_by_whole_pixels_with_zeros_coming_in():
    """Each is one of the nine moves of its own image, and each move comes equally often."""
    x = 1 + torch.rand((1800, 2, 4, 6), generator=seeding.generator("x"))
    moved = shifted(x, 1, generator=seeding.generator("shift"))
    wide = nn.functional.pad(x, (1, 1, 1, 1))
    moves = torch.stack([wide[:, :, r : r + 4, c : c + 6] for r in range(3) for c in range(3)])
    same = (moves == moved).flatten(2).all(2)  # (9, 1800)
    assert (same.sum(0) == 1).all()
    assert stats.chisquare(same.sum(1).numpy()).pvalue > 0.01


def test_shifted_by_nothing_is_the_image_and_draws_nothing():
    generator = seeding.generator("shift")
    before = generator.get_state()
    x = torch.rand((2, 1, 4, 4))
    assert shifted(x, 0, generator=generator) is x
    assert torch.equal(generator.get_state(), before)
