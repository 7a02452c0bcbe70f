"""Own tracks: what a file says is what is measured; what cannot be a track is one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jembench import api, data, rebuild
from jembench.data import cache, lookup, own, pictures
from jembench.ground import files
from jembench.types import UserError

TOML = """
name = "bars"
size = 8
train = "train/"
test = "test/"

[ood]
waves = { origin = "waves.npz", near = true }
noise = "noise/"
"""
NAMES = ("across", "down", "slant")


def bars(k, n, seed):
    """Images ``(n, 12, 12, 3)`` with a bright bar of one of three directions."""
    rng = np.random.default_rng([k, seed])
    x = rng.integers(0, 60, (n, 12, 12, 3))
    for image, place in zip(x, rng.integers(2, 9, n), strict=True):
        if k == 0:
            image[place : place + 2] += 150
        elif k == 1:
            image[:, place : place + 2] += 150
        else:
            image[np.arange(12), np.arange(12)] += 150
    return x.astype(np.uint8)


class Nobody:
    """An observer who does not look."""

    def __getattr__(self, name):
        return lambda *_: None


def save(folder, images):
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03}.png")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a track of three classes of pictures and two OOD sets, and nothing else."""
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "data"
    for split, n in (("train", 40), ("test", 15)):
        for k, name in enumerate(NAMES):
            save(folder / split / name, bars(k, n, seed=len(split)))
    rng = np.random.default_rng(0)
    save(folder / "noise", rng.integers(0, 256, (20, 12, 12, 3), dtype=np.uint8))
    np.savez(folder / "waves.npz", images=np.roll(bars(0, 20, 7), 3, axis=2)[:, ::-1])
    (folder / "bars.toml").write_text(TOML)
    monkeypatch.chdir(folder)
    return folder


def test_a_track_is_what_its_file_says(place):
    track = data.track("bars.toml")
    assert (track.id, track.shape, track.levels, track.classes) == ("bars-v1", (3, 8, 8), 256, 3)
    assert track.labels == NAMES
    assert [(source.name, source.role, source.near) for source in track.sources] == [
        ("train", "train", False), ("validation", "validation", False), ("test", "test", False),
        ("waves", "ood", True), ("noise", "ood", False), ("chains", "chains", False),
    ]  # fmt: skip
    assert track.extractor == "pixels"
    counts = {name: np.bincount(data.images(track, name).labels).tolist() for name in ("train", "validation", "test")}
    assert counts == {"train": [36] * 3, "validation": [4] * 3, "test": [15] * 3}
    assert set(data.images(track, "noise").labels) == {-1}


def test_images_are_those_of_the_files_and_train_and_validation_are_apart(place):
    track = data.track("bars.toml")
    images = data.images(track, "test")
    wanted = {
        (pictures.fitted(image, track.shape).tobytes(), k) for k in range(3) for image in bars(k, 15, seed=len("test"))
    }
    assert {(image.tobytes(), int(y)) for image, y in zip(images.images, images.labels, strict=True)} == wanted
    train, validation = ({bytes(x) for x in data.images(track, name).images} for name in ("train", "validation"))
    assert not train & validation
    assert len(train | validation) == 120


def test_an_npz_with_the_same_images_is_the_same_track(place):
    """Whatever form and order they are brought in: the same hashes, so the same protocol."""
    first = {
        source.name: data.found(data.track("bars.toml"), source.name).sha256
        for source in data.track("bars.toml").sources
    }
    for split, n in (("train", 40), ("test", 15)):
        images = np.concatenate([bars(k, n, seed=len(split)) for k in range(3)])
        order = np.random.default_rng(1).permutation(len(images))
        np.savez(f"{split}.npz", images=images[order], labels=np.repeat(np.arange(3), n)[order])
    text = TOML.replace("train/", "train.npz").replace("test/", "test.npz")
    Path("other.toml").write_text(text.replace("[ood]", f"classes = {list(NAMES)}\n\n[ood]"))
    track = data.track("other.toml")
    assert {source.name: data.found(track, source.name).sha256 for source in track.sources} == first


