"""Detections of one frame that show the same person, and the removal of all but the best of them.

Pose models report a person twice where tiles overlap or where a body is cut off: a whole body and its upper half have an
IoU of .5 or less, but the same shoulders and hips. Two detections are the same person where their boxes overlap
(`SAME_IOU`), where their poses agree (`SAME_OKS`), or where one box lies in the other and the torsos agree.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tasks.records import BoolArray, FloatArray, IntArray, Poses
from tasks.tracking.similarity import box_area, inside, iou, oks

SAME_IOU = 0.5
SAME_OKS = 0.7
SAME_TORSO = 0.6
INSIDE = 0.8

PAIRS_AT_ONCE = 200_000
"""Bounds memory: a clip of ten thousand crowded frames has tens of millions of pairs."""

Rows = npt.NDArray[np.intp]


def pairs_within_frames(frame_index: IntArray) -> Iterator[tuple[Rows, Rows]]:
    """Yield all pairs of rows i < j of the same frame, in blocks.

    Parameters
    ----------
    frame_index
        (N,) ascending.
    """
    n = len(frame_index)
    partners = np.searchsorted(frame_index, frame_index, side="right") - np.arange(n) - 1
    start = 0
    total = np.concatenate([[0], np.cumsum(partners)])
    while start < n:
        end = max(int(np.searchsorted(total, total[start] + PAIRS_AT_ONCE, side="right")) - 1, start + 1)
        first = np.repeat(np.arange(start, end), partners[start:end])
        step = np.arange(len(first)) - np.repeat(total[start:end] - total[start], partners[start:end])
        yield first, first + 1 + step
        start = end


def keep_distinct(poses: Poses) -> BoolArray:
    """Return which detections remain when, of every group that shows one person, only the best does.

    Parameters
    ----------
    poses
        Rows of a frame stand best first. The result is that of greedy suppression in that order.

    Returns
    -------
    (N,) bool.
    """
    better: list[Rows] = []
    worse: list[Rows] = []
    for i, j in pairs_within_frames(poses.frame_index):
        # Poses of people apart cannot be the same: only pairs whose boxes touch are looked at closely.
        near = iou(poses.bbox[i], poses.bbox[j]) > 0.05
        i, j = i[near], j[near]
        same = same_person(poses, i, j)
        better.append(i[same])
        worse.append(j[same])
    a, b = np.concatenate([np.zeros(0, np.intp), *better]), np.concatenate([np.zeros(0, np.intp), *worse])
    keep = np.ones(len(poses), bool)
    # Greedy suppression for all frames at once: a row goes if a better row that stays shows the same person. The rounds
    # needed are as many as the longest chain of suppressions, a handful.
    while True:
        now = np.ones(len(poses), bool)
        now[b[keep[a]]] = False
        if np.array_equal(now, keep):
            return keep
        keep = now


def same_person(poses: Poses, i: Rows, j: Rows) -> BoolArray:
    """Return which pairs of detections show the same person."""
    a, b = poses.bbox[i], poses.bbox[j]
    area = np.maximum(box_area(a), box_area(b))
    pose = (poses.keypoints[i], poses.keypoint_scores[i], poses.keypoints[j], poses.keypoint_scores[j])
    torso = tuple(part[:, TORSO] for part in pose)
    by_torso = oks(*torso, area, joints=TORSO) > SAME_TORSO
    return (iou(a, b) > SAME_IOU) | (oks(*pose, area) > SAME_OKS) | ((inside(a, b) > INSIDE) & by_torso)


TORSO = slice(5, 13)
"""Shoulders, elbows, wrists and hips; the arms tell two torsos in a clinch apart."""
