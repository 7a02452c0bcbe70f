"""Code length: a decoder gets every image back, simple images are short, and the lengths are pinned."""

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jembench import data
from jembench.ground import generators, seeding
from jembench.measurements.code_length import LEVEL, MEMORY, RAW, CodeLength, code_length, filters
from jembench.types import Batch


def unfiltered(name: int, coded: np.ndarray, step: int) -> np.ndarray:
    """PNG's decoder (ISO 15948, section 9.2), byte by byte."""
    out = np.zeros(coded.shape, dtype=np.int64)
    for i in range(coded.shape[0]):
        for j in range(coded.shape[1]):
            a = out[i, j - step] if j >= step else 0
            b = out[i - 1, j] if i else 0
            c = out[i - 1, j - step] if i and j >= step else 0
            p = a + b - c
            paeth = min((a, b, c), key=lambda v: (abs(p - v), [a, b, c].index(v)))
            out[i, j] = (int(coded[i, j]) + (0, a, b, (a + b) // 2, paeth)[name]) % 256
    return out


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 6), st.sampled_from([1, 2, 3]))
def test_a_decoder_gets_the_image_back(seed: int, height: int, width: int, step: int) -> None:
    """From each of the five filters, through raw deflate."""
    raw = np.random.default_rng(seed).integers(0, 256, (height, width * step)).astype(np.uint8)
    for name, coded in enumerate(filters(raw, step)):
        packer = zlib.compressobj(LEVEL, zlib.DEFLATED, RAW, MEMORY, zlib.Z_RLE)
        stream = packer.compress(coded.tobytes()) + packer.flush()
        back = np.frombuffer(zlib.decompress(stream, RAW), dtype=np.uint8).reshape(raw.shape)
        np.testing.assert_array_equal(unfiltered(name, back, step), raw)


def test_simple_images_are_short() -> None:
    """Constant < ramp < noise; a ramp costs as a constant does, once its neighbours predict it."""
    noise = seeding.integers("code", count=1024, high=256).reshape(1, 32, 32)
    ramp = np.tile(np.arange(32), (32, 1))[None]
    constant = np.full((1, 32, 32), 7)
    lengths = [code_length(image, 256) for image in (constant, ramp, noise)]
    assert lengths[0] <= lengths[1] < 0.1 * lengths[2]
    assert lengths[2] >= 8 * 1024  # what cannot be compressed is not
    plain = len(zlib.compress(ramp.astype(np.uint8).tobytes(), 9)) * 8
    assert lengths[1] < plain  # planted: zlib of the pixels alone


def test_the_lengths_are_pinned() -> None:
    """In bits: another zlib that chooses otherwise shows here and not in an AUROC."""
    found = {
        name: [code_length(image, 17) for image in data.load("digits", name).images[:4]]
        for name in ("test", "textures", "noise")
    }
    assert found == PINNED
    assert [code_length(image, 65536) for image in data.load("gauss", "test").images[:2]] == PINNED_16


PINNED = {"test": [328, 360, 344, 368], "textures": [344, 272, 344, 328], "noise": [400, 400, 400, 400]}
PINNED_16 = [1064, 1064]


def test_it_reads_the_integer_image_and_asks_no_model() -> None:
    """pixels x (levels - 1), exactly, in any batch; of a model that can do nothing."""
    for track in ("digits", "gauss"):
        images = data.load(track, "test")
        x = torch.from_numpy(images.pixels(0, 6))
        made = CodeLength()
        assert made.requires == frozenset()
        found = made.columns(None, Batch(x, torch.zeros(6), torch.arange(6), images.levels), generators.generator())
        assert found["code_length"].tolist() == [code_length(image, images.levels) for image in images.images[:6]]
        assert not found["forwards"].any()
        one = made.columns(None, Batch(x[3:4], torch.zeros(1), torch.arange(1), images.levels), generators.generator())
        assert one["code_length"][0] == found["code_length"][3]


def test_channels_are_side_by_side_as_in_a_png() -> None:
    """A grey image in three equal channels costs little more than one channel."""
    grey = seeding.integers("grey", count=256, high=256).reshape(1, 16, 16)
    triple = np.repeat(grey, 3, axis=0)
    coloured = seeding.integers("colour", count=768, high=256).reshape(3, 16, 16)
    assert code_length(triple, 256) < code_length(coloured, 256)


def test_too_many_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="two bytes, not have 65537 levels"):
        code_length(np.zeros((1, 2, 2), dtype=np.int64), 65537)
