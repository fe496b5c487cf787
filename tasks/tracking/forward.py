"""Following people frame by frame: ByteTrack's two stages with a cost that sees boxes and poses.

ByteTrack (Zhang et al. 2022) first matches detections of high score to tracks, then those of low score to the
tracks that are still without one: contact lowers scores, so the low ones keep a hidden person's track alive,
but never start one.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tasks.records import BoolArray, FloatArray, IntArray, Poses
from tasks.tracking.kalman import BoxFilter, to_corners
from tasks.tracking.similarity import box_area, iou, oks

OKS_WEIGHT = 0.6
"""Share of OKS in the similarity, IoU has the rest. Pure OKS collapses where the pose model swaps limbs."""

OKS_SPREAD = 2.0
"""Factor on COCO's sigmas: between two frames a joint moves more than annotators disagree."""

DOUBLE_SIMILARITY = 0.5
STAGE2 = 1
STAGE3 = 1
GROW = 0.0
MIN_SIMILARITY = 0.2
"""A track and a detection below this similarity are never the same person."""


def similarity(
    boxes: FloatArray, keypoints: FloatArray, keypoint_scores: FloatArray, poses: Poses, rows: slice, unseen
) -> FloatArray:
    """Return how well each of P predicted people fits each of D detections of a frame, (P, D) in [0, 1].

    Where either side saw no joint at all, the IoU stands alone.
    """
    a, b = boxes[:, None], poses.bbox[None, rows]
    by_box = iou(a, b)
    weight = np.any(keypoint_scores, -1)[:, None] & np.any(poses.keypoint_scores[rows], -1)[None]
    by_pose = oks(
        keypoints[:, None],
        keypoint_scores[:, None],
        poses.keypoints[None, rows],
        poses.keypoint_scores[None, rows],
        (box_area(a) + box_area(b)) * np.float32(0.5),
        (OKS_SPREAD * (1 + GROW * (unseen - 1)))[:, None, None],
    )
    return by_box + OKS_WEIGHT * weight * (by_pose - by_box)


def match(fit: FloatArray, minimum: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of the one-to-one matching with the highest sum of similarities."""
    # Pairs below the minimum weigh nothing, so that they never displace a good pair.
    rows, columns = linear_sum_assignment(np.where(fit >= minimum, fit, 0), maximize=True)
    good = fit[rows, columns] >= minimum
    return rows[good], columns[good]


class Follower:
    """The people being followed in one clip; made anew for every clip, so that nothing leaks between clips.

    Parameters
    ----------
    poses
        The clip's detections.
    high, low
        Scores that start and extend tracks, and that only extend them.
    patience
        Frames for which an unseen person is still looked for.
    """

    def __init__(self, poses: Poses, high: float, low: float, patience: int, double=None) -> None:
        self.double = np.zeros(len(poses), bool) if double is None else double
        self.poses, self.high, self.low, self.patience = poses, high, low, patience
        self.start_at = high
        self.track_id = np.zeros(len(poses), np.int32)
        self._boxes = BoxFilter()
        self._keypoints = np.zeros((0, 17, 2), np.float32)
        self._keypoint_scores = np.zeros((0, 17), np.float32)
        self._id = np.zeros(0, np.int32)
        self._hits = np.zeros(0, np.int32)
        self._unseen = np.zeros(0, np.int32)
        self._next_id = 1

    def run(self) -> IntArray:
        """Walk through the clip and return the (N,) track ID of each detection, 0 for none."""
        edges = np.searchsorted(self.poses.frame_index, np.arange(self.poses.frame_count + 1))
        for start, end in itertools.pairwise(edges):
            self._step(slice(int(start), int(end)))
        return self.track_id

    def _step(self, rows: slice) -> None:
        """Follow everyone into the next frame, whose detections are `rows`."""
        self._boxes.predict()
        self._keypoints = self._keypoints + self._boxes.velocity[:, None, :2]
        self._unseen += 1
        score = self.poses.score[rows]
        free = score >= self.low
        double = self.double[rows]
        if len(self._id) and len(score):
            fit = similarity(
                to_corners(self._boxes.position), self._keypoints, self._keypoint_scores, self.poses, rows, self._unseen
            )
            every = np.ones(len(self._id), bool)
            high = score >= self.high
            self._match(fit, every, free & high & ~double, free, rows.start, MIN_SIMILARITY)
            # Low scores only extend tracks that are still running: a ghost must not wake a lost person.
            running = self._unseen <= STAGE2
            close = self._unseen <= STAGE3
            self._match(fit, running, free & ~high & ~double, free, rows.start, MIN_SIMILARITY)
            self._match(fit, close, free & double, free, rows.start, DOUBLE_SIMILARITY)
        self._start(np.flatnonzero(free & (score >= self.start_at) & ~double) + rows.start)
        # A track that has been seen only once and is missed at once was noise.
        self._keep((self._unseen <= self.patience) & ((self._hits > 1) | (self._unseen == 0)))

    def _match(self, fit: FloatArray, tracks: BoolArray, columns: BoolArray, free: BoolArray, offset: int, minimum: float) -> None:
        """Run one stage between some tracks and some detections; marks both as taken."""
        t, d = np.flatnonzero(tracks & (self._unseen > 0)), np.flatnonzero(columns)
        if not (len(t) and len(d)):
            return
        found_t, found_d = match(fit[np.ix_(t, d)], minimum)
        t, d = t[found_t], d[found_d]
        free[d] = False
        rows = d + offset
        self._boxes.update(t, self.poses.bbox[rows])
        self._keypoints[t] = self.poses.keypoints[rows]
        self._keypoint_scores[t] = self.poses.keypoint_scores[rows]
        self._hits[t] += 1
        self._unseen[t] = 0
        self.track_id[rows] = self._id[t]

    def _start(self, rows: np.ndarray) -> None:
        """Start a track from each of these detections."""
        n = len(rows)
        if not n:
            return
        ids = np.arange(self._next_id, self._next_id + n, dtype=np.int32)
        self._next_id += n
        self.track_id[rows] = ids
        self._boxes.start(self.poses.bbox[rows])
        self._keypoints = np.concatenate([self._keypoints, self.poses.keypoints[rows]])
        self._keypoint_scores = np.concatenate([self._keypoint_scores, self.poses.keypoint_scores[rows]])
        self._id = np.concatenate([self._id, ids])
        self._hits = np.concatenate([self._hits, np.ones(n, np.int32)])
        self._unseen = np.concatenate([self._unseen, np.zeros(n, np.int32)])

    def _keep(self, rows: BoolArray) -> None:
        """Forget all tracks but these."""
        if rows.all():
            return
        self._boxes.keep(rows)
        self._keypoints, self._keypoint_scores = self._keypoints[rows], self._keypoint_scores[rows]
        self._id, self._hits, self._unseen = self._id[rows], self._hits[rows], self._unseen[rows]
