"""The style: the same figure is the same bytes, words stay words, and nothing of it is left behind."""

import io
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jembench.pages.pictures import grids, plots, style


def figure() -> Figure:
    with plots.blank(style.COLUMN, 2) as (drawn, (axis,)):
        plots.head(drawn, "jem · digits-v1")
        for place in range(3):
            axis.plot([0, 1], [place, 1], **style.look(place), label=f"L∞ {place}")
        plots.legend(drawn)
    return drawn


@pytest.mark.parametrize("kind", style.KINDS)
def test_the_same_figure_is_the_same_bytes(kind: str) -> None:
    first, second = (style.render(figure(), kind) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_in_every_process_and_without_a_date(kind: str, tmp_path: Path) -> None:
    code = (
        "import sys; from jembench.pages.pictures import plots, style\n"
        "with plots.blank(3, 2) as (f, (axis,)):\n axis.plot([0, 1], [0, 1], label='words')\n"
        " plots.legend(f)\n"
        "sys.stdout.buffer.write(style.render(f, sys.argv[1]))"
    )
    (tmp_path / "matplotlibrc").write_text("svg.fonttype: path\nfont.size: 30\naxes.grid: False\n")
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, kind],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "MPLCONFIGDIR": str(tmp_path / place)},
        ).stdout
        for seed, place in (("1", "none"), ("2", "."))
    ]
    assert runs[0] == runs[1]
    assert b"Date" not in runs[0]


def test_words_stay_words() -> None:
    root = ET.fromstring(style.render(figure(), "svg"))
    words = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"jem · digits-v1", "L∞ 0", "L∞ 1", "L∞ 2"} <= set(words)
    content = style.render(figure(), "pdf")
    assert b"/FontFile2" in content  # TrueType, which programs can edit
    assert b"/Type3" not in content


def test_a_picture_has_the_width_of_a_paper_in_every_kind() -> None:
    root = ET.fromstring(style.render(figure(), "svg"))
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(72 * style.COLUMN)
    with Image.open(io.BytesIO(style.render(figure()))) as picture:
        assert picture.width == style.COLUMN * style.DPI


def test_a_png_loses_no_pixel_of_an_image() -> None:
    for channels, mode in ((1, "L"), (3, "RGB")):
        images = np.random.default_rng(0).random((8, channels, 16, 16))
        drawn = grids.grid(images, labels=["0.5"] * 8, head="noise")
        canvas = np.asarray(drawn.axes[0].images[0].get_array())
        with Image.open(io.BytesIO(style.render(drawn))) as picture:
            assert picture.mode == mode
            pixels = np.asarray(picture.convert("RGB"))
        box = drawn.axes[0].get_window_extent()
        left, top = round(box.x0), round(pixels.shape[0] - box.y1)
        shown = pixels[top : top + canvas.shape[0], left : left + canvas.shape[1]]
        rows = slice(0, 16 * 4)
        assert np.array_equal(shown[rows], canvas[rows])


def test_nothing_of_it_is_left_behind() -> None:
    before, backend = dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)
    style.render(grids.grid(np.zeros((1, 1, 2, 2))), "pdf")
    with pytest.raises(ZeroDivisionError), style.settings():
        _ = 1 / 0
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.get_backend(auto_select=False) == backend


def test_no_two_of_seventy_models_look_the_same_and_no_two_of_ten_in_grey() -> None:
    assert len({tuple(style.look(place).items()) for place in range(70)}) == 70
    assert len({style.look(place)["marker"] for place in range(10)}) == 10


def test_words_are_as_wide_as_they_are_drawn() -> None:
    drawn = Figure(figsize=(5, 1), dpi=300)
    words = "jem · n: test 1,000 · L∞"
    with style.settings():
        text = drawn.text(0, 0, words, size=9)
        assert style.width(words, 9) == pytest.approx(text.get_window_extent().width / 300, rel=0.03)


def test_lines_hold_all_words_and_are_not_too_wide() -> None:
    words = "one two three four five six seven eight nine ten"
    lines = style.wrapped(words, 0.5).split("\n")
    assert " ".join(lines) == words
    assert all(style.width(line) <= 0.5 for line in lines)
    assert len(lines) > 3
    assert style.wrapped("Donaudampfschifffahrtsgesellschaft", 0.1) == "Donaudampfschifffahrtsgesellschaft"
