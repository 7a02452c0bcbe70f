"""The source whose rows are sampling chains: no image, the classes asked for in turn, a pinned hash."""

import numpy as np
import pytest

from jembench import data
from jembench.data.sets import CHAINS, chains
from jembench.identity import array_sha256


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
