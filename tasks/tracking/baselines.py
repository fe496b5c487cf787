"""Trackers of the `trackers` package (Apache-2.0) behind the interface of ours, for those who want or compare them.

They see boxes and scores only. Their thresholds are made for detectors whose scores reach 1: scores are divided by the
clip's 95th percentile, so that the same thresholds fit a model whose scores run low.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import warnings
from typing import Any

import numpy as np

from tasks.core.choices import Tracker
from tasks.core.errors import FightposeError
from tasks.core.records import IntArray, Poses

CLASSES = {
    Tracker.BYTETRACK: "ByteTrackTracker",
    Tracker.SORT: "SORTTracker",
    Tracker.OCSORT: "OCSORTTracker",
}
"""Their names in the package."""


def require_tracker(tracker: Tracker) -> None:
    """Make sure that the package of a tracker is installed, without importing it: before hours of extraction.

    Raises
    ------
    FightposeError
        If it is not.
    """
    if tracker in CLASSES and importlib.util.find_spec("trackers") is None:
        raise FightposeError(
            f"the tracker {tracker.value} needs the package trackers, which is not installed; install it with: "
            'pip install "fightpose[trackers]"'
        )


def follow_published(poses: Poses, tracker: Tracker, patience: int) -> IntArray:
    """Follow people with a tracker of the `trackers` package, new for the clip.

    Parameters
    ----------
    poses
        Detections of one clip.
    tracker
        Which one; all of its own settings but the patience stay at the package's defaults.
    patience
        Frames of 1/30 s for which an unseen person is still looked for.

    Returns
    -------
    (N,) int32 track IDs from 1, 0 for detections without a track.

    Raises
    ------
    FightposeError
        If the package is not installed.
    """
    try:
        supervision = importlib.import_module("supervision")
        package = importlib.import_module("trackers")
    except ImportError as error:
        raise FightposeError(
            f"the tracker {tracker.value} needs the package trackers, which cannot be imported ({error}); "
            'install it with: pip install "fightpose[trackers]"'
        ) from error
    instance = getattr(package, CLASSES[tracker])(lost_track_buffer=patience, frame_rate=poses.fps)
    track_id = np.zeros(len(poses), np.int32)
    score = np.minimum(poses.score / max(float(np.percentile(poses.score, 95)), 1e-6), 1) if len(poses) else poses.score
    edges = np.searchsorted(poses.frame_index, np.arange(poses.frame_count + 1))
    for start, end in itertools.pairwise(edges.tolist()):
        rows = np.arange(start, end)
        # Frames without anybody are handed over as well: the package counts absence in calls.
        found = _update(instance, supervision, poses.bbox[rows], score[rows], rows)
        known = found.tracker_id is not None and len(found) > 0
        if known:
            good = found.tracker_id >= 0
            # IDs of the package count from 0.
            track_id[found.data["row"][good]] = found.tracker_id[good] + 1
    return track_id


def _update(instance: Any, supervision: Any, boxes: Any, score: Any, rows: Any) -> Any:
    """Advance the package's tracker by one frame; the rows travel with the detections, whose order may change."""
    detections = supervision.Detections(
        xyxy=boxes.astype(np.float64), confidence=score.astype(np.float64), data={"row": rows}
    )
    with warnings.catch_warnings():
        # Zero-area boxes make the package divide by zero; it handles the result.
        warnings.simplefilter("ignore", RuntimeWarning)
        return instance.update(detections)
