"""The style of all pictures, for papers: sizes, fonts, colours, and the bytes of a figure.

A picture is one column of a paper wide or two, and its words are of 6 points or a little more at that size, so that it
is put into a paper without being scaled. Colours are those of Okabe & Ito, which the colour-blind tell apart; markers
and dashes tell curves apart in grey too. Nothing of it is global: :func:`settings` holds while a picture is drawn or
rendered, and what a user's own matplotlibrc says does not.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.3, 6.9  # inches: the width of one column of a paper, and of two
SMALL, TEXT = 6.0, 6.5  # points: of marks and labels, and of titles
LEADING = 1.25  # of the size of a font, from line to line
DPI = 160  # pixels of an inch of a PNG, at least

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # without the yellow
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GREY, DARK, PALE = "#888888", "#444444", "#dddddd"

#: What files say of themselves: no date, no version, so that the same figure is the same bytes.
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": "jembench"},
    "pdf": {"CreationDate": None, "Creator": "jembench", "Producer": None},
}
KINDS = ("png", *METADATA)

_RC: dict[str, Any] = {
    "figure.dpi": DPI,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.titlesize": TEXT,
    "font.size": SMALL,
    "axes.titlesize": TEXT,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.labelsize": SMALL,
    "axes.labelpad": 2,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": PALE,
    "grid.linewidth": 0.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "svg.fonttype": "none",  # words stay words
    "svg.hashsalt": "jembench",
    "pdf.fonttype": 42,  # fonts that can be searched and edited
}


@contextmanager
def settings() -> Iterator[None]:
    """The style, while a picture is drawn or rendered: a context or a decorator."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)  # type: ignore[arg-type]  # by literal names
        yield


def render(figure: Figure, kind: str = "png") -> bytes:
    """The bytes of a figure as a file: the same figure, the same bytes.

    Args:
        figure: the picture.
        kind: one of :data:`KINDS`. A PNG without images gets a palette of 256 colours.
    """
    if kind == "png":
        return _png(figure)
    file = io.BytesIO()
    with settings():
        figure.savefig(file, format=kind, metadata=METADATA[kind])
    return file.getvalue()


def look(place: int) -> dict[str, Any]:
    """Colour and marker of the model or series at a place: no two of the first seventy have the same.

    In grey, the first ten differ by their markers.
    """
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def width(words: str, size: float = SMALL) -> float:
    """How wide the longest line of words is, in inches, in a font of ``size`` points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size)
    lines = words.split("\n")
    return max(float(text_to_path.get_text_width_height_descent(line, font, False)[0]) for line in lines) / 72


def height(words: str, size: float = SMALL) -> float:
    """How high the lines of words are together, in inches."""
    return len(words.split("\n")) * size * LEADING / 72 if words else 0.0


def wrapped(words: str, room: float, size: float = SMALL) -> str:
    """Words in lines that are no wider than ``room`` inches; a longer word is a line of its own."""
    lines = []
    for line in words.split("\n"):
        start, *rest = line.split(" ")
        for word in rest:
            if width(f"{start} {word}", size) > room:
                lines.append(start)
                start = word
            else:
                start = f"{start} {word}"
        lines.append(start)
    return "\n".join(lines)


def _png(figure: Figure) -> bytes:
    """A PNG that knows its inches: grey where all of it is, else of 256 colours, unless it holds images."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    with settings():
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]  # type: ignore[no-untyped-call]
    exact = any(axis.images for axis in figure.axes)
    if (pixels == pixels[:, :, :1]).all():
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0]))
    else:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image = image if exact else image.quantize(256)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=not exact, dpi=(figure.dpi, figure.dpi))
    return file.getvalue()
