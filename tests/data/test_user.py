"""A user's own OOD sets: every form gives the same images; what cannot be one is refused in a line."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import jembench
from jembench import data
from jembench.data import user
from jembench.types import UserError

TRACK = data.track("digits")


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, size=(30, 8, 8)).astype(np.uint8)


def saved(folder: Path, images: NDArray[np.uint8]) -> Path:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    return folder


def test_a_folder_an_npz_and_an_npy_of_the_same_images_are_the_same_set(
    tmp_path: Path, images: NDArray[np.uint8]
) -> None:
    np.savez(tmp_path / "mine.npz", images=images)
    np.save(tmp_path / "mine.npy", images[:, None])
    origins = [saved(tmp_path / "folder", images), tmp_path / "mine.npz", tmp_path / "mine.npy"]
    sources = [user.source("mine", str(origin), TRACK) for origin in origins]
    assert len({source.sha256 for source in sources}) == 1
    assert (sources[0].n, sources[0].role) == (30, "ood")
    loaded = user.load("mine", str(origins[0]), TRACK)
    rounded = np.rint(images[:, None] * (16 / 255)).astype(np.uint8)  # to the track's 17 grey levels
    assert sorted(map(bytes, loaded.images)) == sorted(map(bytes, rounded))
    assert not np.array_equal(loaded.images, rounded)  # in a shuffled order of their own
    assert loaded.levels == 17


def test_the_tracks_own_images_come_back_as_they_are(tmp_path: Path) -> None:
    """So that no score tells them by how they are stored; complexity would."""
    own = data.load("digits", "test").images
    np.savez(tmp_path / "own.npz", images=np.rint(own * (255 / 16)).astype(np.uint8))
    loaded = user.load("own", str(tmp_path / "own.npz"), TRACK)
    assert sorted(map(bytes, loaded.images)) == sorted(map(bytes, own))


def test_pictures_of_more_than_8_bits_are_refused_rather_than_cut(tmp_path: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match="more than 8 bits a colour"):
        user.source("deep", str(tmp_path), TRACK)


def test_a_set_of_the_user_is_refused_by_a_suite_without_ood_and_is_in_no_mean_of_far(
    tmp_path: Path, images: NDArray[np.uint8]
) -> None:
    np.savez(tmp_path / "mine.npz", images=images)
    mine = {"mine": str(tmp_path / "mine.npz")}
    with pytest.raises(UserError, match="has no OOD sets"):
        jembench.evaluate("jem", "accuracy", ood=mine, limit=20, output=tmp_path / "o")
    found = jembench.evaluate("jem", "ood", ood=mine, limit=20, output=tmp_path / "o")
    assert "mine" in found.metrics["mean/log_px/auroc"].n
    assert "mine" not in found.metrics["far/log_px/auroc"].n


def test_other_sizes_and_colours_are_fitted(tmp_path: Path) -> None:
    red = np.zeros((2, 40, 20, 3), np.uint8)
    red[..., 0] = 255
    np.savez(tmp_path / "red.npz", x=red)
    loaded = user.load("red", str(tmp_path / "red.npz"), TRACK)
    assert loaded.images.shape == (2, 1, 8, 8)
    assert (loaded.images == 5).all()  # .299 of 16: the luma of red


def test_a_data_set_of_torchvision() -> None:
    source = user.source("fake", "torchvision:FakeData", TRACK)
    assert source.n == 1000
    assert user.source("fake", "torchvision:FakeData", TRACK).sha256 == source.sha256


def test_an_evaluation_has_its_numbers_and_survives_workers(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    np.savez(tmp_path / "mine.npz", images=images)
    for workers in (1, 2):
        found = jembench.evaluate(
            "jem", "ood", ood={"mine": str(tmp_path / "mine.npz")}, limit=20, output=tmp_path / "o", workers=workers
        )
        assert found.metrics["mine/log_px/auroc"].value == 1.0  # uniform noise
        assert found.metrics["mine/log_px/auroc"].n == {"test": 20, "mine": 20}


@pytest.mark.parametrize(
    ("name", "origin", "says"),
    [
        ("test", "x.npz", "has that name already"),
        ("a/b", "x.npz", "a name is made of letters"),
        ("mine", "absent", "no folder, no file and no entry point"),
        ("mine", "absent.npz", "cannot be read"),
        ("mine", "torchvision:Nothing", "unknown torchvision data set"),
        ("mine", "torchvision:FashionMNIST:absent", "cannot be read from"),
    ],
)
def test_what_cannot_be_a_set(name: str, origin: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        user.source(name, origin, TRACK)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 8, 8)), "needs integers 0..255, not float64"),
        (np.full((4, 8, 8), 300), "not 300..300"),
        (np.zeros((3, 8), np.uint8), r"images are \(N, H, W\)"),
        (np.zeros((0, 8, 8), np.uint8), "holds no images"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, array: NDArray[np.generic], says: str) -> None:
    np.savez(tmp_path / "a.npz", images=array)
    with pytest.raises(UserError, match=says):
        user.source("mine", str(tmp_path / "a.npz"), TRACK)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        user.source("mine", str(tmp_path / "a.npz"), TRACK)
    for content, says in (
        (pickle.dumps([1, 2]), "ValueError: damaged, or neither .npz nor .npy"),
        (b"PK\3\4?", "BadZip"),
    ):
        (tmp_path / "b.npz").write_bytes(content)
        with pytest.raises(UserError, match=f"cannot be read: {says}"):
            user.source("mine", str(tmp_path / "b.npz"), TRACK)


def test_a_folder_without_pictures_and_one_that_lies(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images"):
        user.source("mine", str(tmp_path), TRACK)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(UserError, match=r"a\.png is no picture"):
        user.source("mine", str(tmp_path), TRACK)


def test_a_folder_is_that_of_the_user_whatever_else_is_in_it(tmp_path: Path) -> None:
    """Also beside a file that is called like one of the cache."""
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "facts.json").write_text("{}")
    assert len(data.load("digits", "mine", origin=str(tmp_path))) == 1


def test_two_arrays_without_a_known_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", left=np.zeros((1, 8, 8), np.uint8), right=np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(UserError, match="call the images 'images'"):
        user.source("mine", str(tmp_path / "a.npz"), TRACK)
