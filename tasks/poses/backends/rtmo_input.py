"""How a frame goes into RTMO's input, and how the network's answer comes back to pixels of the frame.

The geometry is that of mmpose's `BottomupResize`, which the published weights were evaluated with: the frame is scaled
to fit, lies in the middle, and the rest is grey (114). Every RTMO backend shares it, so that they see the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tasks.core.records import FloatArray
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.poses.backends.rtmo_window import STRIDES, Cut
from tasks.poses.detections import Detections
from tasks.video.reading import Image

PAD_VALUE = 114
"""Grey level of the padding, as in RTMO's training."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a frame lies inside the network's input.

    Attributes
    ----------
    scale
        Input pixels per frame pixel.
    left, top
        Padding before the frame, input pixels.
    width, height
        Size of the input, pixels.
    """

    scale: float
    left: float
    top: float
    width: int
    height: int

    @classmethod
    def of(cls, frame: tuple[int, int], target: tuple[int, int]) -> Fit:
        """Fit frames of one (width, height) into an input of another."""
        scale = min(target[0] / frame[0], target[1] / frame[1])
        # Left and top stay fractions of a pixel: rounded, all coordinates would come back shifted.
        return cls(scale, (target[0] - frame[0] * scale) / 2, (target[1] - frame[1] * scale) / 2, *target)

    def grey_cells(self) -> Cut:
        """Return how many of the network's largest cells on each side show nothing but padding."""
        # Rounded down to whole cells: no part of the frame is cut away.
        return Cut(int(self.top // STRIDES[-1]), int(self.left // STRIDES[-1]))

    def without(self, cut: Cut) -> Fit:
        """Return where the frame lies in what a cut leaves of the input."""
        top, left = (out * STRIDES[-1] for out in cut)
        return replace(
            self,
            left=self.left - left,
            top=self.top - top,
            width=self.width - 2 * left,
            height=self.height - 2 * top,
        )

    def warp(self, image: Image, target: Image | None = None) -> Image:
        """Return the input for a frame, (height, width, 3) uint8 BGR; written into `target` where one is given."""
        matrix = np.array([[self.scale, 0, self.left], [0, self.scale, self.top]], np.float64)
        # Linear even where it shrinks: INTER_AREA would look better, but it is not what the weights were tested with.
        warped = cv2.warpAffine(
            image,
            matrix,
            (self.width, self.height),
            dst=target,
            flags=cv2.INTER_LINEAR,
            borderValue=(PAD_VALUE,) * 3,
        )
        return np.asarray(warped, np.uint8)

    def back(self, points: npt.NDArray[Any]) -> FloatArray:
        """Turn (..., 2) x, y in input pixels into pixels of the frame."""
        return ((points - np.array([self.left, self.top])) / self.scale).astype(np.float32)


def decode_people(dets: FloatArray, keypoints: FloatArray, fit: Fit) -> Detections:
    """Turn the network's answer for one frame into people in pixels of the frame.

    Parameters
    ----------
    dets
        (N, 5) x1, y1, x2, y2, score in input pixels.
    keypoints
        (N, 17, 3) x, y, score in input pixels.
    fit
        Where the frame lay in the input.

    Returns
    -------
    The people, not yet thresholded. Files with NMS inside give one all-zero person where there is nobody: rows
    without a score are left out.
    """
    real = dets[:, 4] > 0
    dets, keypoints = dets[real], keypoints[real]
    return Detections(
        bbox=fit.back(dets[:, :4].reshape(-1, 2, 2)).reshape(-1, 4),
        score=dets[:, 4].astype(np.float32),
        keypoints=fit.back(keypoints[..., :2]),
        keypoint_scores=keypoints[..., 2].astype(np.float32).reshape(-1, NUM_KEYPOINTS),
    )
