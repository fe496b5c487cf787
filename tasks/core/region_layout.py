"""The regions of a frame: where they lie, what they count at first, and where their figures are drawn.

The one place that knows their geometry: scores, weights, overlay, report and review page all follow. Imports nothing:
settings and the command line need the names before numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Region(NamedTuple):
    """One region; all lengths are shares of the frame's width and height.

    Attributes
    ----------
    name
        Key in annotations and tables.
    left, top, width, height
        Where it lies.
    weight
        What it counts before anything is learned.
    text
        Middle of its figures on a map of the regions: where no other region covers it.
    over
        Whether it lies over others. Its score falls from 1 in its middle to .8 at its border, that of the others to 0
        in their corners, so that it wins wherever it is.
    """

    name: str
    left: float
    top: float
    width: float
    height: float
    weight: float
    text: tuple[float, float]
    over: bool = False


LAYOUT = (
    # People near the camera, at the bottom of the picture, are seen better than those at its top.
    Region("top_left", 0.0, 0.0, 0.5, 0.5, 0.7, (0.125, 0.22)),
    Region("top_right", 0.5, 0.0, 0.5, 0.5, 0.7, (0.875, 0.22)),
    Region("bottom_left", 0.0, 0.5, 0.5, 0.5, 0.8, (0.125, 0.78)),
    Region("bottom_right", 0.5, 0.5, 0.5, 0.5, 0.8, (0.875, 0.78)),
    # Cameras are hung so that what matters happens in the middle.
    Region("center_overlap", 0.25, 0.25, 0.5, 0.5, 1.0, (0.5, 0.48), over=True),
)
"""The five regions: the frame's quadrants, and over them the middle half of its width and height. Those that lie over
others come after them."""

REGIONS = tuple(region.name for region in LAYOUT)
"""Their names, in the order of every axis of regions."""


def best_regions(breakdown: Mapping[str, Iterable[float]], weights: Mapping[str, float]) -> list[str]:
    """Return for each person the region of the highest weighted score, empty for who scores in none.

    Parameters
    ----------
    breakdown
        Region to the scores of all people.
    weights
        Region to its weight; 1 where it is not known.
    """
    names = [name for name in REGIONS if name in breakdown]
    weighted = ([float(score) * weights.get(name, 1.0) for score in breakdown[name]] for name in names)
    # By score alone: of equal ones the first region, as in the order of the axis.
    people = [max(zip(scores, names, strict=True), key=lambda pair: pair[0]) for scores in zip(*weighted, strict=True)]
    return [name if score > 0 else "" for score, name in people]


class Border(NamedTuple):
    """A line between regions: along x or y at a place, from one end to the other; shares of the frame."""

    upright: bool
    at: float
    start: float
    end: float


def visible_borders() -> list[Border]:
    """Return the lines between the regions: each once, without the frame's own edge and what another region covers."""
    lines: list[Border] = []
    for place, region in enumerate(LAYOUT):
        across, down = (region.left, region.left + region.width), (region.top, region.top + region.height)
        edges = [Border(True, x, *down) for x in across] + [Border(False, y, *across) for y in down]
        for edge in edges:
            if 0 < edge.at < 1:
                lines += _uncovered([edge], LAYOUT[place + 1 :])
    return list(dict.fromkeys(lines))


def _uncovered(pieces: list[Border], later: tuple[Region, ...]) -> list[Border]:
    """Return what the regions that lie over others leave of a line."""
    for region in later:
        if not region.over:
            continue
        cut: list[Border] = []
        for piece in pieces:
            # The sides of the region along the line, and across it.
            along, across = (region.top, region.height), (region.left, region.width)
            if not piece.upright:
                along, across = across, along
            if not across[0] < piece.at < across[0] + across[1]:
                cut.append(piece)
                continue
            ends = (piece.start, min(piece.end, along[0])), (max(piece.start, along[0] + along[1]), piece.end)
            cut += [piece._replace(start=start, end=end) for start, end in ends if start < end]
        pieces = cut
    return pieces
