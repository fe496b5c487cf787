"""The people found in one frame, and what is done with them before they are tracked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.records import NUM_KEYPOINTS, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The people found in one frame: the rows of `tasks.records.Poses` without the frame index.

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

    @classmethod
    def none(cls) -> Detections:
        """Return the detections of a frame with nobody in it."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, NUM_KEYPOINTS, 2), np.float32),
            np.zeros((0, NUM_KEYPOINTS), np.float32),
        )


def pairwise_iou(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> FloatArray:
    """Return the IoU of every pair of boxes.

    Parameters
    ----------
    first, second
        (N, 4) and (K, 4) boxes as x1, y1, x2, y2.

    Returns
    -------
    (N, K) float32 in [0, 1]; 0 where a box has no area.
    """
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = np.clip(bottom_right - top_left, 0, None).prod(axis=-1)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0).astype(np.float32)


def suppress_duplicates(found: Detections, score_thr: float, nms_thr: float) -> Detections:
    """Keep detections above a score, and of boxes that overlap more than a threshold only the best (greedy NMS).

    Parameters
    ----------
    found
        The people of one frame.
    score_thr
        Least score that is kept.
    nms_thr
        IoU above which the lower-scored of two boxes is dropped.
    """
    # A stable sort makes equal scores keep their order, so that the result is the same on every machine.
    order = np.argsort(-found.score, kind="stable")
    order = order[found.score[order] >= score_thr]
    overlap = pairwise_iou(found.bbox[order], found.bbox[order]) > nms_thr
    kept = np.ones(len(order), bool)
    for row in range(len(order)):
        if kept[row]:
            kept[row + 1 :] &= ~overlap[row, row + 1 :]
    return found.select(order[kept])


def clean(found: Detections, width: int, height: int) -> Detections:
    """Drop rows that are not finite or lie outside the frame, clip boxes to it, and zero joints without a score."""
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
