"""Drawings as inline SVG: a frame with axes, and marks at places of the data, coloured by the style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from jembench.pages.site.render import visible

Span = tuple[float, float]
Tick = tuple[float, str]

LEFT, RIGHT, TOP, BOTTOM = 46.0, 18.0, 12.0, 38.0  # margins of a frame
COLOURS = 8  # classes ``c0`` to ``c7`` of the style sheet


def element(tag: str, content: str = "", /, **attributes: object) -> Markup:
    """An element with its attributes, all text escaped; ``_`` in their names is ``-``, ``cls`` is ``class``.

    >>> element("text", "a < b", x=1.25, cls="c0")
    Markup('<text x="1.2" class="c0">a &lt; b</text>')
    """
    parts = [Markup(' {}="{}"').format(_name(name), _text(item)) for name, item in attributes.items()]
    inner = content if isinstance(content, Markup) else Markup.escape(visible(content))
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), Markup("").join(parts), inner)


@dataclass
class Drawing:
    """A frame with axes, to which marks are added.

    Attributes:
        x: ends of the horizontal axis in units of the data.
        y: ends of the vertical axis.
        width: of the whole in pixels.
        height: of the whole in pixels.
        left: margin in pixels, for the words of the vertical axis.
        bottom: margin in pixels, for those of the horizontal one.
    """

    x: Span
    y: Span
    width: float = 340.0
    height: float = 230.0
    left: float = LEFT
    bottom: float = BOTTOM
    marks: list[Markup] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point in pixels; outside of the frame it is at its edge."""
        across = min(max((x - self.x[0]) / (self.x[1] - self.x[0]), 0.0), 1.0)
        up = min(max((y - self.y[0]) / (self.y[1] - self.y[0]), 0.0), 1.0)
        return (
            self.left + across * (self.width - self.left - RIGHT),
            self.height - self.bottom - up * (self.height - self.bottom - TOP),
        )

    def axes(self, x: Sequence[Tick], y: Sequence[Tick], across: str = "", up: str = "") -> None:
        """Grid lines with their words, and the names of both axes."""
        for value, words in x:
            (place, low), (_, high) = self.at(value, self.y[0]), self.at(value, self.y[1])
            self.add("line", x1=place, x2=place, y1=low, y2=high, cls="grid")
            self.text(words, place, low + 14, "middle")
        for value, words in y:
            (start, level), (end, _) = self.at(self.x[0], value), self.at(self.x[1], value)
            self.add("line", x1=start, x2=end, y1=level, y2=level, cls="grid")
            self.text(words, start - 6, level + 4, "end")
        self.text(across, (self.left + self.width - RIGHT) / 2, self.height - 6, "middle", "name")
        if up:
            middle = (TOP + self.height - self.bottom) / 2
            self.add("text", up, x=0, y=0, transform=f"translate(11 {middle:.0f}) rotate(-90)", cls="name middle")

    def add(self, tag: str, content: str = "", /, **attributes: object) -> None:
        """An element in pixels."""
        self.marks.append(element(tag, content, **attributes))

    def text(self, words: str, x: float, y: float, align: str = "start", cls: str = "") -> None:
        """Words at a place in pixels; ``align`` is start, middle or end."""
        if words:
            self.add("text", words, x=x, y=y, cls=f"{cls} {align}".strip())

    def line(self, points: Iterable[tuple[float, float]], cls: str) -> None:
        """A line through points of the data."""
        self.add("polyline", points=_points(self.at(*point) for point in points), cls=f"line {cls}")

    def area(self, low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]], cls: str) -> None:
        """What lies between two lines."""
        self.add("polygon", points=_points(self.at(*point) for point in (*low, *reversed(high))), cls=f"area {cls}")

    def dot(self, x: float, y: float, ends: Span | None, cls: str, title: str = "") -> None:
        """A point of the data with its interval, and words for a pointer that rests on it."""
        place, level = self.at(x, y)
        if ends is not None:
            (_, low), (_, high) = self.at(x, ends[0]), self.at(x, ends[1])
            self.add("line", x1=place, x2=place, y1=low, y2=high, cls=f"whisker {cls}")
        words = element("title", title) if title else ""
        self.add("circle", words, cx=place, cy=level, r=3, cls=f"dot {cls}")

    def svg(self, label: str) -> Markup:
        """The drawing as an element of a page.

        Args:
            label: what it shows, for those who do not see it.
        """
        box = f"0 0 {self.width:g} {self.height:g}"
        style = f"max-width:{self.width:g}px"
        return element("svg", Markup("").join(self.marks), viewBox=box, role="img", aria_label=label, style=style)


def ticks(low: float, high: float, count: int = 5) -> list[Tick]:
    """Round values between two ends, about so many, with their words.

    >>> [words for _, words in ticks(0.0, 1.0)]
    ['0', '0.2', '0.4', '0.6', '0.8', '1']
    """
    if not low < high:
        return [(low, f"{low:g}")]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(raw / (factor * power))))
    first = math.ceil(low / step - 1e-9)
    values = [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]
    return [(value, _compact(0.0 if abs(value) < step / 1e6 else value)) for value in values]


def key(names: Sequence[str], places: Sequence[int] | None = None) -> Markup:
    """The legend of a drawing: a swatch of its colour before every name."""
    numbers = range(len(names)) if places is None else places
    items = [
        element("li", element("i", cls=f"swatch c{place % COLOURS}") + Markup.escape(visible(name)))
        for place, name in zip(numbers, names, strict=True)
    ]
    return element("ul", Markup("").join(items), cls="key")


def _compact(value: float) -> str:
    size = abs(value)
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if size >= 10 * limit or (size >= limit and unit == "M"):
            return f"{value / limit:g} {unit}"
    return f"{value:.6g}"


def _points(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _name(name: str) -> str:
    return "class" if name == "cls" else name if name == "viewBox" else name.replace("_", "-")


def _text(item: object) -> str:
    return f"{item:.1f}".removesuffix(".0") if isinstance(item, float) else visible(str(item))
