"""A constant-velocity Kalman filter for many boxes at once.

State per box: centre x, centre y, width, height (pixels) and their velocities (pixels a frame). Noise is proportional
to the box's height, as in DeepSORT (Wojke et al. 2017). With such noise the four coordinates never mix, so the 8x8
covariance is four 2x2 blocks, kept as their three distinct entries: every step is a few products of (P, 4) arrays
instead of P matrix inversions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.core.records import FloatArray

POSITION_NOISE = 1 / 20
"""Standard deviation of a measured coordinate, as a share of the box's height (DeepSORT's value)."""

VELOCITY_NOISE = 1 / 80
"""Standard deviation by which a velocity changes from frame to frame, share of the height a frame.

Twice DeepSORT's value: people who fight turn quickly, and clips of 7 to 15 frames per second are common.
"""

Rows = npt.NDArray[np.intp]


def to_centre(boxes: FloatArray) -> FloatArray:
    """Turn (..., 4) xyxy boxes into centre x, centre y, width, height."""
    size = boxes[..., 2:] - boxes[..., :2]
    return np.concatenate([boxes[..., :2] + size / 2, size], axis=-1)


def to_corners(centres: FloatArray) -> FloatArray:
    """Turn (..., 4) centre x, centre y, width, height into xyxy; negative sizes count as 0."""
    half = np.maximum(centres[..., 2:], 0) / 2
    return np.concatenate([centres[..., :2] - half, centres[..., :2] + half], axis=-1)


class BoxFilter:
    """Positions, velocities and variances of P boxes.

    Attributes
    ----------
    position, velocity
        (P, 4) float32, pixels and pixels a frame: centre x, centre y, width, height.
    """

    def __init__(self) -> None:
        self.position = np.zeros((0, 4), np.float32)
        self.velocity = np.zeros((0, 4), np.float32)
        # Entries of the 2x2 covariance of (position, velocity): [0, 0], [0, 1] and [1, 1].
        self._pp = np.zeros((0, 4), np.float32)
        self._pv = np.zeros((0, 4), np.float32)
        self._vv = np.zeros((0, 4), np.float32)

    def start(self, boxes: FloatArray) -> None:
        """Append (R, 4) xyxy boxes at rest: twice the position and ten times the velocity noise, as DeepSORT."""
        centre = to_centre(boxes)
        height = _height(centre)
        unit = np.ones((1, 4), np.float32)
        self.position = np.concatenate([self.position, centre])
        self.velocity = np.concatenate([self.velocity, np.zeros_like(centre)])
        self._pp = np.concatenate([self._pp, (2 * POSITION_NOISE * height) ** 2 * unit])
        self._pv = np.concatenate([self._pv, np.zeros_like(centre)])
        self._vv = np.concatenate([self._vv, (10 * VELOCITY_NOISE * height) ** 2 * unit])

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """Drop all boxes but these."""
        self.position, self.velocity = self.position[rows], self.velocity[rows]
        self._pp, self._pv, self._vv = self._pp[rows], self._pv[rows], self._vv[rows]

    def predict(self) -> None:
        """Move every box by one frame."""
        height = _height(self.position)
        self.position = self.position + self.velocity
        # P <- F P F' + Q with F = [[1, 1], [0, 1]]. In this order: `_pp` needs the old `_pv` and `_vv`.
        self._pp = self._pp + 2 * self._pv + self._vv + (POSITION_NOISE * height) ** 2
        self._pv = self._pv + self._vv
        self._vv = self._vv + (VELOCITY_NOISE * height) ** 2

    def update(self, rows: Rows, boxes: FloatArray, doubt: FloatArray | float = 1.0) -> None:
        """Correct some boxes by measurements.

        Parameters
        ----------
        rows
            (R,) which boxes.
        boxes
            (R, 4) xyxy in pixels.
        doubt
            Factor on the variance of each measurement, (R,) or one for all.
        """
        innovation = to_centre(boxes) - self.position[rows]
        pp, pv = self._pp[rows], self._pv[rows]
        noise = (POSITION_NOISE * _height(self.position[rows])) ** 2
        total = pp + noise * np.asarray(doubt, np.float32).reshape(-1, 1)
        # Kalman gain P H' / (H P H' + R) with H = (1, 0): only the position is measured.
        gain_p, gain_v = pp / total, pv / total
        self.position[rows] += gain_p * innovation
        self.velocity[rows] += gain_v * innovation
        # P <- (I - K H) P. `pp` and `pv` are copies from before, so that the order is free here.
        self._vv[rows] -= gain_v * pv
        self._pv[rows] -= gain_p * pv
        self._pp[rows] -= gain_p * pp


def _height(centre: FloatArray) -> FloatArray:
    """Heights as (R, 1), at least one pixel: a predicted size may fall to 0, its noise must not."""
    return np.maximum(centre[:, 3:4], 1.0)
