"""The skeleton: COCO's 17 keypoints, and what the steps need to know about them.

Every keypoint axis in this project has this order, and nothing else may name a joint by its number. Another skeleton is
written here, and read by a backend that gives it (`tasks.poses.backends`); files of annotations state none, so that a
data set has to keep to one.
"""

from __future__ import annotations

import numpy as np

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""Names of the keypoints in the order of every keypoint axis."""

NUM_KEYPOINTS = len(KEYPOINTS)

_SPREADS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107,
    "knee": 0.087, "ankle": 0.089,
}  # fmt: skip

SIGMAS = np.array([_SPREADS[name.rpartition("_")[2]] for name in KEYPOINTS], np.float32)
"""Spread of COCO's annotators per keypoint, as a share of the square root of the person's area (cocodataset.org)."""


def _places(*parts: str) -> list[int]:
    """Return the places of keypoints by the ends of their names, in keypoint order."""
    return [place for place, name in enumerate(KEYPOINTS) if name.endswith(parts)]


EXTREMITIES = _places("wrist", "ankle")
"""What people hit and kick with."""

UPPER_BODY = slice(min(_places("shoulder")), max(_places("hip")) + 1)
"""Shoulders, elbows, wrists and hips, which lie side by side in COCO's order; the arms tell two torsos in a clinch
apart."""

LIMBS = np.array(
    [
        (5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
        (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ]
)  # fmt: skip
"""Pairs of keypoints that are drawn as limbs: arms, trunk, legs, then the face and its link to the shoulders."""

LINKS = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""Pairs of keypoints that COCO's own annotation files join, in their order; those count from 1."""
