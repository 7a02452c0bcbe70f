"""A user's folder: which files are a split, what they may hold, and that nothing else ends in more than one line."""

import pickle
import zipfile

import numpy as np
import pytest

from jembench.data import folders
from jembench.types import UserError


def test_the_files_of_a_split_by_their_names_in_order(shelf):
    for name in (
        "cifar10_test_b",
        "cifar10_test",
        "cifar10_test_a",
        "cifar10_testing",
        "cifar10_train",
        "x_cifar10_test",
    ):
        folder = shelf(name, 2)
    (folder / "cifar10_test_c.npz").mkdir()
    (folder / "cifar10_test_d.npy").touch()
    found = folders.files(folder, "cifar10", "test")
    assert [path.name for path in found] == ["cifar10_test.npz", "cifar10_test_a.npz", "cifar10_test_b.npz"]
    assert not folders.files(folder, "svhn", "test")


def test_a_sample_of_celeba_is_its_test_split_unless_there_is_one(shelf):
    folder = shelf("celeba_sample", 2)
    assert [path.stem for path in folders.files(folder, "celeba", "test")] == ["celeba_sample"]
    shelf("celeba_test", 2)
    assert [path.stem for path in folders.files(folder, "celeba", "test")] == ["celeba_test"]
    shelf("svhn_sample", 2)
    assert not folders.files(folder, "svhn", "test")


def test_files_are_joined_and_a_missing_label_is_none(shelf):
    rng = np.random.default_rng(0)
    one, two = (rng.integers(0, 256, (n, 4, 5, 3), dtype=np.uint8) for n in (3, 2))
    shelf("a_test", images=one, labels=np.array([5, 6, 7], dtype=np.uint8), classes=np.array(["x"]))
    folder = shelf("a_test_more", images=two)
    images, labels = folders.read(folders.files(folder, "a", "test"))
    assert np.array_equal(images, np.concatenate([one, two]))
    assert labels.tolist() == [5, 6, 7, -1, -1]
    assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "has no 'images' \\(it holds nothing\\)"),
        ({"x": np.zeros(3), "y": np.zeros(2)}, "has no 'images' \\(it holds x, y\\)"),
        ({"images": np.zeros((2, 4, 4, 3))}, "'images' is float64 \\(2, 4, 4, 3\\), needs uint8 \\(N, H, W, 3\\)"),
        ({"images": np.zeros((2, 3, 4, 4), np.uint8)}, "'images' is uint8 \\(2, 3, 4, 4\\), needs uint8"),
        ({"images": np.zeros((2, 4, 4), np.uint8)}, "'images' is uint8 \\(2, 4, 4\\), needs uint8"),
        (
            {"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.zeros(3, int)},
            "'labels' is int64 \\(3,\\), needs integers \\(2,\\)",
        ),
        (
            {"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.zeros(2)},
            "'labels' is float64 \\(2,\\), needs integers \\(2,\\)",
        ),
    ],
)
def test_another_content_is_refused_with_its_file(shelf, arrays, words):
    folder = shelf("a_test", **arrays)
    with pytest.raises(UserError, match=f"a_test.npz: {words}") as error:
        folders.read(folders.files(folder, "a", "test"))
    assert "\n" not in str(error.value)


def test_files_of_different_shapes_are_not_joined(shelf):
    shelf("a_test", images=np.zeros((1, 4, 4, 3), np.uint8))
    folder = shelf("a_test_b", images=np.zeros((1, 5, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"a_test_b.npz: images of shape \(5, 4, 3\), those of a_test.npz have"):
        folders.read(folders.files(folder, "a", "test"))


@pytest.mark.parametrize("key", ["images", "labels"])
def test_objects_in_a_file_are_not_unpickled(shelf, tmp_path, key, Bomb):
    target = tmp_path / "ran"
    bomb = np.array([Bomb(target)], dtype=object)
    folder = shelf("a_test", **{"images": np.zeros((1, 4, 4, 3), np.uint8), key: bomb})
    with pytest.raises(UserError, match=r"a_test.npz: not a readable .npz file: ValueError: its .* Object arrays"):
        folders.read(folders.files(folder, "a", "test"))
    assert not target.exists()
    pickle.loads(pickle.dumps(Bomb(target)))  # noqa: S301
    assert target.exists()  # the bomb was live


@pytest.mark.parametrize("content", [b"", b"P", bytes(range(256)), pickle.dumps([1, 2])])
def test_a_file_that_is_none_is_not_taken_for_a_pickle(shelf, content):
    """numpy would advise to unpickle it."""
    folder = shelf("a_test", 2)
    (folder / "a_test.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"a_test.npz: not a readable .npz file: ValueError: damaged") as error:
        folders.read([folder / "a_test.npz"])
    assert "pickle" not in str(error.value)


def test_a_single_array_under_the_name_of_a_file_is_refused(shelf):
    folder = shelf("a_test", 2)
    with (folder / "a_test.npz").open("wb") as file:
        np.save(file, np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="is a single array"):
        folders.read([folder / "a_test.npz"])


def test_a_file_that_may_not_be_read(shelf, monkeypatch):
    folder = shelf("a_test", 2)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(UserError, match=r"a_test.npz: not a readable .npz file: PermissionError"):
        folders.read([folder / "a_test.npz"])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_file_is_one_line_or_harmless(tmp_path, compression):
    """Whatever one byte of it becomes, wherever it is cut: one line, or exactly the images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    path = tmp_path / "a_test.npz"
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, array in (("images", images), ("labels", np.arange(3))):
            with made.open(f"{name}.npy", "w") as file:
                np.save(file, array)
    whole = path.read_bytes()
    for trial in range(150):
        broken = bytearray(whole)
        if trial % 3:
            broken[rng.integers(len(broken))] = rng.integers(256)
        else:
            del broken[rng.integers(len(broken)) :]
        path.write_bytes(broken)
        try:
            read, _ = folders.read([path])
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert np.array_equal(read, images)
