"""Scaling a frame into a model's input without changing its shape, and coordinates back."""

import cv2

from tasks.video.reading import Image


def letterbox_size(width: int, height: int, long_side: int, multiple: int) -> tuple[int, int, float]:
    """Return the input (height, width) for a frame whose longer side is scaled to `long_side`, and the scale.

    The sides are rounded up to a multiple of what the network needs; the padding goes to the right and the bottom, so
    that coordinates come back by one division.
    """
    scale = long_side / max(width, height)
    # -(-a // b) rounds up; a strip of a frame keeps one row of cells at least.
    rows = max(1, -(-round(height * scale) // multiple)) * multiple
    columns = max(1, -(-round(width * scale) // multiple)) * multiple
    return rows, columns, scale


def letterbox(image: Image, target: Image, scale: float) -> None:
    """Scale an image into the top left corner of a preallocated target; the rest of the target stays as it is."""
    height, width = image.shape[:2]
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    # INTER_AREA averages when shrinking: thin limbs of far people survive it.
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    # Written where it belongs: a part of an array has rows with gaps, which OpenCV takes.
    cv2.resize(image, (columns, rows), dst=target[:rows, :columns], interpolation=method)
