"""Marks on a frame: lines, skeletons, boxes and text that grow with the frame.

Everything that costs time and does not change is made once: text becomes a small picture that is copied into frames.
Coordinates reach OpenCV as fixed-point numbers (`SHIFT` bits), so that skeletons move smoothly on small frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from tasks.video.reading import Image

Color = tuple[int, int, int]
"""Blue, green, red, 0 to 255."""

Levels = tuple[Color, Color, Color]
"""The colours of what is faintly, middling and surely seen."""

YELLOW: Color = (0, 255, 255)
WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)

# Far apart from one another and from the yellow of the IDs, and bright on dark footage. Neighbours differ most, as
# neighbouring IDs are what has to be told apart.
PALETTE: tuple[Color, ...] = (
    (80, 92, 255),
    (255, 196, 64),
    (92, 232, 124),
    (40, 150, 255),
    (255, 120, 214),
    (180, 214, 0),
    (190, 128, 255),
    (255, 140, 90),
    (110, 190, 200),
    (255, 190, 190),
    (110, 150, 200),
    (225, 225, 225),
)


def palette_colors(track_ids: Iterable[int]) -> dict[int, Color]:
    """Return the colour of each track: by its ID, moved on where one that comes earlier has that colour already."""
    colors: dict[int, Color] = {}
    free: list[int] = []
    for track_id in track_ids:
        # Once all colours are given out they are free again: people beyond twelve share them.
        free = free or list(range(len(PALETTE)))
        # Track IDs start at 1.
        wanted = (track_id - 1) % len(PALETTE)
        chosen = wanted if wanted in free else free[0]
        free.remove(chosen)
        colors[track_id] = PALETTE[chosen]
    return colors


VISIBLE_JOINT = 0.15
"""Joints that score lower are not drawn. MoveNet's own examples draw above 0.11; RTMO's missing joints score near 0."""

SURE_JOINT = 0.45
"""Joints that score higher are drawn at full brightness."""

SHIFT = 3
"""Fractional bits of coordinates handed to OpenCV."""

FONT = cv2.FONT_HERSHEY_DUPLEX


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of marks in pixels for one frame size.

    Attributes
    ----------
    text, small_text
        Height of a capital letter.
    strong, line, thin
        Thickness of lines: of the fighters of the moment, of other selected people, of everyone else.
    rim
        Thickness of the dark edge of a skeleton's lines.
    joint
        Radius of a joint's dot.
    dash
        Length of a dash and of the gap after it.
    pad
        Distance of a text from the edge of its box.
    """

    text: int
    small_text: int
    strong: int
    line: int
    thin: int
    rim: int
    joint: int
    dash: int
    pad: int

    @classmethod
    def for_frame(cls, width: int, height: int) -> Sizes:
        """Return the sizes for a frame: in proportion to it, and never below what can be read."""
        # 1 at 1280x720. By the area: players fit a portrait clip by its height, and would show marks that were scaled
        # by its width too small to read.
        unit = math.sqrt(width * height / (1280 * 720))
        return cls(
            text=max(7, round(13 * unit)),
            small_text=max(6, round(10 * unit)),
            strong=max(2, round(4 * unit)),
            line=max(1, round(2.4 * unit)),
            thin=max(1, round(1.2 * unit)),
            rim=max(1, round(unit)),
            joint=max(1, round(3 * unit)),
            dash=max(3, round(6 * unit)),
            pad=max(2, round(4 * unit)),
        )


def mix(color: Color, other: Color, share: float) -> Color:
    """Return a colour with a share (0 to 1) of another in it."""
    blue, green, red = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return blue, green, red


