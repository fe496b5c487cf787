"""The people found in one frame, and what is done with them before they are tracked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import box_area, inside, iou, oks
from tasks.core.records import BoolArray, FloatArray
from tasks.core.skeleton import NUM_KEYPOINTS

SAME_OKS = 0.5
"""Joints that agree more than this are one person's; two people in contact rarely reach it."""

PART_INSIDE, PART_OKS = 0.8, 0.2
"""A box is a part of another one's person if this share of it lies inside and the joints agree this much."""

CUT_INSIDE, CUT_OKS = 0.5, 0.0
"""The same for a box that the border of a view cuts off, within one that no border cuts."""

WHOLE = 0.25
"""Power of the area by which a whole body is preferred to a part of it that scores a little more."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The people found in one frame: the rows of `tasks.core.records.Poses` without the frame index.

    Attributes
    ----------
    bbox
        (N, 4) float32, x1, y1, x2, y2 in pixels of the frame.
    score
        (N,) float32.
    keypoints
        (N, 17, 2) float32, pixels of the frame.
    keypoint_scores
        (N, 17) float32.
    """

    bbox: FloatArray
    score: FloatArray
    keypoints: FloatArray
    keypoint_scores: FloatArray

    def __len__(self) -> int:
        return len(self.score)

    def select(self, rows: npt.NDArray[Any]) -> Detections:
        """Return the detections of some rows, given as a mask or as indices."""
        return Detections(self.bbox[rows], self.score[rows], self.keypoints[rows], self.keypoint_scores[rows])

    def shifted(self, x: float, y: float) -> Detections:
        """Return the detections moved by some pixels, as from a crop to its frame."""
        by = np.array([x, y], np.float32)
        return Detections(self.bbox + np.tile(by, 2), self.score, self.keypoints + by, self.keypoint_scores)

    @classmethod
    def joined(cls, parts: Sequence[Detections]) -> Detections:
        """Return the detections of several looks at one frame as one."""
        parts = [cls.none(), *parts]
        return cls(
            np.concatenate([part.bbox for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.keypoints for part in parts]),
            np.concatenate([part.keypoint_scores for part in parts]),
        )

    @classmethod
    def none(cls) -> Detections:
        """Return the detections of a frame with nobody in it."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, NUM_KEYPOINTS, 2), np.float32),
            np.zeros((0, NUM_KEYPOINTS), np.float32),
        )


def suppress_duplicates(found: Detections, score_thr: float, nms_thr: float) -> Detections:
    """Keep detections above a score, and of boxes that overlap more than a threshold only the best (greedy NMS).

    Parameters
    ----------
    found
        The people of one frame, from one look.
    score_thr
        Least score that is kept.
    nms_thr
        IoU above which the lower-scored of two boxes is dropped.
    """
    found = _best_first(found, score_thr)
    overlap = iou(found.bbox[:, None], found.bbox[None]) > nms_thr
    kept = np.ones(len(found), bool)
    for row in range(len(found)):
        if kept[row]:
            # Only later rows, which score less; a row that was dropped drops nobody.
            kept[row + 1 :] &= ~overlap[row, row + 1 :]
    return found.select(kept)


def _best_first(found: Detections, score_thr: float) -> Detections:
    """Return the detections that score enough, in the order of their scores."""
    # A stable sort makes equal scores keep their order, so that the result is the same on every machine.
    order = np.argsort(-found.score, kind="stable")
    return found.select(order[found.score[order] >= score_thr])


def pairwise_oks(found: Detections) -> FloatArray:
    """Return the object keypoint similarity of every pair of people of one frame, (N, N) float32 in [0, 1].

    The area is that of the larger box, so that half a body can be recognised as part of the whole one.
    """
    area = box_area(found.bbox)
    return oks(
        found.keypoints[:, None],
        found.keypoint_scores[:, None],
        found.keypoints[None],
        found.keypoint_scores[None],
        np.maximum(area[:, None], area[None]),
    )


def same_person(found: Detections, nms_thr: float, part_of: BoolArray | None = None) -> BoolArray:
    """Tell for every pair of detections of one frame whether both are the same person, (N, N) bool.

    They are if their boxes overlap more than `nms_thr`, if their joints agree, or if one box lies within the other and
    the joints agree a little: a part of a body that was taken for a person. Where `part_of` says that the first may be
    a part of the second, next to nothing is asked of the joints: those of half a body are squeezed into it.
    """
    boxes = found.bbox[:, None], found.bbox[None]
    agree, within = pairwise_oks(found), inside(*boxes)
    same = (iou(*boxes) > nms_thr) | (agree > SAME_OKS) | ((within > PART_INSIDE) & (agree > PART_OKS))
    if part_of is not None:
        same |= (part_of | part_of.T) & (within > CUT_INSIDE) & (agree > CUT_OKS)
    return np.asarray(same, bool)


def merge_people(found: Detections, score_thr: float, nms_thr: float, part_of: BoolArray | None = None) -> Detections:
    """Keep detections above a score, and of those that are one person only the best, with the highest of their scores.

    Looks at the same picture err alike: what several of them show is not likelier to be there, and were the scores
    added up, the parts of bodies and of furniture that many crops repeat would pass for people. The best is the one
    with the highest score x area^`WHOLE`, so that the row of a person does not change between a whole body and its
    upper half from frame to frame, whose scores differ by chance.

    Parameters
    ----------
    found
        The people of one frame, from one look or several.
    score_thr
        Least score of a detection that is kept or counts.
    nms_thr
        IoU above which two boxes are one person.
    part_of
        (N, N) bool, whether the first detection is cut off by the border of its view and may be a part of the second,
        a whole one: it yields to that one, whatever it scores. None where no border cuts anybody.
    """
    # At least one square pixel: a box without area would be worth 0, whatever its score.
    worth = found.score * box_area(found.bbox).clip(min=1) ** np.float32(WHOLE)
    whole = np.zeros(len(found), bool) if part_of is None else part_of.any(axis=0)
    # Stable, so that the result is the same on every machine. Who is seen whole comes first.
    order = np.lexsort((-worth, ~whole))
    order = order[found.score[order] >= score_thr]
    found = found.select(order)
    same = same_person(found, nms_thr, None if part_of is None else part_of[np.ix_(order, order)])
    kept = np.ones(len(found), bool)
    score = found.score.copy()
    for row in range(len(found)):
        if kept[row]:
            one = same[row] & kept
            one[:row] = False
            one[row] = True
            # The best row says where the person is, the highest score how surely.
            score[row] = score[one].max()
            kept &= ~one
            kept[row] = True
    return Detections(found.bbox, score, found.keypoints, found.keypoint_scores).select(kept)


def clean(found: Detections, width: int, height: int) -> Detections:
    """Drop rows that are not finite or lie outside the frame, clip boxes to it, and zero joints without a score."""
    # `Poses` refuses values that are not finite: one such row must not cost the clip.
    finite = (
        np.isfinite(found.bbox).all(axis=1)
        & np.isfinite(found.score)
        & np.isfinite(found.keypoints).all(axis=(1, 2))
        & np.isfinite(found.keypoint_scores).all(axis=1)
    )
    found = found.select(finite)
    limits = np.array([width, height, width, height], np.float32)
    bbox = np.clip(found.bbox, 0, limits)
    # Below one pixel a box has no size that a tracker could compare.
    large = np.asarray((bbox[:, 2:] - bbox[:, :2]).min(axis=1) >= 1)
    scores = np.clip(found.keypoint_scores, 0, 1)
    points = np.where(scores[..., None] > 0, found.keypoints, 0).astype(np.float32)
    return Detections(bbox, found.score, points, scores).select(large)
