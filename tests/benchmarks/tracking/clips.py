"""Labelled real clips: whether the fighters are found, and found to be the same half a second later."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.choices import Tracker
from tasks.core.records import Poses
from tasks.core.settings import TrackingSettings
from tasks.tracking import track_people
from tests.benchmarks.labelled import (
    ClipScore,
    Label,
    by_area,
    dense_boxes,
    load_labels,
    load_poses,
    score_clip,
    totals,
)

MIN_LENGTH = 10
"""Tracks of fewer frames are not kept, as in an annotation."""

HIGH, LOW = 0.08, 0.04
"""MoveNet's thresholds: the scores of real people in contact are often below .1."""


def load_clips(labels: Path, poses: Path) -> list[tuple[Label, Poses]]:
    """Return the labelled clips that have cached poses `<stem>.npz` in a folder."""
    return [
        (label, load_poses(poses / f"{Path(name).stem}.npz"))
        for name, label in load_labels(labels).items()
        if (poses / f"{Path(name).stem}.npz").is_file()
    ]


def score_tracker(clips: list[tuple[Label, Poses]], settings: TrackingSettings) -> tuple[list[ClipScore], float]:
    """Return each clip's score, all tracks ranked by box area, and the frames per second of the tracker."""
    scores, seconds, frames = [], 0.0, 0
    for label, poses in clips:
        start = time.perf_counter()
        tracks = track_people(poses, settings)
        seconds += time.perf_counter() - start
        frames += poses.frame_count
        scores.append(score_clip(dense_boxes(tracks, by_area(tracks, MIN_LENGTH)), label))
    return scores, frames / max(seconds, 1e-9)


def run_clips(clips: list[tuple[Label, Poses]], trackers: list[Tracker]) -> dict[str, dict[str, Any]]:
    """Return the figures of each tracker; `p_at_2` is that of ranking by mean box area.

    `left_out` holds, for the figure `identity_kept`, the lowest and highest value when one source video is left out.
    """
    result: dict[str, dict[str, Any]] = {}
    for tracker in trackers:
        settings = TrackingSettings(tracker=tracker, track_high_thresh=HIGH, track_low_thresh=LOW)
        scores, fps = score_tracker(clips, settings)
        sources = np.array([label.source for label, _ in clips])
        left_out = [
            totals([s for s, keep in zip(scores, sources != source, strict=True) if keep])["identity_kept"]
            for source in np.unique(sources)
        ]
        result[tracker.value] = {**totals(scores), "fps": fps, "left_out": [min(left_out), max(left_out)]}
    return result
