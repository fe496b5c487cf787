"""Following people frame by frame: ByteTrack's two stages with a similarity that sees boxes and poses.

ByteTrack (Zhang et al. 2022) first matches detections of high score to tracks, then those of low score to the tracks
that are still without one. Here a third stage follows: detections that look like doubles of a better one continue a
track of their own if they fit it well, because in a clinch they may be the second person.

Unlike ByteTrack, low scores may start tracks and wake lost ones: contact lowers scores for seconds. The clip is looked
at as a whole afterwards, and a track without enough detections of high score is dropped then (`cleaning.drop_ghosts`).
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import box_area, iou, oks
from tasks.core.records import BoolArray, FloatArray, IntArray, Poses
from tasks.core.records.scratch import blocks, let_go, new_column
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.tracking.kalman import BoxFilter, to_corners

OKS_WEIGHT = 0.5
"""Share of OKS in the similarity, IoU has the rest. Pure OKS collapses where the pose model swaps limbs."""

OKS_SPREAD = 1.5
"""Factor on COCO's sigmas: between two frames a joint moves more than annotators disagree."""

MIN_SIMILARITY = 0.25
"""A track and a detection below this similarity are never the same person."""

DOUBLE_SIMILARITY = 0.6
"""The same for a detection that looks like a double of another one."""

DOUBLE_PATIENCE = 3
"""Frames after which a track that is not seen no longer takes doubles."""

DOUBT = 2.0
"""Factor on the variance of a measured box whose score is `high`; it falls as 1 / score.

A box of low score is often half a body: it continues a track, but must not take the track's extent and speed along.
"""

DOUBT_RANGE = (0.5, 8.0)
"""Bounds of that factor."""

SCORE_POWER = 0.25
"""Similarities are weighted by this power of the score, relative to the frame's best: of equal fits the surer wins."""

LET_GO_FRAMES = 1000
"""Frames after which the rows of a clip on disk are handed back: some MB."""


def similarity(
    boxes: FloatArray, keypoints: FloatArray, keypoint_scores: FloatArray, poses: Poses, rows: slice
) -> FloatArray:
    """Return how well each of P predicted people fits each of D detections of a frame, (P, D) in [0, 1].

    Where either side saw no joint at all, the IoU counts alone.

    Parameters
    ----------
    boxes, keypoints, keypoint_scores
        (P, 4) xyxy, (P, 17, 2) and (P, 17): where the people are expected, pixels.
    poses, rows
        The detections, and which of them belong to the frame.
    """
    a, b = boxes[:, None], poses.bbox[None, rows]
    by_box = iou(a, b)
    both = np.any(keypoint_scores, -1)[:, None] & np.any(poses.keypoint_scores[rows], -1)[None]
    by_pose = oks(
        keypoints[:, None],
        keypoint_scores[:, None],
        poses.keypoints[None, rows],
        poses.keypoint_scores[None, rows],
        (box_area(a) + box_area(b)) * np.float32(0.5),
        OKS_SPREAD,
    )
    return by_box + OKS_WEIGHT * both * (by_pose - by_box)


