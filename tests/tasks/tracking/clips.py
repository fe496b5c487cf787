"""Made-up clips for the tests of tracking."""

import numpy as np

from tasks.core.records import Poses
from tasks.core.settings import TrackingSettings

SETTINGS = TrackingSettings(track_high_thresh=0.6, track_low_thresh=0.1)


def standing(x: float, y: float, height: float = 100.0) -> np.ndarray:
    """Return a person's box, xyxy in pixels, twice as high as wide, with its top left corner at (x, y)."""
    return np.array([x, y, x + height / 2, y + height])


def clip(frames: list[list[tuple[np.ndarray, float]]], fps: float = 30.0, joint_score: float = 0.8) -> Poses:
    """Return a clip from each frame's (box, score) pairs; joints lie on the box's diagonal."""
    flat = [(f, box, score) for f, people in enumerate(frames) for box, score in people]
    boxes = np.array([box for _, box, _ in flat], np.float32).reshape(-1, 4)
    share = np.linspace(0, 1, 17, dtype=np.float32)[None, :, None]
    return Poses(
        np.array([f for f, _, _ in flat], np.int32),
        boxes,
        np.array([s for _, _, s in flat], np.float32),
        boxes[:, None, :2] + share * (boxes[:, 2:] - boxes[:, :2])[:, None],
        np.full((len(flat), 17), joint_score, np.float32),
        len(frames),
        640,
        480,
        fps,
    )
