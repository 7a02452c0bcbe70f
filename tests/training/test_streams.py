"""Streams: which labels a run may use, where a batch comes from, and what is done to its images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torchvision import transforms
from torchvision.transforms import functional as pictures

from jembench import data
from jembench.data.sets import ImageSet
from jembench.ground.generators import generator as keyed
from jembench.ground.shares import Share
from jembench.models.recipes import DataPart
from jembench.training.streams import Streams, labelled, shifted
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
    generator = keyed("batches", of)
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
    x, y = made.of_labels(keyed("pixels"))
    pixels = torch.from_numpy(train.pixels())
    for image, label in zip(x, y, strict=True):
        same = (pixels == image).flatten(1).all(1)
        assert same.any()
        assert label in torch.from_numpy(train.labels)[same]


def test_the_input_noise_is_gaussian_of_its_standard_deviation():
    x, _ = streams(DataPart(noise=0.02), batch=2000).of_labels(keyed("noise"))
    clean, _ = streams(batch=2000).of_labels(keyed("noise"))  # the same draws come before the noise
    noise = (x - clean).flatten().double().numpy() / 0.02
    assert stats.kstest(noise, "norm").pvalue > 0.01


@pytest.mark.parametrize("levels", [17, 256])
def test_dequantised_images_have_the_uniform_noise_of_one_grey_level(levels):
    """Rounded to the nearest level they are the image again: nothing is lost, no cell overlaps."""
    images = coded(12, levels=levels)
    for of in ("labels", "density"):
        generators = [keyed("cells", of) for _ in range(2)]
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
@pytest.mark.parametrize(
    "part",
    [
        DataPart(shift=1),
        DataPart(shift=1, shift_density=0, noise=0.1, labels_per_class=3),
        DataPart(shift=1, padding="reflect", flip=True),
    ],
)
def test_shares_make_up_the_batches_of_one_process(size, dequantise, part):
    """Bit for bit, with every augmentation, over several draws of one generator."""

    def batches(share):
        made, generator = streams(part, share=share, dequantise=dequantise), keyed("shares")
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
    made, generator = streams(part, batch=100), keyed("own")
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
    x = 1 + torch.rand((1800, 2, 4, 6), generator=keyed("x"))
    moved = shifted(x, 1, generator=keyed("shift"))
    wide = nn.functional.pad(x, (1, 1, 1, 1))
    moves = torch.stack([wide[:, :, r : r + 4, c : c + 6] for r in range(3) for c in range(3)])
    same = (moves == moved).flatten(2).all(2)  # (9, 1800)
    assert (same.sum(0) == 1).all()
    assert stats.chisquare(same.sum(1).numpy()).pvalue > 0.01


def test_shifted_by_nothing_is_the_image_and_draws_nothing():
    generator = keyed("shift")
    before = generator.get_state()
    x = torch.rand((2, 1, 4, 4))
    assert shifted(x, 0, generator=generator) is x
    assert torch.equal(generator.get_state(), before)


def test_images_are_kept_as_integers_and_read_as_floats_of_the_same_bits():
    """A byte a pixel, whatever the batch: the floats are those of the set."""
    rng = np.random.default_rng(0)
    for levels, kind, kept in ((256, np.uint8, torch.uint8), (65_536, np.uint16, torch.int32)):
        images = ImageSet(rng.integers(0, levels, (50, 3, 4, 4)).astype(kind), np.arange(50) % 4, levels)
        made = streams(images=images)
        assert made.images.dtype == kept
        index = torch.tensor([3, 0, 49, 3])
        assert torch.equal(made.pixels(index), torch.from_numpy(images.at(index.numpy())))


def test_mapped_images_are_copied_once(tmp_path):
    images = coded(levels=256)
    np.save(tmp_path / "x.npy", images.images.astype(np.uint8))
    mapped = ImageSet(np.load(tmp_path / "x.npy", mmap_mode="r"), images.labels, 256)
    made = streams(images=mapped)
    made.images.zero_()
    assert mapped.images.any()


def lopsided(n=60):
    """Image i is i + 1 in its left half and 0 in its right one."""
    images = coded(n)
    images.images[:, :, :, 2:] = 0
    return images


def test_a_flip_is_the_mirror_image_of_half_of_the_images():
    made, plain = (streams(DataPart(noise=0.0, flip=flip), lopsided(), batch=4000) for flip in (True, False))
    for of in ("labels", "density"):
        ((x, _),) = drawn(made, 1, of=of)
        ((clean, _),) = drawn(plain, 1, of=of)  # which images are drawn comes first
        same, mirrored = (x == clean).flatten(1).all(1), (x == clean.flip(3)).flatten(1).all(1)
        assert (same ^ mirrored).all()
        assert stats.binomtest(int(mirrored.sum()), 4000).pvalue > 0.001


@pytest.mark.parametrize(("flip", "flip_density"), [(True, False), (False, True), (True, None), (False, None)])
def test_the_density_stream_has_a_flip_of_its_own(flip, flip_density):
    made = streams(DataPart(noise=0.0, flip=flip, flip_density=flip_density), lopsided(), batch=100)
    generator = keyed("own")
    right = lambda x: (x[..., 2:] > 0).any()  # noqa: E731
    assert right(made.of_labels(generator)[0]) == flip
    for with_labels in (False, True):
        x, _ = made.of_density(generator, with_labels=with_labels)
        assert right(x) == (flip if flip_density is None else flip_density)


@pytest.mark.parametrize("part", [PLAIN, DataPart(shift=1), DataPart(shift=1, shift_density=0, noise=0.1)])
def test_recipes_without_a_flip_draw_as_they_did(part):
    """Bit for bit what the stream was before it could flip and reflect, written out: index, shift, noise."""
    made, generator, old = streams(part), keyed("old"), keyed("old")
    pixels = torch.from_numpy(coded().pixels())
    for _ in range(3):
        for shift, x in (
            (part.shift, made.of_labels(generator)[0]),
            (part.shift if part.shift_density is None else 0, made.of_density(generator, with_labels=False)[0]),
        ):
            expected = pixels[torch.randint(60, (8,), generator=old)]
            if shift:
                wide = nn.functional.pad(expected, (1, 1, 1, 1))
                rows, columns = torch.randint(3, (2, 8), generator=old)
                moved = [w[:, r : r + 4, c : c + 4] for w, r, c in zip(wide, rows, columns, strict=True)]
                expected = torch.stack(moved)
            if part.noise:
                expected = expected + part.noise * torch.randn(expected.shape, generator=old)
            assert torch.equal(x, expected)


def test_a_reflected_shift_is_torchvisions_crop_of_the_padded_image():
    """Each is one of the 81 crops that RandomCrop with a reflected border of 4 can give, each equally often."""
    x = torch.rand((4050, 1, 8, 8), generator=keyed("x"))
    moved = shifted(x, 4, padding="reflect", generator=keyed("shift"))
    crop = transforms.RandomCrop(8, padding=4, padding_mode="reflect")
    wide = pictures.pad(x, [4] * 4, padding_mode="reflect")
    crops = torch.stack([pictures.crop(wide, r, c, 8, 8) for r in range(9) for c in range(9)])
    same = (crops == moved).flatten(2).all(2)
    assert (same.sum(0) == 1).all()
    assert stats.chisquare(same.sum(1).numpy()).pvalue > 0.01
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = crop(x[:1])
    assert (crops[:, 0] == theirs[0]).flatten(1).all(1).any()


def test_reflect_and_zero_move_alike():
    """What lies inside the image is the same; only what comes in differs."""
    x = 1 + torch.rand((50, 1, 8, 8), generator=keyed("x"))
    one, two = (shifted(x, 3, padding=padding, generator=keyed("s")) for padding in ("zero", "reflect"))
    inside = one != 0
    assert torch.equal(one[inside], two[inside])
    assert (two != 0).all()
