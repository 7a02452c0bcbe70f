"""Whatever form images are brought in they are the same images; what cannot be meant is one line."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jembench.data import origins
from jembench.types import UserError


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)


LABELS = np.arange(12) % 3


def rows(origin, **options):
    return list(origins.read(str(origin), "set", **options).images)


def same(found, images, labels=None):
    order = sorted(range(len(found)), key=lambda i: found[i][0].tobytes())
    wanted = sorted(range(len(images)), key=lambda i: images[i].tobytes())
    assert [found[i][0].tobytes() for i in order] == [images[i].tobytes() for i in wanted]
    if labels is not None:
        assert [found[i][1] for i in order] == [labels[i] for i in wanted]


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def classed(folder, images):
    for i, (image, y) in enumerate(zip(images, LABELS, strict=True)):
        place = folder / "abc"[y]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(png(image))
    return folder


def listed(folder, images):
    classed(folder, images)
    lines = [f"{path.relative_to(folder)} {'abc'.index(path.parent.name)}" for path in sorted(folder.rglob("*.png"))]
    (folder / "list.txt").write_text("\n".join(lines))
    return folder / "list.txt"


def arrays(folder, images):
    folder.mkdir()
    np.savez(folder / "a.npz", images=images, labels=LABELS)
    return folder / "a.npz"


def channels_first(folder, images):
    folder.mkdir()
    np.savez(folder / "a.NPZ.npz", x=images.transpose(0, 3, 1, 2), y=LABELS)
    (folder / "a.NPZ.npz").rename(folder / "a.NPZ")
    return folder / "a.NPZ"


def table(images, *, struct):
    cells = [{"bytes": png(image), "path": None} if struct else png(image) for image in images]
    return pa.table({"image": cells, "label": pa.array(LABELS)})


def parquet(folder, images):
    folder.mkdir()
    pq.write_table(table(images, struct=True), folder / "a.parquet")
    return folder / "a.parquet"


def hugging_face(folder, images):
    (folder / "data").mkdir(parents=True)
    pq.write_table(table(images, struct=True), folder / "data" / "test-00000-of-00001.parquet")
    pq.write_table(table(images[::-1] // 2, struct=True), folder / "data" / "train-00000-of-00001.parquet")
    return folder


def arrow(folder, images):
    folder.mkdir()
    content = table(images, struct=False)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, content.schema) as out,
    ):
        out.write_table(content)
    return folder


def function(folder, images):
    arrays(folder, images)
    load = f"np.load({str(folder / 'a.npz')!r})"
    code = f"import numpy as np\n\ndef make():\n    a = {load}\n    return a['images'], a['labels']\n"
    (folder / "mine.py").write_text(code)
    return f"{folder / 'mine.py'}:make"


FORMS = [classed, listed, arrays, channels_first, parquet, hugging_face, arrow, function]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images_and_labels(tmp_path, images, form):
    same(rows(form(tmp_path / "f", images), labelled=True), images, LABELS)


@pytest.mark.parametrize(
    ("words", "low", "high", "kind"),
    [
        ("0..16", 0, 16, np.uint8),
        ("0..1", 0, 1, np.float32),
        ("-1..1", -1, 1, np.float64),
        ("0..100", 0, 100, np.int32),
    ],
)
def test_another_range_is_said_or_asked_for(tmp_path, words, low, high, kind):
    """Equal figures to the same images of 0..255, never a silent darkness."""
    steps = np.random.default_rng(0).integers(0, 17, (20, 4, 4, 1))
    steps[0, 0, 0, 0], steps[0, 0, 1, 0] = 0, 16
    raw = (low + (high - low) * steps / 16).astype(kind) if words != "0..100" else (steps * 100 // 16).astype(kind)
    unit = (raw.astype(float) - low) / (high - low)
    np.savez(tmp_path / "a.npz", images=raw)
    with pytest.raises(UserError, match=rf"{low}\.\.{high}.*say which range it is, a.npz@") as error:
        rows(tmp_path / "a.npz")
    assert "\n" not in str(error.value)
    same(rows(f"{tmp_path / 'a.npz'}@{words}"), np.rint(unit * 255).astype(np.uint8))


def test_a_range_that_does_not_hold_the_pixels_is_refused(tmp_path, images):
    np.savez(tmp_path / "a.npz", images=images)
    with pytest.raises(UserError, match=r"its pixels are 0\.\.255, not 0\.\.16"):
        rows(f"{tmp_path / 'a.npz'}@0..16")
    with pytest.raises(UserError, match="from black to white"):
        rows(f"{tmp_path / 'a.npz'}@5..5")
    dark = np.minimum(images, 9)
    np.savez(tmp_path / "dark.npz", images=dark)
    same(rows(f"{tmp_path / 'dark.npz'}@0..255"), dark)  # if it is meant


@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 8, 8), (8, 8, 1), (1, 8, 8), (32, 32, 3)])
def test_one_image_without_its_axis_is_asked_about(tmp_path, shape):
    image = np.full(shape, 200, np.uint8)
    np.savez(tmp_path / "a.npz", images=image)
    with pytest.raises(UserError, match="add the axis that is missing"):
        rows(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", images=image[None])
    assert len(rows(tmp_path / "a.npz")) == 1


@pytest.mark.parametrize("kind", ["datetime64[s]", "timedelta64[s]", "bool", "U3", "complex64"])
def test_arrays_of_other_things_are_no_images(tmp_path, kind):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8, 3)).astype(kind))
    with pytest.raises(UserError, match="needs numbers of pixels, not"):
        rows(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["datetime64[s]", "timedelta64[s]", "float32", "bool"])
def test_labels_are_integers_where_they_are_asked_for(tmp_path, images, kind):
    np.savez(tmp_path / "a.npz", images=images, labels=LABELS.astype(kind))
    with pytest.raises(UserError, match=r"'labels' is .* needs integers \(12,\)"):
        rows(tmp_path / "a.npz", labelled=True)
    same(rows(tmp_path / "a.npz"), images)  # an OOD set has none


@pytest.mark.parametrize("member", ["images", "images.txt", "images.npy"])
def test_a_foreign_member_is_named(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(member, b"not an array")
    with pytest.raises(UserError, match=r"a\.npz") as error:
        rows(tmp_path / "a.npz")
    assert "\n" not in str(error.value)


def test_members_beside_the_images_are_left_alone(tmp_path, images):
    np.savez(tmp_path / "a.npz", images=images, notes=np.array([{"a": 1}], dtype=object), other=np.zeros(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("README.txt", "words")
    same(rows(tmp_path / "a.npz"), images)


SUFFIXES = [".png", ".PNG", ".bmp", ".tif", ".TIFF", ".webp", ".ppm", ".gif"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures_of_every_lossless_suffix(tmp_path, images, suffix):
    grey = images[..., :1]
    for i, image in enumerate(grey):
        options = {"lossless": True} if suffix == ".webp" else {}
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}{suffix}", **options)
    found = rows(tmp_path)
    assert sorted(image[..., 0].tobytes() for image, _ in found) == sorted(image.tobytes() for image in grey)


def test_pictures_of_other_suffixes_count_and_what_is_none_is_said(tmp_path):
    smooth = np.full((16, 16, 3), 90, np.uint8)
    for name in ("a.jpg", "b.jpeg", "c.jfif", "d.jpe", "e.jp2", "f.JPG"):
        Image.fromarray(smooth).save(tmp_path / name, "jpeg2000" if name.endswith("jp2") else "jpeg")
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "Makefile").write_text("words")
    found = origins.read(str(tmp_path), "set")
    assert "1 .txt, 1 without a suffix" in found.words
    values = [image for image, _ in found.images]
    assert len(values) == 6
    assert all(np.abs(image.astype(int) - 90).max() <= 2 for image in values)


def test_hidden_copies_and_links(tmp_path, images):
    folder = classed(tmp_path / "real", images)
    for name in (".ipynb_checkpoints", "__MACOSX", "a/.hidden"):
        (folder / name).mkdir()
        (folder / name / "0.png").write_bytes(png(images[0]))
    (folder / "a" / "._0.png").write_bytes(b"\0\5\26\7resource")
    same(rows(folder), images)
    linked = tmp_path / "linked"
    linked.mkdir()
    os.symlink(folder / "a", linked / "a")
    same(rows(linked), images[LABELS == 0])
    os.symlink(folder, folder / "a" / "loop")
    same(rows(folder), images)  # entered once
    os.symlink("nowhere.png", folder / "b" / "broken.png")
    with pytest.raises(UserError, match=r"broken\.png is a link to nothing"):
        rows(folder)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_viewers_turn_it(tmp_path, images, orientation):
    turned = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
              5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
              8: Image.Transpose.ROTATE_90}  # fmt: skip
    picture = Image.fromarray(images[0])
    wanted = np.asarray(picture.transpose(turned[orientation]) if orientation in turned else picture)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    ((found, _),) = rows(tmp_path)
    assert np.array_equal(found, wanted)


def test_more_than_8_bits_are_refused(tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(deep).save(tmp_path / "grey.png")
    Image.fromarray(deep).save(tmp_path / "grey.tif")
    (tmp_path / "rgb.ppm").write_bytes(b"P6\n# words\n2 2\n65535\n" + bytes(24))
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(12) for _ in range(2)))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    (tmp_path / "rgb.png").write_bytes(content)
    for name in ("grey.png", "grey.tif", "rgb.ppm", "rgb.png"):
        folder = tmp_path / Path(name).stem / Path(name).suffix[1:]
        folder.mkdir(parents=True)
        (tmp_path / name).rename(folder / name)
        with pytest.raises(UserError, match="more than 8 bits a colour"):
            rows(folder)


@pytest.mark.parametrize(
    ("lines", "words"),
    [("absent.png 0", "line 1: no picture"), ("\n0.png x", "line 2: 'x' is no number of a class")],
)
def test_a_list_that_lies_is_told_by_its_line(tmp_path, images, lines, words):
    (tmp_path / "0.png").write_bytes(png(images[0]))
    (tmp_path / "list.txt").write_text(lines)
    with pytest.raises(UserError, match=words):
        rows(tmp_path / "list.txt", labelled=True)


def test_tables_without_pictures_or_labels(tmp_path, images):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has no column 'image' of pictures"):
        rows(tmp_path / "a.parquet")
    pq.write_table(table(images, struct=True).select(["image"]), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="has no column 'label' of classes"):
        rows(tmp_path / "b.parquet", labelled=True)
    same(rows(tmp_path / "b.parquet"), images)


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"0.png --5", b"0.png 1.5"])
def test_a_list_that_cannot_be_read_is_one_line(tmp_path, images, content):
    (tmp_path / "0.png").write_bytes(png(images[0]))
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UserError) as error:
        rows(tmp_path / "list.txt", labelled=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("labels", ["[0] * 11", "['a'] * 12", "[[0]] * 12", "[0.5] * 12"])
def test_labels_of_a_function_are_an_integer_for_each_image(tmp_path, images, labels):
    origin = function(tmp_path / "f", images)
    path = tmp_path / "f" / "mine.py"
    path.write_text(path.read_text().replace("a['labels']", labels))
    with pytest.raises(UserError, match=r"labels are .* needs integers \(12,\)"):
        rows(origin, labelled=True)


def test_labels_of_a_table_are_integers(tmp_path, images):
    pq.write_table(table(images, struct=True).set_column(1, "label", pa.array(LABELS * 0.9)), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="'label' is double, needs integers"):
        rows(tmp_path / "a.parquet", labelled=True)
    same(rows(tmp_path / "a.parquet"), images)


def deep_png():
    """A PNG of 16 bits a colour."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(12) for _ in range(2)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def deep_tiff():
    """A TIFF of 2x2 pixels, three colours of 16 bits."""
    import struct

    pixels, tags = bytes(24), []
    entries = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, 24), (284, 3, 1, 1)]
    place = 8 + len(pixels)
    depth = place + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        tags.append(struct.pack("<HHII", tag, kind, count, depth if tag == 258 else value))
    start = b"II*\0" + struct.pack("<I", place) + pixels + struct.pack("<H", len(entries))
    return start + b"".join(tags) + bytes(4) + struct.pack("<HHH", 16, 16, 16)


@pytest.mark.parametrize("content", [deep_png(), deep_tiff()], ids=["png", "tiff"])
def test_deep_pictures_are_refused_in_a_table_as_in_a_folder(tmp_path, content):
    pq.write_table(pa.table({"image": [content]}), tmp_path / "a.PARQUET")
    with pytest.raises(UserError, match="more than 8 bits a colour"):
        rows(tmp_path / "a.PARQUET")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.tif").write_bytes(content)
    with pytest.raises(UserError, match="more than 8 bits a colour"):
        rows(tmp_path / "f")


def test_a_list_needs_its_folder(tmp_path):
    with pytest.raises(UserError, match=r"are imglist:FILE\.txt:FOLDER"):
        rows("imglist:nope")


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10"])
def test_a_library_has_no_other_part_in_place_of_one(name):
    """The constructor knows train or not: validation would be test."""
    with pytest.raises(UserError, match="has no part 'validation', only train and test"):
        rows(f"torchvision:{name}:nowhere", split="validation")
