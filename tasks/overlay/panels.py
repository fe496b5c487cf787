"""The parts of the overlay that do not move: scoreboard, timeline of involvement, and the grid of regions.

Each is drawn once per clip; a frame only gets a copy of it and the few pixels that move (the bars of the scoreboard and
the timeline's mark).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from tasks.core.records import FloatArray, IntArray, Poses
from tasks.core.region_layout import LAYOUT, Region, visible_borders
from tasks.overlay.canvas import BLACK, WHITE, YELLOW, Color, Sizes, blend, mix, text_box
from tasks.video.reading import Image

SEE_THROUGH = 0.3
"""Share of the picture that shines through the panels."""


@dataclass(frozen=True, slots=True)
class Row:
    """One person's line in the scoreboard and the timeline.

    Attributes
    ----------
    rank, track_id
        Rank from 1, and the track.
    score
        Composite score in [0, 1].
    color
        The colour of the person's skeleton.
    windows
        (S,) involvement in each time window, as a share (0 to 1) of the clip's highest.
    """

    rank: int
    track_id: int
    score: float
    color: Color
    windows: FloatArray


def badge(text: str, capital: int, pad: int, color: Color) -> Image:
    """Return a rank badge: black on the person's colour, at least as wide as high."""
    picture = text_box(text, capital, pad, BLACK, color)
    missing = picture.shape[0] - picture.shape[1]
    if missing <= 0:
        return picture
    left = missing // 2
    return np.asarray(
        cv2.copyMakeBorder(picture, 0, 0, left, missing - left, cv2.BORDER_CONSTANT, value=color), np.uint8
    )


