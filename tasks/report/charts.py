"""Charts of the report: bars, once as SVG for the page and once as PNG.

A chart is data; how it looks is decided in one place for each of the two forms. SVG takes its colours from the page's
style, so that it follows light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tasks.language import translated
from tasks.overlay.canvas import FONT, Color, capital_ink
from tasks.report.rendering import render
from tasks.video.reading import Image


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over labels, one or more series of them side by side.

    Attributes
    ----------
    key
        Name in file names: letters and underscores.
    title
        Heading, plain text.
    labels
        One per group of bars, plain text.
    series
        Name and values; each as many as there are labels. One series needs no name.
    decimals
        Digits after the point in the values written above the bars.
    """

    key: str
    title: str
    labels: tuple[str, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]
    decimals: int = 0

    @property
    def has_bars(self) -> bool:
        """Whether there is anything to see."""
        return any(value for _, values in self.series for value in values)

    @property
    def highest(self) -> float:
        """The highest value, 1 where all are 0: the top of the scale."""
        return max((value for _, values in self.series for value in values), default=0.0) or 1.0


def histogram(
    key: str,
    title: str,
    groups: Sequence[tuple[str, npt.NDArray[np.float64]]],
    low: float = 0.0,
    high: float = 1.0,
    bins: int = 10,
) -> Chart:
    """Return a chart of how often values fall into each of some bins of equal width; values outside go to the ends."""
    edges = np.linspace(low, high, bins + 1)
    series = []
    for name, values in groups:
        # What is not known gets no bar.
        counts, _ = np.histogram(np.clip(values[np.isfinite(values)], low, high), edges)
        series.append((name, tuple(counts.astype(float).tolist())))
    # A bin is named by its lower edge.
    return Chart(key, title, tuple(f"{edge:.1f}" for edge in edges[:-1]), tuple(series))


WIDTH, HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 12, 12, 40, 28

VALUED_WIDTH = 20
"""Least width of bars that their values are written above; over narrower ones figures would run into one another."""


def svg_chart(chart: Chart) -> str:
    """Return a chart as an SVG element; all text in it is escaped."""
    return render("chart.svg.j2", drawn=layout_of(chart)).strip()


def layout_of(chart: Chart) -> dict[str, Any]:
    """Return a chart with the places of its bars, as the template draws it."""
    bars = []
    for number, group, x, width, height, value in _bars(chart):
        text = f"{value:.{chart.decimals}f}"
        tip = f"{translated(chart.labels[group])} {chart.series[number][0]}: {text}"
        # Narrow bars carry their value as a tip only.
        shown = text if value and width >= VALUED_WIDTH else ""
        bars.append({"series": number, "x": x, "width": width, "height": height, "tip": tip, "text": shown})
    return {
        "chart": chart,
        "width": WIDTH,
        "height": HEIGHT,
        "left": _LEFT,
        "right": _RIGHT,
        "baseline": HEIGHT - _BOTTOM,
        "bars": bars,
        # Width of a group with the space around it, pixels; a chart may have no labels at all.
        "slot": (WIDTH - _LEFT - _RIGHT) / max(len(chart.labels), 1),
    }


_INK: Color = (60, 50, 40)
_PAPER: Color = (255, 255, 255)
_BARS: tuple[Color, ...] = ((190, 120, 50), (90, 140, 235), (90, 160, 90), (160, 90, 150))


def png_chart(chart: Chart, zoom: int = 2) -> Image:
    """Return a chart as a picture on white; characters that OpenCV's font lacks are written as question marks."""
    image: Image = np.full((HEIGHT * zoom, WIDTH * zoom, 3), _PAPER, np.uint8)

    def write(text: str, x: float, baseline: float, capital: int, middle: bool = False) -> None:
        """Write a text on a baseline, from x on or around it."""
        # OpenCV's font has ASCII characters only.
        known = text.encode("ascii", "replace").decode()
        # Sizes are heights of capitals in pixels, as the font's own scale has no unit.
        scale = capital * zoom / capital_ink()
        width = cv2.getTextSize(known, FONT, scale, 1)[0][0]
        place = (round(x * zoom) - (width // 2 if middle else 0), round(baseline * zoom))
        cv2.putText(image, known, place, FONT, scale, _INK, 1, cv2.LINE_AA)

    write(chart.title, _LEFT, 17, 8)
    # Places are those of the SVG, scaled.
    baseline = HEIGHT - _BOTTOM
    for number, _, x, width, height, value in _bars(chart):
        corner = (round(x * zoom), round((baseline - height) * zoom))
        # OpenCV draws a line for a rectangle without height.
        if height > 0:
            cv2.rectangle(
                image, corner, (round((x + width) * zoom) - 1, baseline * zoom), _BARS[number % len(_BARS)], -1
            )
        if value and width >= VALUED_WIDTH:
            write(f"{value:.{chart.decimals}f}", x + width / 2, baseline - height - 5, 6, middle=True)
    cv2.line(image, (_LEFT * zoom, baseline * zoom), ((WIDTH - _RIGHT) * zoom, baseline * zoom), _INK, 1)
    slot = (WIDTH - _LEFT - _RIGHT) / max(len(chart.labels), 1)
    for group, label in enumerate(chart.labels):
        write(label, _LEFT + (group + 0.5) * slot, HEIGHT - 13, 6, middle=True)
    # A legend only where there is something to tell apart, with 90 pixels for each name.
    if len(chart.series) > 1:
        for number, (name, _) in enumerate(chart.series):
            x = WIDTH - _RIGHT - 90 * (len(chart.series) - number)
            cv2.rectangle(image, (x * zoom, 8 * zoom), ((x + 10) * zoom, 18 * zoom), _BARS[number % len(_BARS)], -1)
            write(name, x + 15, 16, 7)
    return image


def _bars(chart: Chart) -> list[tuple[int, int, float, float, float, float]]:
    """Return the bars as series, group, left, width, height (pixels) and value."""
    slot = (WIDTH - _LEFT - _RIGHT) / max(len(chart.labels), 1)
    # At most 70 pixels, so that a chart of few labels does not become a wall.
    width = min(slot * 0.8, 70.0) / max(len(chart.series), 1)
    reach = HEIGHT - _TOP - _BOTTOM
    bars = []
    for number, (_, values) in enumerate(chart.series):
        for group, value in enumerate(values):
            left = _LEFT + (group + 0.5) * slot + (number - len(chart.series) / 2) * width
            bars.append((number, group, left, width, reach * value / chart.highest, value))
    return bars
