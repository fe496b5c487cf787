"""Detections of one frame that show the same person.

Pose models report a person twice where tiles overlap or where a body is cut off: a whole body and its upper half have
an IoU of .5 or less, but the same shoulders and hips. Two detections may be the same person where their boxes overlap
(`SAME_IOU`), where their poses agree (`duplicate_oks` of the settings), or where one box lies in the other and the
upper bodies agree. So do two people in a clinch: a duplicate is not removed here, only marked, and may still continue a
track of its own.
"""

from __future__ import annotations

import numpy as np

from tasks.core import geometry
from tasks.core.geometry import Rows, box_area, inside, iou, oks, pairs_within_frames
from tasks.core.records import BoolArray, FloatArray, Poses
from tasks.core.skeleton import UPPER_BODY

SAME_IOU = 0.5
SAME_TORSO = 0.6
"""OKS of the upper bodies of two boxes where one lies in the other."""

INSIDE = 0.8
"""Share of the smaller box that lies in the larger one."""


def find_doubles(poses: Poses, same_oks: float) -> BoolArray:
    """Mark the detections that show the same person as a better one of their frame.

    Parameters
    ----------
    poses
        Rows of a frame are sorted best first. The result is that of greedy suppression in that order.
    same_oks
        OKS above which two poses are one person's.

    Returns
    -------
    (N,) bool.
    """
    better: list[Rows] = [np.zeros(0, np.intp)]
    worse: list[Rows] = [np.zeros(0, np.intp)]
    for i, j in pairs_within_frames(poses.frame_index):
        # Boxes that hardly touch cannot be the same person: only the others are looked at closely.
        near = iou(poses.bbox[i], poses.bbox[j]) > 0.05
        i, j = i[near], j[near]
        same = _same_person(poses, i, j, same_oks)
        better.append(i[same])
        worse.append(j[same])
        poses.let_go()
    a, b = np.concatenate(better), np.concatenate(worse)
    double = np.zeros(len(poses), bool)
    # Greedy suppression for all frames at once: a row is a double if a better row that is none shows the same person.
    # It takes as many rounds as the longest chain of such rows, a handful.
    while True:
        now = np.zeros(len(poses), bool)
        now[b[~double[a]]] = True
        if np.array_equal(now, double):
            return double
        double = now


def _same_person(poses: Poses, i: Rows, j: Rows, same_oks: float) -> BoolArray:
    """Return which pairs of detections look like the same person.

    Not the rule of `tasks.poses.detections.same_person`: that one joins looks of one model at one frame, and asks
    little of the joints within a box; here two people in a clinch must stay two.
    """
    a, b = poses.bbox[i], poses.bbox[j]
    # OKS by the larger body: the smaller box may show half of it.
    area = np.maximum(box_area(a), box_area(b))
    pose = (poses.keypoints[i], poses.keypoint_scores[i], poses.keypoints[j], poses.keypoint_scores[j])
    upper = (pose[0][:, UPPER_BODY], pose[1][:, UPPER_BODY], pose[2][:, UPPER_BODY], pose[3][:, UPPER_BODY])
    by_torso = (inside(a, b) > INSIDE) & (oks(*upper, area, joints=UPPER_BODY) > SAME_TORSO)
    return (iou(a, b) > SAME_IOU) | (oks(*pose, area) > same_oks) | by_torso


def likeness(poses: Poses, i: Rows, j: Rows) -> FloatArray:
    """Return how much pairs of detections of a frame look like one person, see `tasks.core.geometry.likeness`."""
    first = poses.bbox[i], poses.keypoints[i], poses.keypoint_scores[i]
    return geometry.likeness(*first, poses.bbox[j], poses.keypoints[j], poses.keypoint_scores[j])
