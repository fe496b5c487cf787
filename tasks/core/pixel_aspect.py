"""Pixels that are not square: the way between stored and display geometry.

Recorders store 704x288 for a 4:3 scene ("2CIF"), or 352x576 ("half D1"); the container says how wide a pixel is. Two
geometries meet here:

- *stored*: the pixels of a frame as it was decoded, upright. Annotations use it.
- *display*: the same picture with square pixels. A model that saw stored pixels would see people half as high, so
  everything that is found, tracked, measured or drawn uses display geometry.

The ratio and one of the two sizes give the other size exactly, so that one number beside the size says all.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

SQUARE_TOLERANCE = 0.01
"""Ratios this close to 1 are a muxer's rounding (1088 stored lines for 1080, for instance) and count as 1."""

MAX_RATIO = 4.0
"""A pixel more than four times as wide as high, or as high as wide, is a broken header: recorders reach 2.2."""


def usable_ratio(stated: Fraction | None, transposed: bool = False) -> float:
    """Return width divided by height of a pixel as it is shown; 1 where the header states nothing usable.

    Parameters
    ----------
    stated
        The sample aspect ratio of stored pixels, as container or codec state it.
    transposed
        Whether the picture is shown with rows and columns exchanged: its pixels turn with it.
    """
    if stated is None or stated <= 0:
        return 1.0
    ratio = float(1 / stated if transposed else stated)
    if abs(ratio - 1) <= SQUARE_TOLERANCE or abs(math.log(ratio)) > math.log(MAX_RATIO):
        return 1.0
    return ratio


def is_ratio(value: object) -> bool:
    """Tell whether a value can be the shape of a pixel."""
    # Also false for NaN, which fails every comparison.
    return isinstance(value, float) and 1 / MAX_RATIO <= value <= MAX_RATIO


def display_size(stored: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Return width and height with square pixels; a pixel's shorter side is stretched, so that no detail is lost."""
    width, height = stored
    return (round(width * ratio), height) if ratio >= 1 else (width, round(height / ratio))


def stored_size(display: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Return the size whose `display_size` is the one given; exact, since stretching lost less than half a pixel."""
    width, height = display
    return (round(width / ratio), height) if ratio >= 1 else (width, round(height * ratio))


def to_stored(points: npt.NDArray[np.float32], display: tuple[int, int], ratio: float) -> npt.NDArray[np.float32]:
    """Return display coordinates (..., 2k) of x and y in turn as stored ones; the same array for square pixels.

    Parameters
    ----------
    points
        For example keypoints (..., 2) or boxes (..., 4), in pixels.
    display
        Width and height of the display frame.
    ratio
        Of the pixels (`usable_ratio`).
    """
    return _scaled(points, display, stored_size(display, ratio))


def to_display(points: npt.NDArray[np.float32], stored: tuple[int, int], ratio: float) -> npt.NDArray[np.float32]:
    """Return stored coordinates (..., 2k) of x and y in turn as display ones; see `to_stored`."""
    return _scaled(points, stored, display_size(stored, ratio))


def _scaled(
    points: npt.NDArray[np.float32], source: tuple[int, int], target: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Scale x and y so that the edges of the frame stay its edges."""
    # Not multiplied by 1: the outputs of square clips stay the same to the last bit, and nothing is copied.
    if source == target:
        return points
    factor = np.array([target[0] / source[0], target[1] / source[1]], np.float32)
    # The last axis holds x, y pairs: one for a point, two for a box.
    return points * np.tile(factor, points.shape[-1] // 2)
