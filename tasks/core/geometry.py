"""How alike two boxes or two poses are: IoU, and OKS weighted by joint scores. And which two are to be compared.

OKS (COCO keypoint evaluation, cocodataset.org/#keypoints-eval) of poses a and b with joint distances d_k:

    OKS = sum_k w_k exp(-d_k^2 / (2 A (2 sigma_k)^2)) / sum_k w_k

A is the area of the person in square pixels and sigma_k the spread with which people annotate joint k. COCO takes the
segment's area; box areas are multiplied by `SEGMENT_SHARE` to estimate it. The weights w_k are ours: the product of
both joint scores, so that a joint that either side hardly saw hardly counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tasks.core.records import FloatArray, IntArray
from tasks.core.records.scratch import blocks_of_frames
from tasks.core.skeleton import SIGMAS

SEGMENT_SHARE = 0.53
"""Share of its box that a person fills: used for the segment's area where there is only a box."""

LIKENESS_SPREAD = 1.5
"""Factor on COCO's sigmas in `likeness`: the duplicates of a tiled model differ by more than annotators do."""

LIKENESS_OKS = 0.3
"""OKS up to which two poses do not agree at all in `likeness`."""

PAIRS_AT_ONCE = 200_000
"""Bounds memory: a clip of ten thousand crowded frames has tens of millions of pairs."""

Rows = npt.NDArray[np.intp]

F = TypeVar("F", bound=np.floating[Any])


def box_area(boxes: FloatArray) -> FloatArray:
    """Return the areas of (..., 4) xyxy boxes in square pixels; 0 for boxes turned inside out."""
    size = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return size[..., 0] * size[..., 1]


def overlap(a: npt.NDArray[F], b: npt.NDArray[F]) -> npt.NDArray[F]:
    """Return the area that boxes share, in square pixels, broadcast over all leading axes.

    Parameters
    ----------
    a, b
        (..., 4) xyxy boxes in pixels; pass (N, 1, 4) and (1, K, 4) for all pairs.
    """
    size = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0)
    shared: npt.NDArray[F] = size[..., 0] * size[..., 1]
    return shared


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the intersection over union of boxes, broadcast as `overlap`; 0 where both boxes are empty."""
    shared = overlap(a, b)
    # The floor only matters for empty boxes, which share nothing.
    return shared / np.maximum(box_area(a) + box_area(b) - shared, 1e-6)


def inside(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the share of the smaller box that lies in the other one, in [0, 1], broadcast as `overlap`."""
    smaller = np.minimum(box_area(a), box_area(b))
    # In float32 like the boxes, or the result would become float64.
    return np.asarray(overlap(a, b) / np.maximum(smaller, np.float32(1e-6)))


def oks(
    a: FloatArray,
    a_scores: FloatArray,
    b: FloatArray,
    b_scores: FloatArray,
    area: FloatArray,
    spread: float = 1.0,
    joints: slice = slice(None),
) -> FloatArray:
    """Return the object keypoint similarity of poses, broadcast over all leading axes.

    Parameters
    ----------
    a, b
        (..., 17, 2) keypoints in pixels.
    a_scores, b_scores
        (..., 17) joint scores.
    area
        (...) area of the person's box in square pixels.
    spread
        Factor on the sigmas. COCO's fit one image; between frames joints also move, so tracking uses more
        than 1.

    joints
        Which joints the arrays hold, where they do not hold all 17.

    Returns
    -------
    Values in [0, 1]; 0 where no joint was seen on both sides.
    """
    difference = a - b
    distance = difference[..., 0] ** 2 + difference[..., 1] ** 2
    variance = 2 * (2 * spread * SIGMAS[joints]) ** 2 * SEGMENT_SHARE
    exponent = distance / (np.maximum(area, 1.0)[..., None] * variance)
    weight = a_scores * b_scores
    # exp of a large negative number underflows to 0, which numpy may be told to raise on: it is bounded
    # instead.
    near = np.exp(-np.minimum(exponent, 50.0))
    total = weight.sum(-1)
    return (weight * near).sum(-1) / np.maximum(total, 1e-9)


def likeness(
    a: FloatArray,
    a_keypoints: FloatArray,
    a_scores: FloatArray,
    b: FloatArray,
    b_keypoints: FloatArray,
    b_scores: FloatArray,
) -> FloatArray:
    """Return how much two people of a frame look like one, in [0, 1], broadcast over all leading axes.

    The larger of the IoU and, for poses that agree at all, of the mean of OKS and the share of the smaller box inside.

    Parameters
    ----------
    a, b
        (..., 4) boxes in pixels.
    a_keypoints, a_scores, b_keypoints, b_scores
        Their joints, as for `oks`.
    """
    # OKS by the larger body: the smaller box may show half of it.
    area = np.maximum(box_area(a), box_area(b))
    by_pose = oks(a_keypoints, a_scores, b_keypoints, b_scores, area, spread=LIKENESS_SPREAD)
    return np.maximum(iou(a, b), 0.5 * by_pose + 0.5 * inside(a, b) * (by_pose > LIKENESS_OKS))


def pairs_within_frames(frame_index: IntArray) -> Iterator[tuple[Rows, Rows]]:
    """Yield all pairs of rows i < j of the same frame, in blocks of bounded memory.

    Parameters
    ----------
    frame_index
        (N,) ascending.
    """
    for part in blocks_of_frames(frame_index):
        frame = frame_index[part]
        n = len(frame)
        # How many rows of the same frame follow each row.
        partners = np.searchsorted(frame, frame, side="right") - np.arange(n) - 1
        total = np.concatenate([[0], np.cumsum(partners)])
        start = 0
        while start < n:
            # As many rows as have so many pairs together, but at least one, however crowded its frame.
            end = max(int(np.searchsorted(total, total[start] + PAIRS_AT_ONCE, side="right")) - 1, start + 1)
            first = np.repeat(np.arange(start, end), partners[start:end])
            step = np.arange(len(first)) - np.repeat(total[start:end] - total[start], partners[start:end])
            yield part.start + first, part.start + first + 1 + step
            start = end