class Scoreboard:
    """Rank, ID, score and present involvement of the selected people, in one corner of the frame.

    Parameters
    ----------
    rows
        The people, in rank order.
    sizes
        Sizes of the marks.
    """

    def __init__(self, rows: list[Row], sizes: Sizes) -> None:
        self._rows = rows
        # Drawn once here: writing text takes far longer than copying a picture of it.
        texts = [
            (
                badge(str(row.rank), sizes.small_text, sizes.pad, row.color),
                text_box(f"ID:{row.track_id}", sizes.small_text, sizes.pad, YELLOW),
                text_box(f"{row.score:.2f}", sizes.small_text, sizes.pad, WHITE),
            )
            for row in rows
        ]
        # As wide as the widest cell of each column, so that all bars begin at one place.
        columns = [max((row[i].shape[1] for row in texts), default=0) for i in range(3)]
        self._bar_height = max((row[0].shape[0] for row in texts), default=0)
        # One pixel apart, so that badges do not run into each other.
        self._line = self._bar_height + 1
        self._bar_left = sum(columns)
        self._bar_width = 4 * sizes.small_text
        self._pad = sizes.pad
        self.width = self._bar_left + self._bar_width + sizes.pad if rows else 0
        self.height = self._line * len(rows)
        self._picture = np.zeros((self.height, self.width, 3), np.uint8)
        for index, row in enumerate(texts):
            left = 0
            for width, cell in zip(columns, row, strict=True):
                top = index * self._line
                self._picture[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
                left += width

    def draw(self, image: Image, left: int, top: int, window: int) -> None:
        """Draw the board at a place where it fits, with the bars of one time window."""
        if not self._rows:
            return
        blend(image, self._picture, left, top, SEE_THROUGH)
        for index, row in enumerate(self._rows):
            # Frames before the first window and after the last have no score.
            share = float(row.windows[window]) if 0 <= window < len(row.windows) else 0.0
            # The bar takes the middle third of its line.
            x, y = left + self._bar_left, top + index * self._line + self._bar_height // 3
            end = x + round(self._bar_width * share)
            image[y : y + max(1, self._bar_height // 3), x:end] = row.color


class Timeline:
    """A strip along the bottom: each selected person's involvement over the whole clip.

    Parameters
    ----------
    rows
        The people, in rank order.
    edges
        (S + 1,) the time windows' edges in frames.
    sizes
        Sizes of the marks.
    width
        Width of the frame in pixels.
    """

    def __init__(self, rows: list[Row], edges: IntArray, sizes: Sizes, width: int) -> None:
        line = max(2, sizes.small_text // 2)
        self._frames = int(edges[-1]) if len(edges) else 0
        self._mark = max(1, sizes.thin)
        shown = rows if self._frames > 0 else []
        self.height = len(shown) * (line + 1) + 1 if shown else 0
        self._picture = np.zeros((self.height, width, 3), np.uint8)
        for index, row in enumerate(shown):
            top = 1 + index * (line + 1)
            # All edges are rounded alike, so that neighbouring windows meet without a gap.
            pixels = np.round(edges / self._frames * width).astype(int)
            for left, right, share in zip(pixels[:-1], pixels[1:], row.windows, strict=True):
                # Squared, since the scores of one clip lie close together.
                self._picture[top : top + line, left:right] = mix(BLACK, row.color, float(share) ** 2)

    def draw(self, image: Image, frame_index: int) -> None:
        """Draw the strip with its mark at one frame."""
        if not self.height:
            return
        height, width = image.shape[:2]
        top = height - self.height
        blend(image, self._picture, 0, top, SEE_THROUGH)
        # The mark of the last frames would reach over the right edge.
        x = min(int(frame_index / self._frames * width), width - self._mark)
        image[top:, x : x + self._mark] = WHITE


class RegionGrid:
    """The regions as faint lines, each with its learned weight.

    Parameters
    ----------
    weights
        (5,) order of `REGIONS`.
    size
        Width and height of the frame in pixels.
    sizes
        Sizes of the marks.
    bottom
        Height in pixels of what covers the frame's bottom.
    panel
        Left, top, width and height in pixels of the scoreboard, which the weights keep clear of.
    """

    def __init__(
        self, weights: FloatArray, size: tuple[int, int], sizes: Sizes, bottom: int, panel: tuple[int, int, int, int]
    ) -> None:
        width, height = size
        thick = max(1, sizes.thin)
        # The areas of the lines as (left, top, right, bottom), pixels.
        self._lines = [
            (int(at * width), int(start * height), int(at * width) + thick, int(end * height))
            if upright
            else (int(start * width), int(at * height), int(end * width), int(at * height) + thick)
            for upright, at, start, end in visible_borders()
        ]
        self.labels: list[tuple[Image, int, int]] = []
        middles = [_label_middle(region, size, sizes, bottom) for region in LAYOUT]
        for weight, (x, y) in zip(weights, middles, strict=True):
            picture = text_box(f"{float(weight):.2f}", sizes.small_text, sizes.pad, (200, 200, 200))
            left, top = x - picture.shape[1] // 2, y - picture.shape[0] // 2
            board_left, board_top, board_width, board_height = panel
            # Only a label that the scoreboard would cover has to move.
            beside = left >= board_left + board_width or left + picture.shape[1] <= board_left
            if not beside and board_top < top + picture.shape[0] and top < board_top + board_height:
                # Towards the middle of the frame.
                top = board_top + board_height if board_top == 0 else board_top - picture.shape[0]
            # Frames too small for the text go without it.
            if 0 <= left <= width - picture.shape[1] and 0 <= top <= height - picture.shape[0]:
                self.labels.append((picture, left, top))

    def draw(self, image: Image) -> None:
        """Draw the grid."""
        for x1, y1, x2, y2 in self._lines:
            line = image[y1:y2, x1:x2]
            if line.size:
                # 35 % white, added as the constant: no white picture is needed.
                cv2.addWeighted(line, 0.65, line, 0.0, 0.35 * 255, dst=line)
        for picture, left, top in self.labels:
            blend(image, picture, left, top, 0.5)


def _label_middle(region: Region, size: tuple[int, int], sizes: Sizes, bottom: int) -> tuple[int, int]:
    """Return the middle of a region's label, pixels: at the frame's edge if the region reaches it, else at its top."""
    width, height = size
    x = int((region.left + region.width / 2) * width)
    if region.top == 0:
        return x, sizes.text
    if region.top + region.height == 1:
        return x, height - bottom - sizes.text
    return x, int(region.top * height) + sizes.text + sizes.pad


def quiet_corners(
    poses: Poses, edges: IntArray, size: tuple[int, int], panel: tuple[int, int], bottom: int
) -> list[tuple[int, int]]:
    """Return for each time window the left and top of the corner that a panel should be in.

    It begins in the corner in which it covers people least over the whole clip (the top left where all are equal), and
    goes to another one only where that covers less than half as much in the window: it should not jump.

    Parameters
    ----------
    poses
        All people of the clip.
    edges
        (S + 1,) the time windows' edges in frames.
    size
        Width and height of the frame in pixels.
    panel
        Width and height of the panel in pixels.
    bottom
        Height in pixels of what covers the frame's bottom already.
    """
    right, low = max(0, size[0] - panel[0]), max(0, size[1] - bottom - panel[1])
    corners = [(0, 0), (right, 0), (0, low), (right, low)]
    # Rows are sorted by frame, so that a window is a range of them.
    rows = np.searchsorted(poses.frame_index, edges)
    # The area of people's boxes that a panel in each corner covers, row by row of the clip.
    covered = np.stack([_shared_area(poses.bbox, (x, y, x + panel[0], y + panel[1])) for x, y in corners])
    places = [int(np.argmin(covered.sum(axis=1)))]
    for start, end in pairwise(rows.tolist()):
        here = covered[:, start:end].sum(axis=1)
        best = int(np.argmin(here))
        places.append(best if here[best] < 0.5 * here[places[-1]] else places[-1])
    # The first place is the start for comparison; it is shown only where there are no windows.
    return [corners[place] for place in places[1:] or places]


def _shared_area(bbox: FloatArray, area: tuple[int, int, int, int]) -> npt.NDArray[np.floating]:
    """Return what each box (N, 4) shares with an area, in square pixels."""
    shared_x = np.minimum(bbox[:, 2], area[2]) - np.maximum(bbox[:, 0], area[0])
    shared_y = np.minimum(bbox[:, 3], area[3]) - np.maximum(bbox[:, 1], area[1])
    overlap: npt.NDArray[np.floating] = np.maximum(shared_x, 0) * np.maximum(shared_y, 0)
    return overlap
