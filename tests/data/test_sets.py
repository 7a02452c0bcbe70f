"""The source whose rows are sampling chains: no image, the classes asked for in turn, a pinned hash."""

import numpy as np
import pytest

from jembench import data
from jembench.data.sets import CHAINS, ImageSet, chains
from jembench.ground.identity import array_sha256


@pytest.mark.parametrize("name", data.TRACKS)
def test_every_track_has_its_chains(name: str) -> None:
    track = data.track(name)
    source, rows = track.source(CHAINS), data.load(name, CHAINS)
    assert source.role == "chains"
    assert source.sha256 == array_sha256(rows.images, rows.labels)
    assert rows.images.shape == (source.n, *track.shape)
    assert not rows.images.any()
    assert rows.labels.tolist() == [i % track.classes for i in range(source.n)]
    assert np.array_equal(chains(track).labels, rows.labels)


@pytest.mark.parametrize("name", data.TRACKS)
def test_the_classes_of_every_prefix_are_balanced(name: str) -> None:
    """A limit, and a chunk, ask for every class as often as for any other, but for one."""
    labels = data.load(name, CHAINS).labels
    for n in (1, 9, 180, 357, len(labels)):
        counts = np.bincount(labels[:n], minlength=data.track(name).classes)
        assert counts.max() - counts.min() <= 1


def test_no_image_of_it_is_kept() -> None:
    """A thousand blank images are one zero that is read a thousand times."""
    assert data.load("digits", CHAINS).images.strides == (0, 0, 0, 0)


@pytest.mark.parametrize("levels", [17, 256, 65_536])
def test_floats_of_a_part_of_a_set_are_those_of_the_whole(tmp_path, levels: int) -> None:
    """By position, by index and by class; mapped from a file or not; of the same bits as k / (levels - 1) in fp32."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, levels, (40, 2, 3, 4)).astype(np.uint8 if levels <= 256 else np.uint16)
    labels = rng.integers(0, 4, 40)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = images.astype(np.float32) / np.float32(levels - 1)
    for kept in (images, mapped):
        made = ImageSet(kept, labels, levels)
        found = made.pixels()
        assert type(found) is np.ndarray
        assert found.dtype == np.float32
        assert np.array_equal(found, expected)
        assert np.array_equal(made.pixels(3, 17), expected[3:17])
        index = np.array([5, 0, 39, 5])
        assert np.array_equal(made.at(index), expected[index])
        assert np.array_equal(made.of_class(2), expected[labels == 2])
        made.pixels()[:] = 0
        assert np.array_equal(made.pixels(), expected)


def test_a_source_that_a_track_lacks_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="mnist"):
        data.track("digits").source("mnist")
