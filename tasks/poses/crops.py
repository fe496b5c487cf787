"""Parts of a frame that a model looks at: tiles, crops, and who is cut off by their borders."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from tasks.core.records import BoolArray
from tasks.poses.detections import Detections
from tasks.video.reading import Image

TILE_OVERLAP = 0.35
"""Share of a tile that its neighbour covers too: someone on the seam of two tiles is whole in one of them."""

CROP_SCALE = 1.3
"""Side of a crop as a multiple of the longer side of the person's box."""

LEAST_BOX = 12
"""Smallest side, pixels, that a person's box is taken to have when its crop is cut."""

BORDER = 0.03
"""A box that comes this close to a border of a view, as a share of the view's longer side, may go on beyond it."""

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the frame."""


class Look(NamedTuple):
    """A part of a frame of the batch: its box in pixels (it may leave the frame), and its input side."""

    frame: int
    box: Box
    long_side: int | None


def tile_boxes(width: int, height: int) -> list[Box]:
    """Return six overlapping tiles of a frame, three along its longer side."""
    across, down = (3, 2) if width >= height else (2, 3)
    columns, rows = _spans(width, across), _spans(height, down)
    return [(left, top, right, bottom) for top, bottom in rows for left, right in columns]


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    """Cut a length into equal spans that overlap."""
    # `count` spans less the overlaps between them make the length; solved for the span.
    size = length / (count - (count - 1) * TILE_OVERLAP)
    starts = [index * size * (1 - TILE_OVERLAP) for index in range(count)]
    return [(int(start), min(length, int(np.ceil(start + size)))) for start in starts]


def crop_box(box: npt.NDArray[np.floating]) -> Box:
    """Return the square around a person's box; it may leave the frame."""
    half = CROP_SCALE * max(float(box[2] - box[0]), float(box[3] - box[1]), LEAST_BOX) / 2
    x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    # The side is rounded by itself, so that crops stay square.
    left, top, side = round(x - half), round(y - half), round(2 * half)
    return left, top, left + side, top + side


def cut(image: Image, box: Box) -> Image:
    """Return a part of an image, black where the box leaves it: crops keep one shape, which models need not recompile.

    The part is a view where the box lies inside.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    # Negative indices would count from the far side of the image.
    inside = image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
        return inside
    if not inside.size:
        return np.zeros((y2 - y1, x2 - x1, 3), np.uint8)
    left, top = max(-x1, 0), max(-y1, 0)
    right, bottom = x2 - x1 - left - inside.shape[1], y2 - y1 - top - inside.shape[0]
    return np.asarray(cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT), np.uint8)


def cut_off(found: Detections, box: Box, width: int, height: int) -> BoolArray:
    """Tell who reaches a border of a view behind which the frame goes on, and may be seen in part only.

    Parameters
    ----------
    found
        The people seen in the view, in pixels of the frame.
    box
        The view.
    width, height
        Size of the frame, pixels.

    Returns
    -------
    (N,) bool.
    """
    edges = np.array(box, np.float32)
    margin = BORDER * max(box[2] - box[0], box[3] - box[1])
    # At the frame's own border the view cuts nobody off: no other view shows more.
    goes_on = np.array([box[0] > 0, box[1] > 0, box[2] < width, box[3] < height])
    # With these signs positive is beyond the border on all four sides.
    outwards = np.array([-1, -1, 1, 1], np.float32)
    reaches = (found.bbox - edges) * outwards > -margin
    return np.asarray((reaches & goes_on).any(axis=1), bool)
