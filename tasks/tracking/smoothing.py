"""Boxes without jitter.

A pose model draws a box around the joints that it believes in, which change from frame to frame: a body is whole in one
frame and cut off at the hips in the next, most of all where several looks at a frame are merged. The person's extent
changes more slowly than that. Only boxes are smoothed: joints carry the blows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from tasks.core.records import FloatArray, IntArray, Tracks
from tasks.core.records.scratch import blocks, let_go, new_column
from tasks.tracking.kalman import to_centre, to_corners
from tasks.tracking.track_rows import rows_by_track

SPREAD_S = 0.1
"""Standard deviation of the Gaussian window, seconds, unless the settings say otherwise; a stride takes five times as
long."""

PRIOR = 1e-6
"""Weight of a prior for standing still, as a share: it only decides where there is a single box in reach."""

LEAST_SCORE = 1e-3
"""Score that a box counts with at least, so that a track without any scores is smoothed as well."""


def smooth_boxes(tracks: Tracks, spread: float = SPREAD_S) -> Tracks:
    """Return the tracks with boxes that follow those of their track nearby in time, each weighted by its score.

    Centres are put on a line through the centres nearby, so that people who walk steadily stay where they are, at the
    ends of the track too; sizes are means, which never turn a box inside out. Frames, scores and joints stay as they
    are; where a track has no other row within reach, so does the box. `spread` is the window's standard deviation in
    seconds.
    """
    before = tracks.poses.bbox
    bbox = new_column(before, before.shape, before.dtype)
    for rows, line, mean in _nearby(tracks, lambda rows: to_centre(before[rows]), spread):
        bbox[rows] = to_corners(np.concatenate([line[:, :2], mean[:, 2:]], axis=1).astype(np.float32))
        let_go(bbox)
    return Tracks(dataclasses.replace(tracks.poses, bbox=bbox), tracks.track_id, tracks.filled)


def mean_nearby(tracks: Tracks, values: FloatArray) -> npt.NDArray[np.float64]:
    """Return the mean of values (N, K) over the rows of the same track nearby in time, weighted as boxes are."""
    means = np.zeros(values.shape)
    for rows, _, mean in _nearby(tracks, lambda rows: values[rows], SPREAD_S):
        means[rows] = mean
    return means


Floats = npt.NDArray[np.float64]


def _nearby(
    tracks: Tracks, values: Callable[[npt.NDArray[np.intp]], FloatArray], seconds: float
) -> Iterator[tuple[npt.NDArray[np.intp], Floats, Floats]]:
    """Yield in blocks of rows what a line through the values nearby says, and their mean, both (rows, K).

    `values` gives those of some rows, (rows, K).
    """
    poses = tracks.poses
    # In frames. Rows two deviations away weigh a seventh of the middle one; farther ones are left out.
    spread = seconds * poses.fps
    reach = max(1, round(2 * spread))
    order = rows_by_track(tracks.track_id).order
    for part in blocks(len(order)):
        # A track has at most one row per frame: so many rows to each side hold all within reach.
        first = max(part.start - reach, 0)
        near = order[first : part.stop + reach]
        if len(near):
            line, mean = _fitted(tracks, near, values(near), spread, reach)
            inner = slice(part.start - first, part.stop - first)
            yield order[part], line[inner], mean[inner]
        tracks.let_go()
        let_go(order)


def _fitted(
    tracks: Tracks, order: npt.NDArray[np.intp], values: FloatArray, spread: float, reach: int
) -> tuple[Floats, Floats]:
    """Return line and mean of `_nearby` for rows sorted by track and frame, whose values (K, columns) are given."""
    poses = tracks.poses
    at = _axis(poses.frame_index[order], tracks.track_id[order], reach)
    weight = np.zeros((at[-1] + reach + 1, 1))
    # Places without a row keep weight 0, so that gaps need no case of their own.
    weight[at, 0] = np.maximum(poses.score[order], LEAST_SCORE)
    moment = np.zeros((len(weight), values.shape[1]))
    moment[at] = weight[at] * values
    # Sums of weight x shift^k, and of weight x value x shift^k.
    w0, w1, w2 = np.zeros((3, len(order), 1))
    b0, b1 = np.zeros((2, *values.shape))
    for shift in range(-reach, reach + 1):
        share = np.exp(-0.5 * (shift / spread) ** 2)
        w, b = share * weight[at + shift], share * moment[at + shift]
        w0, w1, w2 = w0 + w, w1 + w * shift, w2 + w * shift**2
        b0, b1 = b0 + b, b1 + b * shift
    w2 = w2 + PRIOR * w0
    # Weighted least squares: the line's value at shift 0, which is the row itself.
    return (w2 * b0 - w1 * b1) / (w2 * w0 - w1**2), b0 / w0


def _axis(frame: IntArray, track_id: IntArray, reach: int) -> npt.NDArray[np.int64]:
    """Return a place on one time axis for each row, (N,) ascending: all tracks are on it, one after another.

    Tracks, and the two sides of a longer gap, are far enough apart that no window of `reach` frames sees both.
    """
    step = np.minimum(np.diff(frame.astype(np.int64), prepend=0), reach + 1)
    step[np.diff(track_id, prepend=-1) != 0] = reach + 1
    return np.cumsum(step)
