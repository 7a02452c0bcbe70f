"""Downloads: only files with the published checksums are opened, and what torchvision reads is what was published."""

import hashlib
import io
import pickle
import socket
import tracemalloc
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
import torchvision
from PIL import Image
from scipy import io as matlab
from torchvision import datasets
from torchvision.datasets import utils

from jembench.data import archives, cache, celeba
from jembench.ground import guard
from jembench.types import UserError


@pytest.fixture(autouse=True)
def empty(monkeypatch, tmp_path):
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))


def planted(path, content):
    """Write a download; its MD5."""
    place = cache.downloads() / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return hashlib.md5(content).hexdigest()


def cifar(monkeypatch, images, labels, *, kind=datasets.CIFAR10):
    """Batches of CIFAR in its own format, of which torchvision has the checksums; the last tenth is the test set."""
    folder, cut = kind.base_folder, len(images) * 9 // 10
    key = "labels" if kind is datasets.CIFAR10 else "fine_labels"

    def batch(name, rows):
        flat = images[rows].transpose(0, 3, 1, 2).reshape(len(images[rows]), -1)
        content = pickle.dumps({"data": flat, key: labels[rows].tolist()}, protocol=2)
        return [name, planted(f"{folder}/{name}", content)]

    names = [entry[0] for entry in kind.train_list]
    edges = np.linspace(0, cut, len(names) + 1).astype(int)
    lists = [batch(name, slice(a, b)) for name, a, b in zip(names, edges, edges[1:], strict=False)]
    monkeypatch.setattr(kind, "train_list", lists)
    monkeypatch.setattr(kind, "test_list", [batch(kind.test_list[0][0], slice(cut, None))])
    meta = pickle.dumps({kind.meta["key"]: ["a", "b"]})
    md5 = planted(f"{folder}/{kind.meta['filename']}", meta)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5})
    return cut


def some(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, n)


