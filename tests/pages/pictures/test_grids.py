"""Grids: the pixels are those of the images, and every word is beside, below or above what it is of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jembench.pages.pictures import grids, style


def canvas(figure: Figure) -> NDArray[Any]:
    """The image of a grid, ``(height, width, 3)``."""
    return np.asarray(figure.axes[0].images[0].get_array())


@pytest.mark.parametrize(("n", "channels", "side"), [(64, 1, 8), (11, 3, 32), (3, 1, 300)])
def test_every_pixel_of_a_grid_is_a_square_of_its_image(n: int, channels: int, side: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (n, channels, side, side))
    drawn = canvas(grids.grid((images / 255).astype(np.float32)))
    rows, columns = -(-n // 8), min(n, 8)
    factor = (drawn.shape[1] - (columns - 1) * grids.GAP) // columns // side
    step = side * factor + grids.GAP
    assert drawn.shape == (rows * step, columns * step - grids.GAP, 3)
    for i, expected in enumerate(images):
        tile = drawn[i // 8 * step :, i % 8 * step :][: side * factor, : side * factor]
        for shift in (0, factor - 1):  # the first and the last pixel of every square
            shown = tile[shift::factor, shift::factor].transpose(2, 0, 1)
            assert np.array_equal(shown, np.broadcast_to(expected, (3, side, side)))
    if n == 11:
        assert (drawn[step:, 3 * step :] == 255).all()  # no image there


def test_values_out_of_range_are_drawn_at_its_ends() -> None:
    drawn = canvas(grids.grid(np.array([-0.5, 1.5, 0.5, 0.0]).reshape(4, 1, 1, 1)))
    step = (drawn.shape[1] + grids.GAP) // 4
    assert drawn[0, ::step, 0].tolist() == [0, 255, 128, 0]


@pytest.mark.parametrize("page", [style.COLUMN, style.PAGE])
def test_words_are_where_they_belong(legible: Callable[..., Figure], page: float) -> None:
    """Rows to the left of the middle of their images, labels below their image; wide labels need both columns."""
    images = np.random.default_rng(0).random((10, 3, 32, 32))
    rows, label = ("clean", "L∞\neps 0.1"), "7: 0.5" if page == style.COLUMN else "7: −123456789.0"
    figure = legible(grids.grid(images, side=5, head="head " * 20, rows=rows, labels=[label] * 10))
    assert figure.get_figwidth() == pytest.approx(page, abs=0.01)
    (axis,) = figure.axes
    step = canvas(figure).shape[0] / 2
    tile = (canvas(figure).shape[1] + grids.GAP) / 5 - grids.GAP
    for place, (text, words) in enumerate(zip(axis.texts, rows, strict=False)):
        assert text.get_text() == words
        assert text.get_position()[0] < 0
        assert text.get_position()[1] == pytest.approx(place * step + tile / 2, abs=1)
    for place, text in enumerate(axis.texts[2:]):
        assert text.get_text() == label
        assert text.get_position()[0] == pytest.approx((place % 5) * (tile + grids.GAP) + tile / 2, abs=1)
        assert place // 5 * step + tile < text.get_position()[1] < (place // 5 + 1) * step
    assert " ".join(figure.texts[0].get_text().split()) == " ".join(["head"] * 20)
