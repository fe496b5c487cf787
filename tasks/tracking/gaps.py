"""Short gaps inside tracks, filled by straight lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import Rows, iou
from tasks.core.records import FloatArray, IntArray, Poses, Tracks
from tasks.core.records.scratch import blocks, blocks_of_frames, built, gathered, let_go, new_column
from tasks.tracking.track_rows import rows_by_track

FILL_SURE = 0.3
"""Gaps up to this many seconds are filled wherever the person went."""

FILL_IOU = 0.3
"""Overlap of the boxes before and after a gap from which on the person stayed."""

FILLED_SCORE = 0.5
"""Scores of filled rows, as a share of the lower of the two scores that enclose them."""


def fill_gaps(poses: Poses, track_id: IntArray, seconds: float) -> Tracks:
    """Return the tracks with short gaps inside them filled by straight lines, and marked as filled.

    Nobody is invented outside a track's span, nor in a gap that is long or through which the person moved far. A joint
    that is missing before or after the gap stays missing in it.

    Parameters
    ----------
    poses, track_id
        Detections and their tracks, 0 for none.
    seconds
        Longest gap that is filled where the person stayed (`FILL_IOU`); elsewhere `FILL_SURE` is, at most.
    """
    order = rows_by_track(track_id).order
    start, end, gap = _gaps(poses, track_id, order, seconds)
    # One entry per filled row: the gap that it is in, and its place in that gap.
    at = np.repeat(np.arange(len(gap)), gap)
    step = np.arange(len(at)) - np.repeat(np.cumsum(gap) - gap, gap) + 1
    share = (step / (gap[at] + 1)).astype(np.float32)
    before, after = start[at], end[at]
    filled_frame = gathered(poses.frame_index, before) + step
    size = len(order) + len(filled_frame)
    rows, frames, person = _with_filled(poses, track_id, filled_frame, gathered(track_id, before), size)

    def between(values: FloatArray, gaps: Rows) -> FloatArray:
        """Interpolate an array of one row per detection in some of the filled rows."""
        weight = share[gaps].reshape(-1, *[1] * (values.ndim - 1))
        return values[before[gaps]] + (values[after[gaps]] - values[before[gaps]]) * weight

    def lowered(scores: FloatArray, gaps: Rows) -> FloatArray:
        """Reduce scores of what was not seen."""
        return np.float32(FILLED_SCORE) * np.minimum(scores[before[gaps]], scores[after[gaps]])

    def joined(values: FloatArray, estimate: Callable[[FloatArray, Rows], FloatArray]) -> FloatArray:
        """Return a column of all rows: those that were seen, and estimates of the others."""

        def part(where: slice) -> FloatArray:
            """Return some rows of it."""
            wanted = rows[where]
            real = wanted < len(poses)
            out = np.empty((len(wanted), *values.shape[1:]), values.dtype)
            out[real] = values[wanted[real]]
            out[~real] = estimate(values, wanted[~real] - len(poses))
            let_go(rows)
            return out

        return built(values, len(rows), part)

    poses.let_go()
    filled = replace(
        poses,
        frame_index=frames,
        bbox=joined(poses.bbox, between),
        score=joined(poses.score, lowered),
        keypoints=joined(poses.keypoints, between),
        keypoint_scores=joined(poses.keypoint_scores, lowered),
    )
    # The numbers of estimated rows go on after those of the detections.
    return Tracks(filled, person, built(rows, len(rows), lambda part: rows[part] >= len(poses)))


def _gaps(poses: Poses, track_id: IntArray, order: Rows, seconds: float) -> tuple[Rows, Rows, npt.NDArray[np.int64]]:
    """Return the gaps that are filled: the rows before and after each, and how many frames it has; by track.

    `order` has the rows by track and frame, `seconds` is as for `fill_gaps`.
    """
    most = round(seconds * poses.fps)
    found = []
    for part in blocks(len(order)):
        # The first row of the next block ends the last gap of this one.
        rows = order[part.start : part.stop + 1]
        # Frames missing between two rows of one person; the next row may be another person's.
        same = track_id[rows[1:]] == track_id[rows[:-1]]
        gap = np.where(same, np.diff(poses.frame_index[rows]) - 1, 0).astype(np.int64)
        at = np.flatnonzero(gap)
        start, end, gap = rows[at], rows[at + 1], gap[at]
        stayed = iou(poses.bbox[start], poses.bbox[end]) >= FILL_IOU
        short = gap <= np.where(stayed, most, min(most, round(FILL_SURE * poses.fps)))
        found.append((start[short], end[short], gap[short]))
        poses.let_go()
        let_go(order, track_id)
    start, end, gap = (np.concatenate(column) for column in zip(*found, strict=True))
    return start, end, gap


def _with_filled(
    poses: Poses, track_id: IntArray, filled_frame: npt.NDArray[np.int64], filled_id: IntArray, size: int
) -> tuple[Rows, IntArray, IntArray]:
    """Sort the rows of tracks and the filled rows together, by frame and ID.

    Parameters
    ----------
    poses, track_id
        Detections and their tracks, 0 for none.
    filled_frame, filled_id
        (F,) frame and track of each filled row.
    size
        M, the number of both.

    Returns
    -------
    Row, frame and ID of each, (M,); filled row f has the number of detections + f.
    """
    late = np.argsort(filled_frame, kind="stable")
    late_frame = filled_frame[late]
    rows, frames, person = (new_column(track_id, size, dtype) for dtype in (np.intp, np.int32, np.int32))
    done = used = 0
    for part in blocks_of_frames(poses.frame_index):
        real = part.start + np.flatnonzero(track_id[part])
        # Filled rows of all frames before the next block's.
        upto = len(late) if part.stop == len(poses) else int(np.searchsorted(late_frame, poses.frame_index[part.stop]))
        some = late[used:upto]
        frame = np.concatenate([poses.frame_index[real], filled_frame[some]]).astype(np.int32)
        ids = np.concatenate([track_id[real], filled_id[some]])
        order = np.lexsort((ids, frame))
        place = slice(done, done + len(order))
        rows[place] = np.concatenate([real, len(poses) + some])[order]
        frames[place], person[place] = frame[order], ids[order]
        done, used = place.stop, upto
        let_go(rows, frames, person, track_id, poses.frame_index)
    return rows, frames, person
