"""How likely a track goes over to another person: a probability for each person and moment.

A moment is the half second around a frame in which an ID may be lost; signs are looked for in the second around it:

    overlap    largest IoU with another person's box
    likeness   largest similarity of joints and box with another person, see `tasks.core.geometry.likeness`
    jump       largest step of the box centre from one row to the next, in sizes per frame, at most 1
    change     largest change of the box size from one row to the next, |log2|, at most 1
    unseen     share of the moment's frames without a row that the model saw
    weak       1 - mean joint score

The probability is a logistic regression on these, fitted to labelled clips with three kinds of detections: whether a
labelled person who is covered by a track is covered by another one half a second later, or the track covers somebody
else then. Fitted without the source of each clip, of the moments called likelier than not .58 were real, and the share
that was real followed the probability (.05: .03, .14: .16, .24: .25, .34: .50, .45: .48, .62: .58).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import box_area, iou, likeness
from tasks.core.records import FloatArray

AROUND = 1.0
"""Length of the stretch around a frame in which signs are looked for, seconds."""

FEATURES = ("overlap", "likeness", "jump", "change", "unseen", "weak")

NEAR = 0.05
"""Boxes that overlap less (IoU) are never compared by their joints."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

INTERCEPT, WEIGHTS = -4.76, (2.49, 1.45, 1.71, 1.02, 2.34, 1.16)
"""Of the regression, in the order of `FEATURES`; on 714 moments of 30 clips from 12 sources, 17 % of them real."""


def identity_confidence(
    boxes: FloatArray, keypoints: FloatArray, scores: FloatArray, filled: Bools, fps: float
) -> FloatArray:
    """Return how likely each person keeps its identity around each frame, (M, T) in [0, 1], 0 where it is missing.

    Parameters
    ----------
    boxes, keypoints, scores, filled, fps
        See `identity_features`.
    """
    kept = 1 - identity_risk(identity_features(boxes, keypoints, scores, filled, fps))
    there = scores.max(axis=2, initial=0.0) > 0
    return np.where(there, kept, 0.0).astype(np.float32)


def identity_features(
    boxes: FloatArray, keypoints: FloatArray, scores: FloatArray, filled: Bools, fps: float
) -> Floats:
    """Return what speaks for a lost identity at each person and frame, (M, T, features) in the order of `FEATURES`.

    Parameters
    ----------
    boxes, keypoints, scores, filled
        (M, T, 4) xyxy pixels, (M, T, 17, 2), (M, T, 17) and (M, T), as in an annotation.
    fps
        Frames per second.
    """
    # Annotations fill the rows of missing people with zeros: no joint, no person.
    there = scores.max(axis=2, initial=0.0) > 0
    people, frames = there.shape
    overlap, alike = np.zeros((2, people, frames))
    for a, b in combinations(range(people), 2):
        both = np.flatnonzero(there[a] & there[b])
        shared = iou(boxes[a, both], boxes[b, both])
        # Most pairs are far apart: comparing the joints of those only costs most of the time.
        near = shared > NEAR
        both, shared = both[near], shared[near]
        same = likeness(*((values[row, both]) for row in (a, b) for values in (boxes, keypoints, scores)))
        for person in (a, b):
            overlap[person, both] = np.maximum(overlap[person, both], shared)
            alike[person, both] = np.maximum(alike[person, both], same)
    jump, change = _steps(boxes, there)
    seen = there & ~filled
    # Frames to each side: the stretch is `AROUND` seconds long in all.
    reach = max(1, round(AROUND * fps / 2))
    quality = np.where(there, scores.mean(axis=2), 0.0)
    known = np.maximum(_sum_around(there.astype(float), reach), 1)
    # At the ends of the clip the stretch is shorter: shares are of the frames that exist.
    inside_clip = _sum_around(np.ones((1, frames)), reach)
    return np.stack(
        [
            _max_around(overlap, reach),
            _max_around(alike, reach),
            _max_around(jump, reach),
            _max_around(change, reach),
            1 - _sum_around(seen.astype(float), reach) / inside_clip,
            1 - _sum_around(quality, reach) / known,
        ],
        axis=-1,
    )


def identity_risk(features: Floats) -> Floats:
    """Return the probability that the identity is lost in a moment, from its features (..., features)."""
    return 1 / (1 + np.exp(-(INTERCEPT + features @ np.array(WEIGHTS))))


def _steps(boxes: FloatArray, there: Bools) -> tuple[Floats, Floats]:
    """Return the step of the centre (sizes per frame) and the change of size (|log2|) since the person's last row."""
    jump, change = np.zeros((2, *there.shape))
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    size = np.maximum(np.sqrt(box_area(boxes)), 1.0)
    for person, row in enumerate(there):
        frames = np.flatnonzero(row)
        now, before = frames[1:], frames[:-1]
        scale = (size[person, now] + size[person, before]) / 2
        # Per frame passed: after a gap somebody may be far away without having jumped.
        moved = np.linalg.norm(centre[person, now] - centre[person, before], axis=1) / scale / (now - before)
        jump[person, now] = np.minimum(moved, 1.0)
        change[person, now] = np.minimum(np.abs(np.log2(size[person, now] / size[person, before])), 1.0)
    return jump, change


def _max_around(values: Floats, reach: int) -> Floats:
    """Return the largest value within `reach` frames of each frame, (M, T)."""
    padded = np.pad(values, ((0, 0), (reach, reach)))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1).max(axis=-1))


def _sum_around(values: Floats, reach: int) -> Floats:
    """Return the sum within `reach` frames of each frame, (M, T)."""
    # Differences of running sums: the cost does not grow with `reach`.
    total = np.cumsum(np.pad(values, ((0, 0), (reach + 1, reach))), axis=1)
    return np.asarray(total[:, 2 * reach + 1 :] - total[:, : -2 * reach - 1])
