"""Where the labels go: above their person's head, and not over one another.

In a crowd the places above the heads overlap. People are served in the order given (rank order), and each takes the
first free place of a fixed list around the wanted one, so that the most involved keep the best places and labels do not
jump without need.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.core.records import FloatArray

HEAD_JOINT_SCORE = 0.5
"""A label is placed above the topmost keypoint that scores higher than this, as in the earlier scripts."""

# Places in units of the label's width and height from the wanted one, nearest first: beside, above, then below.
_STEPS = np.array(
    [(0, 0), (0, -1), (-0.5, 0), (0.5, 0), (-0.5, -1), (0.5, -1), (0, -2), (-1, 0), (1, 0), (-1, -1), (1, -1),
     (0, -3), (-0.5, -2), (0.5, -2), (0, 1), (-0.5, 1), (0.5, 1), (0, 2), (-1, 1), (1, 1), (-1, -2), (1, -2),
     (0, -4), (0, 3)],
    np.float32,
)  # fmt: skip


def label_anchor(bbox: FloatArray, keypoints: FloatArray, keypoint_scores: FloatArray) -> tuple[float, float]:
    """Return the point that a person's label is placed above, in pixels.

    It is the topmost keypoint that scores above `HEAD_JOINT_SCORE`, and the middle of the box's top where none does:
    models whose scores run low (MoveNet) must not cost a person the ID.

    Parameters
    ----------
    bbox
        (4,) x1, y1, x2, y2 in pixels.
    keypoints
        (17, 2) pixels.
    keypoint_scores
        (17,).
    """
    sure = np.flatnonzero(keypoint_scores > HEAD_JOINT_SCORE)
    if len(sure):
        top = sure[np.argmin(keypoints[sure, 1])]
        return float(keypoints[top, 0]), float(keypoints[top, 1])
    return float(bbox[0] + bbox[2]) / 2, float(bbox[1])


class LabelPlacer:
    """Hands out places for labels within one frame.

    Parameters
    ----------
    size
        Width and height of the frame in pixels.
    taken
        (N, 4) x1, y1, x2, y2: areas that labels keep clear of.
    gap
        Distance in pixels between a label and the point below it.
    """

    def __init__(self, size: tuple[int, int], taken: npt.NDArray[np.int32], gap: int) -> None:
        self._size = size
        self._gap = gap
        self._taken = [taken.reshape(-1, 4)]

    def place(self, anchor: tuple[float, float], width: int, height: int) -> tuple[int, int]:
        """Return the left and top of a label of a size, within the frame, and take that place.

        Where no place is free the wanted one is returned: a covered label is better than a missing one.
        """
        wanted = np.array([anchor[0] - width / 2, anchor[1] - self._gap - height], np.float32)
        # One pixel of air between labels.
        corner = wanted + _STEPS * np.array([width + 1, height + 1], np.float32)
        # A label larger than the frame begins at its edge.
        room = np.maximum(np.array(self._size) - (width, height), 0)
        corner = np.clip(np.round(corner), 0, room).astype(np.int32)
        places = np.concatenate([corner, corner + np.array([width, height], np.int32)], axis=1)
        taken = np.concatenate(self._taken)
        # Two areas are apart if one ends where the other begins or before, in x or in y.
        apart = (places[:, None, :2] >= taken[None, :, 2:]) | (places[:, None, 2:] <= taken[None, :, :2])
        free = np.flatnonzero(np.all(np.any(apart, axis=2), axis=1))
        chosen = places[free[0] if len(free) else 0]
        self._taken.append(chosen[None])
        return int(chosen[0]), int(chosen[1])