@pytest.mark.parametrize(("name", "kind"), [("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)])
def test_cifar_is_read_as_it_was_published(monkeypatch, name, kind):
    images, labels = some()
    cut = cifar(monkeypatch, images, labels, kind=kind)
    for split, rows in (("train", slice(cut)), ("test", slice(cut, None))):
        assert archives.files(name, split)
        read, y = archives.read(name, split)
        assert np.array_equal(read, images[rows])
        assert y.tolist() == labels[rows].tolist()
        assert (read.dtype, y.dtype) == (np.uint8, np.int64)
    archives.verify(name)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("file", [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_pickle_with_code_in_it_is_not_run(monkeypatch, tmp_path, file, split, ours, Bomb):
    """Its MD5 is wrong, whichever file of the set it is; torchvision alone, without our check, refuses it too."""
    cifar(monkeypatch, *some())
    target = tmp_path / "ran"
    bomb = pickle.dumps(Bomb(target))
    planted(f"cifar-10-batches-py/{file}", bomb)
    if not ours:
        monkeypatch.setattr(archives, "verify", lambda *_: None)
    with pytest.raises(UserError) as error:
        archives.read("cifar10", split)
    assert not target.exists()
    assert "\n" not in str(error.value)
    if ours:
        assert f"{file}: damaged, or not the published file (MD5 {hashlib.md5(bomb).hexdigest()}" in str(error.value)
        assert "remove it and run `jembench data fetch cifar10`" in str(error.value)
    pickle.loads(bomb)  # noqa: S301
    assert target.exists()  # the bomb was live


def house_numbers(monkeypatch, split, n=12):
    """A ``.mat`` file as published: (32, 32, 3, N), the digit 0 labelled 10."""
    images, labels = some(n)
    labels[0] = 0
    file = io.BytesIO()
    matlab.savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
    name = f"{split}_32x32.mat"
    md5 = planted(f"svhn/{name}", file.getvalue())
    monkeypatch.setitem(datasets.SVHN.split_list, split, ["http://nowhere.invalid", name, md5])
    return images, labels


def test_svhn_is_read_as_it_was_published(monkeypatch):
    images, labels = house_numbers(monkeypatch, "test")
    assert not archives.files("svhn", "train")  # each of its splits is a file of its own
    read, y = archives.read("svhn", "test")
    assert np.array_equal(read, images)
    assert y.tolist() == labels.tolist()
    with pytest.raises(UserError, match=r"svhn: there is no .*train_32x32.mat: run `jembench data fetch svhn`"):
        archives.verify("svhn")


def test_svhn_without_scipy_says_so(monkeypatch):
    house_numbers(monkeypatch, "test")

    def lacking(*_, **__):
        raise ModuleNotFoundError("No module named 'scipy'")

    monkeypatch.setattr(
        datasets, "SVHN", type("SVHN", (), {"__init__": lacking, "split_list": datasets.SVHN.split_list})
    )
    with pytest.raises(UserError, match="svhn: torchvision reads it by scipy, which is missing: pip install scipy"):
        archives.read("svhn", "test")


def portrait(seed):
    """A smooth picture, 178x218, with something of every frequency in it."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (28, 23, 3), dtype=np.uint8))
    return small.resize((178, 218), Image.Resampling.BICUBIC)


def faces(monkeypatch, n=6):
    """A ``.zip`` of photographs and their partition, as published: the last three are the test split."""
    made, lines = io.BytesIO(), []
    with zipfile.ZipFile(made, "w") as content:
        for i in range(n):
            file = io.BytesIO()
            portrait(i).save(file, "JPEG", quality=95)
            content.writestr(f"img_align_celeba/{i + 1:06}.jpg", file.getvalue())
            lines.append(f"{i + 1:06}.jpg {0 if i < n - 3 else 2}\n")
    known = {
        archives.PHOTOGRAPHS: planted(f"celeba/{archives.PHOTOGRAPHS}", made.getvalue()),
        archives.PARTITION: planted(f"celeba/{archives.PARTITION}", "".join(lines).encode()),
    }
    listed = [(key, known.get(name, md5), name) for key, md5, name in datasets.CelebA.file_list]
    monkeypatch.setattr(datasets.CelebA, "file_list", listed)
    with zipfile.ZipFile(made) as content:
        return [Image.open(io.BytesIO(content.read(f"img_align_celeba/{i + 1:06}.jpg"))) for i in range(n)]


def test_faces_are_cropped_or_resized_as_pil_and_torchvision_do(monkeypatch):
    """The oracle of the crop is PIL's box of 19..159 by 39..179; of both, torchvision's transforms."""
    pictures = faces(monkeypatch)
    cropped, labels = archives.read("celeba", "test", view="crop")
    resized, _ = archives.read("celeba", "test", view="resize")
    whole, _ = archives.read("celeba", "all", view="resize")
    assert cropped.shape == (3, 32, 32, 3)
    assert resized.shape == (3, 39, 32, 3)
    assert whole.shape == (6, 39, 32, 3)
    assert labels.tolist() == [-1] * 3
    t = torchvision.transforms
    bicubic = t.InterpolationMode.BICUBIC
    for i, picture in enumerate(pictures[3:]):
        direct = picture.resize((32, 32), Image.Resampling.BICUBIC, box=(19, 39, 159, 179))
        apart = np.abs(np.asarray(direct, int) - cropped[i].astype(int))
        assert apart[2:-2, 2:-2].max() <= 1  # near the border a box sees the pixels around it
        also = t.Resize((32, 32), interpolation=bicubic)(t.CenterCrop(140)(picture))
        assert np.array_equal(np.asarray(also), cropped[i])
        assert np.array_equal(np.asarray(t.Resize(32)(picture)), resized[i])
        assert np.array_equal(resized[i], whole[3 + i])


def test_the_crop_is_antialiased(monkeypatch):
    """A chessboard of single pixels becomes grey; sampling would keep it black and white."""
    board = Image.fromarray((np.indices((218, 178)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    monkeypatch.setattr(f"{__name__}.portrait", lambda _: board)
    faces(monkeypatch)
    cropped, _ = archives.read("celeba", "test", view="crop")
    assert np.abs(cropped.astype(int) - 127).max() < 40


def test_photographs_are_held_once(monkeypatch):
    """202,599 of them take 0.76 GB: a list of them and the array made of it would be twice that."""
    monkeypatch.setattr(archives, "verify", lambda *_: None)
    plain = io.BytesIO()
    Image.new("RGB", (178, 218), (9, 99, 199)).save(plain, "BMP")
    place = cache.downloads() / "celeba"
    place.mkdir(parents=True)
    n = 300
    with zipfile.ZipFile(place / archives.PHOTOGRAPHS, "w", zipfile.ZIP_DEFLATED) as content:
        for i in range(n):
            content.writestr(f"img_align_celeba/{i:06}.jpg", plain.getvalue(), compresslevel=1)
    (place / archives.PARTITION).write_text("".join(f"{i:06}.jpg 2\n" for i in range(n)))
    archives.read("celeba", "test", view="crop")  # what pillow imports is there now
    tracemalloc.start()
    images, _ = archives.read("celeba", "all", view="resize")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (images == [9, 99, 199]).all()
    assert peak < 1.5 * images.nbytes + 500_000  # the directory of the archive, and a photograph


@pytest.mark.parametrize("heights", [(1, 39, 39), (39, 39, 1)])
def test_a_photograph_of_another_size_is_refused(monkeypatch, heights):
    """Also one that numpy would stretch over the row it goes to."""
    faces(monkeypatch)
    left = iter(heights)
    monkeypatch.setitem(celeba.VIEWS, "resize", lambda _: np.zeros((next(left), 32, 3), np.uint8))
    with pytest.raises(UserError, match=r"the photographs cannot be read: ValueError: 00000\d.jpg has shape"):
        archives.read("celeba", "test", view="resize")


def test_photographs_other_than_the_published_are_refused(monkeypatch):
    faces(monkeypatch)
    path = cache.downloads() / "celeba" / archives.PHOTOGRAPHS
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"img_align_celeba.zip: damaged, or not the published file"):
        archives.read("celeba", "test", view="crop")


def test_a_photograph_that_is_none_is_one_line(monkeypatch):
    faces(monkeypatch)
    path = cache.downloads() / "celeba" / archives.PHOTOGRAPHS
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("img_align_celeba/000004.jpg", b"GIF89a, not")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    listed = [(key, md5 if name == path.name else old, name) for key, old, name in datasets.CelebA.file_list]
    monkeypatch.setattr(datasets.CelebA, "file_list", listed)
    with pytest.raises(UserError, match="celeba: the photographs cannot be read: UnidentifiedImageError"):
        archives.read("celeba", "test", view="crop")


def test_the_files_that_are_looked_for_are_those_that_are_checked():
    """Every file that torchvision opens, batches.meta too, is in our list and has a checksum of 32 digits."""
    for known in archives.ARCHIVES.values():
        sums = known.checksums()
        for split, files in known.files.items():
            assert split in known.images
            assert set(files) <= set(sums)
            assert all(len(sums[file]) == 32 for file in files)
    for name in ("cifar10", "cifar100"):
        assert set(archives.ARCHIVES[name].files["train"]) == set(archives.ARCHIVES[name].checksums())


def test_without_a_network_there_is_one_line_with_the_two_ways(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(utils, "_urlretrieve", refuse)
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    for name in ("cifar10", "cifar100", "svhn"):
        with pytest.raises(UserError) as error:
            archives.fetch(name)
        line = str(error.value)
        assert f"`jembench data fetch {name}` again where there is a network" in line
        assert f"--data-dir, a folder with {name}_test.npz" in line
        assert "no network" in line
        assert "\n" not in line


def test_a_face_set_that_is_not_given_is_got_by_hand(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("quota exceeded")

    monkeypatch.setattr(utils, "download_file_from_google_drive", refuse)
    with pytest.raises(UserError) as error:
        archives.fetch("celeba")
    line = str(error.value)
    for word in (archives.PHOTOGRAPHS, archives.PARTITION, str(cache.downloads() / "celeba"), "data verify celeba"):
        assert word in line
    assert "quota exceeded" in line


@pytest.mark.parametrize(("name", "ask"), [("svhn", urllib.request.urlopen), ("celeba", requests.get)])
def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch, name, ask):
    """By urllib, as torchvision asks, and by requests, as gdown does for it: neither has a bound of its own."""
    monkeypatch.setattr(guard, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def silent(*_, **__):
            ask(f"http://127.0.0.1:{server.getsockname()[1]}/")

        monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
        monkeypatch.setattr(utils, "_urlretrieve", silent)
        monkeypatch.setattr(utils, "download_file_from_google_drive", silent)
        with pytest.raises(UserError, match=rf"{name}: .*[Tt]ime"):
            archives.fetch(name)
    assert socket.getdefaulttimeout() is None


def test_what_is_downloaded_is_checked_and_not_downloaded_again(monkeypatch):
    """A file cut by the network is refused; a whole one is taken, and a second fetch asks for nothing."""
    images, _ = house_numbers(monkeypatch, "test")
    house_numbers(monkeypatch, "train")
    place = cache.downloads() / "svhn"
    whole = {name: (place / name).read_bytes() for name in ("train_32x32.mat", "test_32x32.mat")}
    asked = []

    def give(keep):
        def retrieve(url, path, **_):
            asked.append(Path(path).name)
            Path(path).write_bytes(whole[Path(path).name][:keep])

        return retrieve

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    (place / "test_32x32.mat").unlink()
    monkeypatch.setattr(utils, "_urlretrieve", give(100))
    with pytest.raises(UserError, match=r"svhn: cannot be downloaded; .* RuntimeError: File not found or corrupted"):
        archives.fetch("svhn")
    monkeypatch.setattr(utils, "_urlretrieve", give(None))
    archives.fetch("svhn")
    assert np.array_equal(archives.read("svhn", "test")[0], images)
    archives.fetch("svhn")
    assert asked == ["test_32x32.mat", "test_32x32.mat"]


def test_an_unknown_set_is_told_the_nearest():
    with pytest.raises(UserError, match="unknown data set 'cifar'; did you mean 'cifar10'"):
        archives.archive("cifar")
