"""A fingerprint of a clip's pictures, by which copies are known that were recompressed, resized or cut.

Eight times a second a frame is shrunk to 16 x 16 grey values, while it is decoded for the pose model anyway. What is
done with them is in `tasks.clips.near_copies`.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tasks.core.records import FINGERPRINT_SIDE
from tasks.video.reading import Frame

SIDE = FINGERPRINT_SIDE
"""Cells along each side: coarse enough for any compression, fine enough to show who moves where."""

PER_SECOND = 8
"""Often enough for two copies that start at different frames to be aligned: people hardly move in 1/16 s."""

MOST = 480
"""Shrunk frames of a clip, which are those of its first minute: 120 KB before compression."""


class Fingerprint:
    """Shrinks frames as they pass; one object for each clip.

    Parameters
    ----------
    fps
        Frames per second, for frames without a time.
    """

    def __init__(self, fps: float) -> None:
        self._fps, self._next, self._count = fps, 0.0, 0
        self._cells: list[npt.NDArray[np.uint8]] = []

    def add(self, frame: Frame) -> None:
        """Take the next frame of the clip."""
        second = frame.time if frame.time is not None else self._count / self._fps
        self._count += 1
        if second < self._next or len(self._cells) == MOST:
            return
        # From the frame and not from the last due time: a clip whose clock jumps would else be taken frame by frame.
        self._next = max(self._next + 1 / PER_SECOND, second)
        # Shrunk before it becomes grey: 256 cells are converted in place of a million pixels.
        cells = cv2.resize(frame.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        self._cells.append(cv2.cvtColor(cells, cv2.COLOR_BGR2GRAY).astype(np.uint8))

    def cells(self) -> npt.NDArray[np.uint8]:
        """Return what was taken, (S, 16, 16), S up to `MOST`."""
        return np.array(self._cells, np.uint8).reshape(-1, SIDE, SIDE)
