"""OpenOOD's folder as outliers of CIFAR: the pictures of its lists, near and far."""

import numpy as np
import pytest
from PIL import Image

from jembench import data
from jembench.data import openood, user
from jembench.types import UserError


@pytest.fixture
def folder(tmp_path):
    """A small folder laid out as OpenOOD's."""
    rng = np.random.default_rng(0)
    for name in ("tin", "mnist"):
        lines = []
        for i in range(6):
            path = tmp_path / "images_classic" / name / "test" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
            lines.append(f"{name}/test/{i}.png -1")
        listed = tmp_path / "benchmark_imglist" / "cifar10" / f"test_{name}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("\n".join(lines[:4]))  # of the pictures that are there, those of the list
    return tmp_path


def test_its_sets_join_a_track_near_and_far(folder):
    track = user.extended(data.track("cifar10"), {"openood": str(folder)})
    added = {source.name: (source.near, source.n) for source in track.sources if source.name.startswith("openood")}
    assert added == {"openood-tin": (True, 4), "openood-mnist": (False, 4)}
    images = user.load("openood-tin", track.source("openood-tin").origin, data.track("cifar10"))
    assert images.images.shape == (4, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "words"), [("digits", "not of digits"), ("cifar100", "no set of OpenOOD: .*download")]
)
def test_what_it_has_not_is_said(folder, name, words):
    with pytest.raises(UserError, match=words):
        openood.sets(data.track(name), folder)
