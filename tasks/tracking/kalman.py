"""A constant-velocity Kalman filter for many boxes at once.

State per box: centre x, centre y, width, height (pixels) and their velocities (pixels a frame). Noise is
proportional to the box's height, as in SORT and DeepSORT (Wojke et al. 2017). With that noise the four
coordinates never mix, so the 8x8 covariance is four independent 2x2 blocks, kept as their three distinct
entries: every step is a few products of (P, 4) arrays instead of P matrix inversions.
"""

from __future__ import annotations

import numpy as np

from tasks.records import FloatArray

POSITION_NOISE = 1 / 20
"""Standard deviation of a measured coordinate, as a share of the box's height (DeepSORT's value)."""

VELOCITY_NOISE = 1 / 160
"""Standard deviation by which a velocity changes within a frame, share of the height (DeepSORT's value)."""


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
        (P, 4) pixels and pixels a frame: centre x, centre y, width, height.
    """

    def __init__(self) -> None:
        self.position = np.zeros((0, 4), np.float32)
        self.velocity = np.zeros((0, 4), np.float32)
        # Entries of the 2x2 covariance of (position, velocity): [0, 0], [0, 1] and [1, 1].
        self._pp = np.zeros((0, 4), np.float32)
        self._pv = np.zeros((0, 4), np.float32)
        self._vv = np.zeros((0, 4), np.float32)

    def _height(self, rows: slice | np.ndarray) -> FloatArray:
        """Heights as (R, 1), at least one pixel: a zero-area box must not have zero noise."""
        return np.maximum(self.position[rows, 3:4], 1.0)

    def start(self, boxes: FloatArray) -> None:
        """Append boxes at rest: twice the position and ten times the velocity noise, as DeepSORT starts."""
        n = len(boxes)
        self.position = np.concatenate([self.position, to_centre(boxes)])
        self.velocity = np.concatenate([self.velocity, np.zeros((n, 4), np.float32)])
        height = self._height(slice(len(self.position) - n, None))
        ones = np.ones((1, 4), np.float32)
        self._pp = np.concatenate([self._pp, (2 * POSITION_NOISE * height) ** 2 * ones])
        self._pv = np.concatenate([self._pv, 0 * height * ones])
        self._vv = np.concatenate([self._vv, (10 * VELOCITY_NOISE * height) ** 2 * ones])

    def keep(self, rows: np.ndarray) -> None:
        """Drop all boxes but these."""
        self.position, self.velocity = self.position[rows], self.velocity[rows]
        self._pp, self._pv, self._vv = self._pp[rows], self._pv[rows], self._vv[rows]

    def predict(self) -> None:
        """Move every box by one frame."""
        height = self._height(slice(None))
        self.position = self.position + self.velocity
        self._pp = self._pp + 2 * self._pv + self._vv + (POSITION_NOISE * height) ** 2
        self._pv = self._pv + self._vv
        self._vv = self._vv + (VELOCITY_NOISE * height) ** 2

    def update(self, rows: np.ndarray, boxes: FloatArray) -> None:
        """Correct some boxes by measurements (R, 4) xyxy in pixels."""
        innovation = to_centre(boxes) - self.position[rows]
        pp, pv = self._pp[rows], self._pv[rows]
        total = pp + (POSITION_NOISE * self._height(rows)) ** 2
        gain_p, gain_v = pp / total, pv / total
        self.position[rows] += gain_p * innovation
        self.velocity[rows] += gain_v * innovation
        self._vv[rows] -= gain_v * pv
        self._pv[rows] -= gain_p * pv
        self._pp[rows] -= gain_p * pp
