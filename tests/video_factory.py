"""Tiny videos for tests, made with PyAV: any container that is needed, in a fraction of a second."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tasks.video.reading import Image

CODECS = {".avi": "mpeg4", ".mkv": "libx264"}
"""What each ending is encoded with; all others get H.264."""


def write_video(
    path: Path, frames: Iterable[Image], fps: int = 25, rotation: int = 0, aspect: Fraction = Fraction(1)
) -> Path:
    """Encode BGR images of one size and return the path.

    Parameters
    ----------
    path
        Its ending chooses container and codec.
    frames
        (H, W, 3) uint8 BGR; odd sizes are stored as they are, in a pixel format that allows it.
    fps
        Frames per second.
    rotation
        Counter-clockwise degrees that the container asks players to turn the picture by.
    aspect
        Width divided by height of a pixel.
    """
    images = list(frames)
    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS.get(path.suffix.lower(), "libx264"), rate=Fraction(fps))
        assert isinstance(stream, av.VideoStream)  # for the type checker: the codec's name decides
        stream.width, stream.height = width, height
        # 4:2:0 halves the colour planes: libx264 refuses odd sizes in it.
        stream.pix_fmt = "yuv444p" if (width % 2 or height % 2) and path.suffix != ".avi" else "yuv420p"
        if aspect != 1:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def plain_frames(count: int, width: int = 64, height: int = 48) -> list[Image]:
    """Return grey frames with a bright square that moves two pixels a frame."""
    frames = []
    for index in range(count):
        image = np.full((height, width, 3), 90, np.uint8)
        left = (2 * index) % max(width - 12, 1)
        image[height // 3 : height // 3 + 12, left : left + 12] = (40, 200, 230)
        frames.append(image)
    return frames


def person_image(width: int = 320, height: int = 320, centre: float = 0.5, scale: float = 1.0) -> Image:
    """Return a frame with one drawn standing figure that the embedded pose model takes for a person.

    Parameters
    ----------
    width, height
        Frame size in pixels.
    centre
        Where the figure stands, share of the width.
    scale
        Its height as a share of the frame's height is 0.8 times this.
    """
    image = np.full((height, width, 3), (150, 160, 165), np.uint8)
    unit, top, middle = height * scale / 100, height * (0.5 - 0.4 * scale), width * centre

    def spot(x: float, y: float) -> tuple[int, int]:
        """Turn figure units (x from the middle, y from the top of the head) into pixels."""
        return round(middle + x * unit), round(top + y * unit)

    skin, shirt, trousers, shoe = (120, 150, 205), (60, 50, 160), (110, 60, 30), (20, 20, 20)
    for side in (-1, 1):
        cv2.line(image, spot(4 * side, 40), spot(6 * side, 74), trousers, max(1, round(7 * unit)), cv2.LINE_AA)
        cv2.line(image, spot(6 * side, 75), spot(9 * side, 77), shoe, max(1, round(4 * unit)), cv2.LINE_AA)
        cv2.line(image, spot(9 * side, 17), spot(14 * side, 30), shirt, max(1, round(5 * unit)), cv2.LINE_AA)
        cv2.line(image, spot(14 * side, 30), spot(15 * side, 42), skin, max(1, round(4 * unit)), cv2.LINE_AA)
    cv2.fillPoly(image, [np.array([spot(-10, 15), spot(10, 15), spot(8, 44), spot(-8, 44)])], shirt)
    cv2.line(image, spot(0, 10), spot(0, 16), skin, max(1, round(4 * unit)), cv2.LINE_AA)
    cv2.ellipse(image, spot(0, 6), (max(1, round(4.5 * unit)), max(1, round(6 * unit))), 0, 0, 360, skin, -1)
    cv2.ellipse(
        image, spot(0, 3), (max(1, round(4.7 * unit)), max(1, round(3.5 * unit))), 0, 180, 360, (25, 30, 40), -1
    )
    for side in (-1, 1):
        cv2.circle(image, spot(1.8 * side, 5.5), max(1, round(0.6 * unit)), (30, 30, 30), -1)
    return image
