"""Tracking: `Poses` in, `Tracks` out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.records import IntArray, Poses, Tracks
from tasks.settings import Tracker, TrackingSettings
from tasks.tracking.forward import Follower
from tasks.tracking.published import follow_published

__all__ = ["track_people"]


def track_people(poses: Poses, settings: TrackingSettings) -> Tracks:
    """Follow the people of a clip.

    The result does not depend on the order of the detections within a frame, and no state outlives the call.

    Parameters
    ----------
    poses
        Detections of one clip.
    settings
        With resolved thresholds. `track_max_disappeared` counts frames
        of 1/30 s.

    Returns
    -------
    The detections of every person seen in at least `track_min_hits` frames, sorted by frame, then by track
    ID; IDs count from 1 in the order of first appearance.
    """
    high, low = settings.track_high_thresh, settings.track_low_thresh
    if high is None or low is None:
        raise ValueError("the thresholds are open: call Settings.resolve first")
    poses = poses.select(_canonical_order(poses))
    if settings.tracker is Tracker.FIGHTPOSE:
        patience = max(1, round(settings.track_max_disappeared * poses.fps / 30))
        track_id = Follower(poses, high, low, patience).run()
    else:
        track_id = follow_published(poses, settings.tracker, settings.track_max_disappeared)
    hits = np.bincount(track_id, minlength=1)
    hits[0] = 0
    track_id[hits[track_id] < settings.track_min_hits] = 0
    rows = np.flatnonzero(track_id)
    rows = rows[np.lexsort((track_id[rows], poses.frame_index[rows]))]
    return Tracks(poses.select(rows), _renumber(track_id[rows]), np.zeros(len(rows), bool))


def _canonical_order(poses: Poses) -> npt.NDArray[np.intp]:
    """Return an order of rows by frame, then by content, so that the given order cannot matter."""
    keys = (poses.keypoints.sum((1, 2)), *poses.bbox.T[::-1], -poses.score, poses.frame_index)
    return np.lexsort(keys)


def _renumber(track_id: IntArray) -> IntArray:
    """Return the IDs numbered from 1, in the order in which they first stand in the array."""
    _, first, inverse = np.unique(track_id, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1, dtype=np.int32)
    return rank[inverse] if len(rank) else track_id