def fixed_point(points: npt.NDArray[np.floating], size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Return pixel coordinates (…, 2) in OpenCV's fixed-point form; far-off points stay near the frame.

    OpenCV's fixed-point numbers overflow silently for coordinates far outside, which draws lines across the frame.
    """
    # Two frames off is far enough for a line to leave the picture nearly as it should.
    reach = 2.0 * max(size)
    return np.round(np.clip(points, -reach, reach) * (1 << SHIFT)).astype(np.int32)


def draw_segments(
    image: Image, segments: npt.NDArray[np.int32], color: Color, thickness: int, dash: int | None = None
) -> None:
    """Draw line segments (S, 2, 2) in fixed point, dashed if a dash length in pixels is given."""
    if not len(segments):
        return
    if dash is not None:
        segments = dashes(segments, dash)
    cv2.polylines(image, list(segments), False, color, thickness, cv2.LINE_AA, SHIFT)


def dashes(segments: npt.NDArray[np.int32], dash: int) -> npt.NDArray[np.int32]:
    """Cut segments (S, 2, 2) in fixed point into dashes of about `dash` pixels with gaps as long; (D, 2, 2)."""
    start = segments[:, 0].astype(np.float64)
    step = segments[:, 1] - start
    length = np.hypot(step[:, 0], step[:, 1]) / (1 << SHIFT)
    # An odd number of equal parts, so that a segment begins and ends with a dash.
    pairs = np.maximum(np.round(length / (2 * dash)), 0).astype(np.int64)
    # One row for each dash of all segments: `owner` is its segment, `nth` its place within that.
    owner = np.repeat(np.arange(len(segments)), pairs + 1)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(pairs + 1) - (pairs + 1), pairs + 1)
    part = step[owner] / (2 * pairs[owner] + 1)[:, None]
    first = start[owner] + part * (2 * nth)[:, None]
    return np.round(np.stack([first, first + part], axis=1)).astype(np.int32)


def draw_rim(image: Image, segments: npt.NDArray[np.int32], thickness: int) -> None:
    """Draw the dark underside of line segments (S, 2, 2) in fixed point; its edge needs no smoothing, which is dear."""
    if len(segments):
        cv2.polylines(image, list(segments), False, BLACK, thickness, cv2.LINE_8, SHIFT)


def draw_box(image: Image, box: npt.NDArray[np.int32], color: Color, thickness: int, dash: int | None = None) -> None:
    """Draw a box x1, y1, x2, y2 in whole pixels, dashed if a dash length is given."""
    x1, y1, x2, y2 = box.tolist()
    if dash is None:
        cv2.rectangle(image, (x1, y1), (x2, y2), color, thickness)
        return
    sides = [[(x1, y1), (x2, y1)], [(x2, y1), (x2, y2)], [(x2, y2), (x1, y2)], [(x1, y2), (x1, y1)]]
    draw_segments(image, np.array(sides, np.int32) << SHIFT, color, thickness, dash)


def draw_corners(image: Image, box: npt.NDArray[np.int32], color: Color, thickness: int) -> None:
    """Draw the corners of a box x1, y1, x2, y2 in whole pixels, each arm a fifth of the shorter side long."""
    x1, y1, x2, y2 = box.tolist()
    arm = max(1, min(x2 - x1, y2 - y1) // 5)
    corners = [
        [(x1, y1 + arm), (x1, y1), (x1 + arm, y1)],
        [(x2 - arm, y1), (x2, y1), (x2, y1 + arm)],
        [(x2, y2 - arm), (x2, y2), (x2 - arm, y2)],
        [(x1 + arm, y2), (x1, y2), (x1, y2 - arm)],
    ]
    cv2.polylines(image, list(np.array(corners, np.int32)), False, color, thickness)


def draw_joints(
    image: Image, points: npt.NDArray[np.int32], levels: npt.NDArray[np.int8], colors: Levels, radius: int
) -> None:
    """Draw joints (J, 2) in fixed point as dots in the colour of their level of confidence, none below level 0."""
    for (x, y), level in zip(points.tolist(), levels.tolist(), strict=True):
        if level >= 0:
            cv2.circle(image, (x, y), radius << SHIFT, colors[level], -1, cv2.LINE_AA, SHIFT)


@lru_cache(maxsize=1)
def capital_ink() -> int:
    """Return the height in pixels of a capital letter at font scale 1; OpenCV 4 and 5 bring different fonts."""
    canvas = np.zeros((160, 160), np.uint8)
    cv2.putText(canvas, "I", (40, 100), FONT, 1.0, 255, 1, cv2.LINE_AA)
    # From half coverage on a row counts as ink; the rest is smoothing.
    return int(np.count_nonzero(canvas.max(axis=1) > 127))


@lru_cache(maxsize=4096)
def text_mask(text: str, capital: int) -> npt.NDArray[np.uint8]:
    """Return a text without descenders as coverage (H, W) uint8, cut to its ink; H is about `capital` pixels."""
    scale = capital / capital_ink()
    # OpenCV's strokes do not grow with the scale of the text.
    thickness = max(1, round(capital / 24))
    (width, height), _ = cv2.getTextSize(text, FONT, scale, thickness)
    # Room on all sides: strokes reach beyond the size that OpenCV gives.
    canvas = np.zeros((2 * height + 4 * capital, width + 4 * capital), np.uint8)
    cv2.putText(canvas, text, (capital, height + 2 * capital), FONT, scale, 255, thickness, cv2.LINE_AA)
    rows, columns = np.flatnonzero(canvas.max(axis=1) > 60), np.flatnonzero(canvas.max(axis=0) > 60)
    if not len(rows):
        # A text of spaces has no ink.
        return np.zeros((capital, 1), np.uint8)
    return canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()


def text_box(text: str, capital: int, pad: int, color: Color, background: Color = BLACK) -> Image:
    """Return a text on a filled box as a picture; all texts of one size give boxes of one height."""
    mask = text_mask(text, capital)
    height = text_mask("ID:0", capital).shape[0] + 2 * pad
    box = np.full((height, mask.shape[1] + 2 * pad, 3), background, np.uint8)
    # Centred, for a lone colon or point would else hang at the top.
    top = max(0, (height - mask.shape[0]) // 2)
    area = box[top : top + mask.shape[0], pad : pad + mask.shape[1]]
    share = (mask[: area.shape[0], :, None] / 255).astype(np.float32)
    area[:] = np.round(area * (1 - share) + np.array(color, np.float32) * share).astype(np.uint8)
    return box


def paste(image: Image, picture: Image, left: int, top: int) -> None:
    """Copy a picture into an image at a place; what lies outside the image is cut off."""
    height, width = image.shape[:2]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + picture.shape[1], width), min(top + picture.shape[0], height)
    if x1 < x2 and y1 < y2:
        image[y1:y2, x1:x2] = picture[y1 - top : y2 - top, x1 - left : x2 - left]


def blend(image: Image, picture: Image, left: int, top: int, keep: float) -> None:
    """Lay a picture over an image and let a share `keep` of that shine through; the picture must fit into the image."""
    height, width = picture.shape[:2]
    area = image[top : top + height, left : left + width]
    cv2.addWeighted(area, keep, picture, 1.0, 0.0, dst=area)


def frame_picture(picture: Image, edge: int, color: Color) -> Image:
    """Return a picture with an edge of a colour around it."""
    framed = cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=color)
    return np.asarray(framed, np.uint8)
