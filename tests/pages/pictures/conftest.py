"""What the tests of pictures share: results as pictures read them, and whether a figure can be read."""

from collections.abc import Callable, Iterable
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from jembench.metrics.metric import Metric
from jembench.pages.pictures import style

SLACK = 1.0  # pixels by which boxes of words may touch


@pytest.fixture
def document() -> Callable[..., Any]:
    """A function from a name, metrics and settings of evaluators to what pictures read of a result."""

    def document(name: str, metrics: Iterable[Metric] = (), **settings: Any) -> Any:
        each = list(metrics)
        return SimpleNamespace(
            model=SimpleNamespace(name=name),
            track="digits-v1",
            protocol=SimpleNamespace(name="v1"),
            protocol_hash="0123456789abcdef",
            metrics=each,
            metric={metric.id: metric for metric in each}.get,
            settings=lambda name: settings.get(name, {}),
        )

    return document


@pytest.fixture
def legible(monkeypatch: pytest.MonkeyPatch) -> Callable[[Figure | None], Figure]:
    """A function that holds a figure to the law: of a paper's width, no words cut off, too small or on others."""
    drawn: dict[Text, Bbox] = {}
    draw = Text.draw

    def watched(self: Text, renderer: Any, *arguments: Any, **options: Any) -> None:
        draw(self, renderer, *arguments, **options)
        if self.get_text().strip() and self.get_visible():
            drawn[self] = self.get_window_extent(renderer)

    monkeypatch.setattr(Text, "draw", watched)

    def legible(figure: Figure | None) -> Figure:
        assert figure is not None
        drawn.clear()
        with style.settings():
            FigureCanvasAgg(figure).draw()
        assert any(abs(figure.get_figwidth() - width) < 0.01 for width in (style.COLUMN, style.PAGE))
        width, height = figure.get_size_inches() * figure.dpi
        assert drawn
        for text, box in drawn.items():
            words = text.get_text()
            assert text.get_fontsize() >= style.SMALL, words
            assert min(box.x0, box.y0) >= -SLACK, words
            assert box.x1 <= width + SLACK, words
            assert box.y1 <= height + SLACK, words
        for (one, box), (two, other) in combinations(drawn.items(), 2):
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            along = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert min(across, along) <= SLACK, (one.get_text(), two.get_text())
        return figure

    return legible