def test_a_changed_image_changes_its_set_alone(place):
    before = {name: data.found(data.track("bars.toml"), name).sha256 for name in ("train", "test", "noise")}
    Image.fromarray(bars(0, 1, 99)[0]).save("test/across/000.png")
    after = {name: data.found(data.track("bars.toml"), name).sha256 for name in before}
    assert {name for name in before if before[name] != after[name]} == {"test"}


def test_prepared_images_are_not_read_again(place, monkeypatch):
    monkeypatch.setattr(cache, "FRESH", -1)
    first = data.found(data.track("bars.toml"), "train")
    monkeypatch.setattr(own.origins, "read", None)
    assert data.found(data.track("bars.toml"), "train") == first


def test_a_crop_is_the_middle_before_it_is_resized(place):
    x = np.zeros((1, 12, 12, 3), np.uint8)
    x[:, 4:8, 4:8] = 200
    np.savez("middle.npz", images=x)
    Path("crop.toml").write_text(TOML.replace('"noise/"', '{ origin = "middle.npz", crop = 4 }'))
    images = data.images(data.track("crop.toml"), "noise")
    assert (images.images == 200).all()


def test_a_track_is_found_by_its_name(place, tmp_path):
    for folder in (place / "tracks", tmp_path / "config" / "jembench" / "tracks"):
        folder.mkdir(parents=True)
        text = TOML.replace('"train/"', f'"{place}/train/"').replace('"test/"', f'"{place}/test/"')
        (folder / "bars.toml").write_text(text)
        assert data.track("bars").file == str(folder / "bars.toml")
        assert lookup.shelf()["bars"].name == "bars.toml"
        (folder / "bars.toml").unlink()
    with pytest.raises(UserError, match="unknown track 'bars'"):
        data.track("bars")


def test_an_extractor_of_its_own_is_taken(place):
    track = data.track("bars.toml")
    folder = rebuild.extractor(track, iterations=3, setup=rebuild.Setup(), resume=False, observer=Nobody())
    assert folder == place / "bars-ref"
    assert data.track("bars.toml").extractor == "bars-ref"
    with pytest.raises(UserError, match="holds an extractor"):
        rebuild.extractor(track, iterations=3, setup=rebuild.Setup(), resume=False, observer=Nobody())


RECIPE = """
track = "bars"

[model]
kind = "jem"
network = "small"
width = 8

[objective]
log_px = 0.1

[sampling]
steps = 2
buffer = 32
clamp = true

[optimiser]
learning_rate = 5e-3

[training]
iterations = 120
batch = 16
"""


@pytest.mark.parametrize("suite", ["accuracy", "calibration", "ood", "robustness", "generation"])
def test_every_suite_works_on_it(place, suite):
    track = data.track("bars.toml")
    files.write(Path("jem.toml"), RECIPE.encode())
    setup = rebuild.Setup()
    rebuild.fit(Path("jem.toml"), Path("jem"), track=track, setup=setup, resume=False, observer=Nobody())
    request = api.Request(
        models=(api.parse("jem/"),),
        suites=(suite,),
        track="bars.toml",
        limit=8,
        output=Path("runs"),
        options=api.Options(norms=("linf",), steps=2, restarts=1) if suite == "robustness" else api.Options(),
    )
    (result,) = api.measure(request)
    assert result.document.track == "bars-v1"
    assert result.document.protocol.sources["test" if suite != "generation" else "train"].sha256
    assert any(metric.value is not None for metric in result.document.metrics)
    again = api.golden(request, Path("golden"))
    assert not again.evaluation.outcome.computed
    assert api.gate(request, Path("golden"))


def test_workers_find_it_too(place):
    request = api.Request(
        models=(api.parse("class-gaussians"),), suites=("generation",), track="bars.toml", limit=8, output=Path("a")
    )
    (one,) = api.measure(request)
    (two,) = api.measure(replace(request, output=Path("b"), workers=2))
    assert [chunk.sha256 for chunk in one.document.chunks] == [chunk.sha256 for chunk in two.document.chunks]