def match(fit: FloatArray, minimum: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of the one-to-one matching with the highest sum of similarities."""
    # Imported here: whatever reads annotations imports this package, and scipy takes longer than a run without work.
    from scipy.optimize import linear_sum_assignment

    # Pairs below the minimum weigh nothing, so that they never displace a good pair.
    rows, columns = linear_sum_assignment(np.where(fit >= minimum, fit, 0), maximize=True)
    good = fit[rows, columns] >= minimum
    return rows[good], columns[good]


class Follower:
    """The people being followed in one clip; a new one for every clip, so that nothing leaks between clips.

    Parameters
    ----------
    poses
        The clip's detections.
    double
        (N,) bool, which of them look like doubles of a better one.
    high, low
        Scores that are matched first, and below which a detection is ignored.
    patience
        Frames for which an unseen person is still looked for.
    """

    def __init__(self, poses: Poses, double: BoolArray, high: float, low: float, patience: int) -> None:
        self.poses, self.double, self.high, self.low, self.patience = poses, double, high, low, patience
        self.track_id = new_column(poses.frame_index, len(poses), np.int32)
        self._boxes = BoxFilter()
        self._keypoints = np.zeros((0, NUM_KEYPOINTS, 2), np.float32)
        self._keypoint_scores = np.zeros((0, NUM_KEYPOINTS), np.float32)
        self._id = np.zeros(0, np.int32)
        self._hits = np.zeros(0, np.int32)
        # Frames since a person was last seen; 0 in the frame in which it is.
        self._unseen = np.zeros(0, np.int32)
        self._next_id = 1

    def run(self) -> IntArray:
        """Walk through the clip and return the (N,) track ID of each detection, 0 for none."""
        for part in blocks(self.poses.frame_count):
            # Of the rows' own type: for another one, `searchsorted` would copy them all.
            frames = np.arange(part.start, part.stop + 1, dtype=np.int32)
            edges = np.searchsorted(self.poses.frame_index, frames)
            for number, (start, end) in enumerate(itertools.pairwise(edges.tolist()), 1):
                self._step(slice(start, end))
                # What was walked through is not looked at again.
                if number % LET_GO_FRAMES == 0 or number == len(edges) - 1:
                    self.poses.let_go()
                    let_go(self.track_id)
        return self.track_id

    def _step(self, rows: slice) -> None:
        """Follow everyone into the next frame, whose detections are `rows`."""
        self._boxes.predict()
        # Joints move with the centre of their box.
        self._keypoints = self._keypoints + self._boxes.velocity[:, None, :2]
        self._unseen += 1
        score, double = self.poses.score[rows], self.double[rows]
        free = score >= self.low
        if len(self._id) and len(score):
            expected = to_corners(self._boxes.position)
            fit = similarity(expected, self._keypoints, self._keypoint_scores, self.poses, rows)
            best = np.float32(max(score.max(), 1e-6))
            fit *= (np.maximum(score, 0) / best) ** np.float32(SCORE_POWER)
            high = score >= self.high
            everyone = np.ones(len(self._id), bool)
            self._match(fit, everyone, free & high & ~double, free, rows.start, MIN_SIMILARITY)
            self._match(fit, everyone, free & ~high & ~double, free, rows.start, MIN_SIMILARITY)
            recent = self._unseen <= DOUBLE_PATIENCE
            self._match(fit, recent, free & double, free, rows.start, DOUBLE_SIMILARITY)
        # Doubles start no track: most of them show somebody who has one.
        self._start(np.flatnonzero(free & ~double) + rows.start)
        # Who was seen only once, and is missed at once, was noise.
        self._keep((self._unseen <= self.patience) & ((self._hits > 1) | (self._unseen == 0)))

    def _match(
        self, fit: FloatArray, tracks: BoolArray, columns: BoolArray, free: BoolArray, offset: int, minimum: float
    ) -> None:
        """Run one stage between some tracks and some detections; marks both as taken."""
        # A person matched by an earlier stage has `_unseen` 0, and takes no second detection.
        t, d = np.flatnonzero(tracks & (self._unseen > 0)), np.flatnonzero(columns)
        if not (len(t) and len(d)):
            return
        found_t, found_d = match(fit[np.ix_(t, d)], minimum)
        t, d = t[found_t], d[found_d]
        free[d] = False
        rows = d + offset
        # Scores may be 0, and so may the threshold.
        doubt = DOUBT * max(self.high, 1e-3) / np.maximum(self.poses.score[rows], 1e-3)
        self._boxes.update(t, self.poses.bbox[rows], np.clip(doubt, *DOUBT_RANGE))
        self._keypoints[t] = self.poses.keypoints[rows]
        self._keypoint_scores[t] = self.poses.keypoint_scores[rows]
        self._hits[t] += 1
        self._unseen[t] = 0
        self.track_id[rows] = self._id[t]

    def _start(self, rows: npt.NDArray[np.intp]) -> None:
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
