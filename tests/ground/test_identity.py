"""Equal values have one text and one hash; different values have others; what is not JSON is refused."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench.ground import identity as module
from jembench.ground.identity import array_sha256, canonical, file_sha256, identity, let_go, sha256

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def reordered(value):
    """The same value with every object's keys inserted in the opposite order."""
    if isinstance(value, dict):
        return {key: reordered(item) for key, item in reversed(value.items())}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_canonical_is_json_and_ignores_the_order_of_keys(value):
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(reordered(value)) == text
    assert canonical(json.loads(text)) == text
    assert text.isascii()


@given(st.lists(st.integers(0, 99) | st.text(max_size=2), min_size=2, max_size=2, unique_by=json.dumps))
def test_different_values_have_different_identities(pair):
    one, other = pair
    assert identity([one]) != identity([other])
    assert identity([one, other]) != identity([other, one])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_json_are_refused_at_any_depth(bad):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"a": [{"b": bad}]})


def test_objects_that_are_not_json_are_refused():
    with pytest.raises(TypeError):
        canonical({"a": {1, 2}})
    with pytest.raises(TypeError):
        canonical([np.int64(1)])


def test_hashes_are_the_standard_ones_and_pinned(tmp_path):
    """Names of stored numbers: these must never change."""
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert canonical({"b": [1, 2.5, None], "a": "é"}) == b'{"a":"\\u00e9","b":[1,2.5,null]}'
    assert identity(["a", 1]) == "135f17a475a61afdeeaf3759ad2e45ad1c7abb192395abe47e41fc8e395dc1a9"
    file = tmp_path / "file"
    file.write_bytes(b"\0" * 100_000)
    assert file_sha256(file) == hashlib.sha256(b"\0" * 100_000).hexdigest()


def test_an_array_is_its_values_its_shape_and_its_type():
    a = np.arange(6, dtype=np.int32)
    hashes = {
        array_sha256(a),
        array_sha256(a.reshape(2, 3)),
        array_sha256(a.astype(np.int64)),
        array_sha256(a[::-1]),
        array_sha256(a[:3], a[3:]),
        array_sha256(a, a[:0]),
    }
    assert len(hashes) == 6
    assert array_sha256(np.arange(3)) == "ae1b25b8574b1cd103be7fcf4159ae7747d38ec4d44796043ceec62a80c7cf3b"


def test_an_array_is_not_its_layout():
    """Byte order and strides are the machine's business."""
    a = np.arange(6, dtype="<i4").reshape(2, 3)
    assert array_sha256(a) == array_sha256(a.astype(">i4")) == array_sha256(np.asfortranarray(a))
    assert array_sha256(a[:, ::2]) == array_sha256(a[:, ::2].copy())


@given(st.integers(1, 200), st.sampled_from([(), (0,), (7,), (5, 3), (4, 0, 2), (3, 2, 5)]))
def test_blocks_of_any_size_make_the_same_hash(block, shape):
    """Of the definition: JSON of type and shape, then the bytes in C order."""
    array = np.array(np.random.default_rng(len(shape)).integers(0, 1000, shape), dtype=">i4")
    little = array.astype("<i4")
    expected = sha256(canonical(["<i4", list(shape)]) + little.tobytes())
    before = module.BLOCK
    try:
        module.BLOCK = block
        for layout in (array, little, little.copy(order="F")):
            assert array_sha256(layout) == expected
    finally:
        module.BLOCK = before


def test_a_mapped_array_is_hashed_like_any_other_and_can_be_let_go(tmp_path):
    array = np.arange(60_000, dtype=np.int32).reshape(300, 200)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert array_sha256(mapped) == array_sha256(array)
    let_go(mapped)
    assert np.array_equal(mapped, array)
    let_go(array)


def test_what_was_written_to_a_private_copy_is_not_let_go(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(5000))
    mine = np.load(tmp_path / "a.npy", mmap_mode="c")
    mine[:] = 1.0
    let_go(mine)
    assert mine.all()


def test_hashing_copies_no_array_whole():
    """A hundred megabytes in the other layout: at most a few blocks of memory."""
    import tracemalloc

    array = np.zeros((100, 2**20), dtype=np.uint8).T
    tracemalloc.start()
    array_sha256(array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * module.BLOCK