BAD = {
    "unknown key": (TOML + "\n[oods]\n", "unknown key of a track 'oods'; did you mean 'ood'?"),
    "unknown key of a set": (TOML.replace("near", "neer"), "ood.waves.neer"),
    "no train": (TOML.replace('train = "train/"', ""), "train: Field required"),
    "no size": (TOML.replace("size = 8", ""), "size: Field required"),
    "built-in name": (TOML.replace('"bars"', '"digits"'), "'digits' is a track of jembench: choose another name"),
    "reserved name": (TOML.replace("noise =", "test ="), "ood.test: that name means something else"),
    "odd name": (TOML.replace('"bars"', '"a/b"'), "'a/b' is made of letters"),
    "two channels": (TOML.replace("size = 8", "size = 8\nchannels = 2"), "1 (grey) or 3 (colours), not 2"),
    "no classes": (TOML.replace('"train/"', '"waves.npz"'), "classes: say how many"),
    "no TOML": ("name =", "not a readable track"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_track_is_one_line(place, name):
    text, words = BAD[name]
    Path("bad.toml").write_text(text)
    with pytest.raises(UserError, match=r"bad\.toml") as error:
        data.track("bad.toml")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_no_part_of_it(place):
    Path("mark.toml").write_text("\ufeff" + TOML, encoding="utf-8")
    assert data.track("mark.toml").name == "bars"


SETS = {
    "absent": (lambda: Path("noise").rename("gone"), "noise", "is no folder"),
    "empty": (lambda: [path.unlink() for path in Path("noise").iterdir()], "noise", "holds no images"),
    "no picture": (lambda: Path("noise/x.png").write_text("x"), "noise", "is no picture that can be read"),
    "channels": (lambda: np.savez("waves.npz", images=np.zeros((3, 5, 5, 2), np.uint8)), "waves", "C = 1 or 3"),
    "class without pictures": (
        lambda: [path.unlink() for path in Path("train/down").iterdir()], "train", "class 'down' has no images"
    ),
    "another class": (lambda: Path("test/down").rename("test/donw"), "test", "unknown class of bars/test: 'donw'; did"),
    "pictures beside classes": (
        lambda: Path("test/down/000.png").rename("test/0.png"), "test", "have no class: put them in a folder for each"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_sets_that_cannot_be_are_one_line(place, name):
    change, source, words = SETS[name]
    change()
    with pytest.raises(UserError) as error:
        data.images(data.track("bars.toml"), source)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def table(path, images, labels):
    """A Parquet file as Hugging Face keeps images."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    def png(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        return {"bytes": file.getvalue(), "path": None}

    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": [png(image) for image in images], "label": labels}), path)


def test_each_set_is_the_part_that_its_role_means(place):
    """Of a folder with all parts validation is validation, not the training images."""
    parts = {"train": 12, "validation": 6, "test": 9}
    for name, n in parts.items():
        table(place / "hf" / f"{name}-0.parquet", bars(0, n, seed=n), np.arange(n) % 3)
    text = (
        TOML.replace("train/", "hf")
        .replace("test/", "hf")
        .replace("size = 8", 'size = 8\nclasses = 3\nvalidation = "hf"')
    )
    Path("hf.toml").write_text(text)
    track = data.track("hf.toml")
    assert {name: data.found(track, name).n for name in parts} == parts
    assert len({data.found(track, name).sha256 for name in parts}) == 3


def test_a_part_that_is_not_there_is_no_other_part(place):
    table(place / "hf" / "train-0.parquet", bars(0, 12, seed=1), np.arange(12) % 3)
    Path("hf.toml").write_text(TOML.replace("test/", "hf"))
    with pytest.raises(UserError, match="has no part 'test', only train"):
        data.images(data.track("hf.toml"), "test")


def renamed(split, names):
    for old, new in zip(NAMES, names, strict=True):
        Path(split, old).rename(Path(split, new))


def test_classes_that_are_numbers_are_in_their_order(place):
    """10 comes after 2, so that folders and the labels of an array mean the same."""
    for split in ("train", "test"):
        renamed(split, ("2", "0", "10"))
    track = data.track("bars.toml")
    assert track.labels == ("0", "2", "10")
    slanted = [pictures.fitted(image, track.shape).tobytes() for image in bars(2, 15, seed=len("test"))]
    images = data.images(track, "test")
    assert {int(y) for x, y in zip(images.images, images.labels, strict=True) if x.tobytes() in slanted} == {2}


@pytest.mark.parametrize(("train", "test"), [("012", "017"), ("abc", "abd")])
@pytest.mark.parametrize("classes", ["", "classes = 3\n"])
def test_classes_of_other_names_are_refused(place, train, test, classes):
    renamed("train", train)
    renamed("test", test)
    Path("bars.toml").write_text(TOML.replace("size = 8\n", f"size = 8\n{classes}"))
    with pytest.raises(UserError, match=f"unknown class of bars/test: '{test[2]}'"):
        data.images(data.track("bars.toml"), "test")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eps = { linf = [-0.1] }", "eps.linf: radii are above 0"),
        ("eps = { l2 = [] }", "eps.l2: radii are above 0"),
        ("classes = 1", "classes: 1, train/ has 3 folders"),
        ("classes = 4", "classes: 4, train/ has 3 folders"),
        ('classes = ["a", "a", "b"]', "a name is there twice"),
    ],
)
def test_values_that_cannot_be_are_refused(place, line, words):
    Path("bars.toml").write_text(TOML.replace("size = 8\n", f"size = 8\n{line}\n"))
    with pytest.raises(UserError, match=words):
        data.track("bars.toml")


@pytest.mark.parametrize("form", ["list.txt", "imglist:list.txt:noise"])
def test_pictures_behind_a_list_are_part_of_its_content(place, form, monkeypatch):
    monkeypatch.setattr(cache, "FRESH", -1)
    prefix = "" if form.startswith("imglist") else "noise/"
    Path("list.txt").write_text("\n".join(f"{prefix}{path.name}" for path in sorted(Path("noise").iterdir())))
    Path("bars.toml").write_text(TOML.replace("noise/", form))
    before = data.images(data.track("bars.toml"), "noise")
    Image.fromarray(bars(0, 1, 5)[0]).save("noise/000.png")
    after = data.images(data.track("bars.toml"), "noise")
    assert len(before) == len(after) == 20
    assert before.sha256 != after.sha256


def test_what_a_function_reads_is_part_of_its_content(place):
    code = "import numpy as np\n\ndef make():\n    return np.load('waves.npz')['images']\n"
    Path("mine.py").write_text(code)
    Path("bars.toml").write_text(TOML.replace("noise/", "mine.py:make"))
    before = data.images(data.track("bars.toml"), "noise").sha256
    np.savez("waves.npz", images=bars(1, 9, 3))
    assert data.images(data.track("bars.toml"), "noise").sha256 != before


def test_an_at_sign_in_a_path_is_no_range(place):
    Path("me@x").mkdir()
    np.savez("me@x/o.npz", images=np.full((5, 8, 8, 3), 9, np.uint8))
    Path("bars.toml").write_text(TOML.replace("noise/", "me@x/o.npz@0..16"))
    assert data.found(data.track("bars.toml"), "noise").n == 5
    np.savez("me@x/o.npz", images=np.full((9, 8, 8, 3), 9, np.uint8))
    assert data.found(data.track("bars.toml"), "noise").n == 9


def test_links_that_lead_back_are_entered_once(place):
    for name in ("p", "q", "r"):
        Path("noise", name).symlink_to(".")
    assert data.found(data.track("bars.toml"), "noise").n == 20


def test_training_images_are_cut_as_the_set_that_they_are_looked_for_in(place):
    from jembench.data import contamination

    Path("bars.toml").write_text(TOML.replace('test = "test/"', 'test = { origin = "test/", crop = 8 }'))
    found = contamination.of("test/", data.track("bars.toml"))
    assert found["test"].exact == 45


def test_training_images_are_the_part_that_was_trained_on(place):
    from jembench.data import contamination

    table(place / "hf" / "train-0.parquet", bars(2, 4, seed=55), [0] * 4)
    table(place / "hf" / "test-0.parquet", np.concatenate([bars(k, 15, seed=4) for k in range(3)]), [0] * 45)
    assert contamination.of("hf", data.track("bars.toml"))["test"].exact == 0
