"""Folders of tiny clips that all differ: equal ones would share their poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.video.reading import Image
from tests.video_factory import plain_frames, write_video


def make_clips(root: Path, count: int, frames: int = 24, width: int = 96, height: int = 64) -> list[Path]:
    """Write clips and return their paths."""
    (root / "Fight").mkdir(parents=True, exist_ok=True)
    return [
        write_video(root / "Fight" / f"c{number:05d}.mp4", numbered(number, frames, width, height))
        for number in range(count)
    ]


def numbered(number: int, frames: int, width: int, height: int) -> list[Image]:
    """Return frames that show a number in binary, as bars."""
    images = plain_frames(frames, width, height)
    for image in images:
        for bit in range(16):
            image[:8, bit * width // 16 : (bit + 1) * width // 16] = 255 * (number >> bit & 1)
    return [np.ascontiguousarray(image) for image in images]
