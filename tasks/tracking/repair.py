"""Repair of tracks once the whole clip is known: doubles become one track, and fragments are joined.

The order matters. Tracks that follow one person at the same time are merged first, because one of them often lives on
where the other ends. What ends and begins elsewhere is linked next. Only then is judged whether a track has enough
evidence (`tasks.tracking.cleaning`), and only what is kept is filled (`tasks.tracking.gaps`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.core.geometry import Rows, iou
from tasks.core.records import FloatArray, IntArray, Poses
from tasks.core.records.scratch import blocks, copied, gathered, let_go
from tasks.tracking.duplicates import likeness
from tasks.tracking.kalman import to_centre, to_corners
from tasks.tracking.pair_sums import PairSums, pairs_of_tracks
from tasks.tracking.track_rows import TrackRows, renamed, rows_by_track

MERGE_FRAMES = 3
"""Common frames needed to tell."""

LINK_IOU_BOXES = 0.5
"""Least overlap of a fragment's end and the next one's start, both carried on through the gap, in clips without any
joints: boxes alone say less about who somebody is. With joints it is a setting, `link_overlap`."""

END_ROWS = 10
"""Rows at the end of a fragment from which its velocity is read."""

CARRY = 0.25
"""Seconds for which a fragment's velocity is believed to last."""


def merge_doubles(poses: Poses, track_id: IntArray, similarity: float) -> IntArray:
    """Give one ID to tracks that follow the same person at the same time.

    Where both have a row in a frame, that of the longer track is kept. Repeated until nothing changes, because a merged
    track has more frames to be compared with others.

    Parameters
    ----------
    poses, track_id
        Detections and their tracks, 0 for none.
    similarity
        Mean similarity over their common frames of two tracks of one person; people who cross are alike briefly only.
    """
    while True:
        fits, a, b = _common_likeness(poses, track_id)
        good = fits >= similarity
        if not good.any():
            return track_id
        rows = rows_by_track(track_id)
        # A copy: the caller's IDs stay as they are.
        track_id = copied(track_id)
        merged: set[int] = set()
        # Once a round, with the one it is most like: chains would join two people through a third box.
        for k in np.flatnonzero(good)[np.argsort(-fits[good], kind="stable")]:
            pair = {int(a[k]), int(b[k])}
            if not pair & merged:
                merged |= pair
                # Nothing else of this round touches these rows.
                _merge(poses, track_id, *(rows.of(one) for one in sorted(pair)))


def _common_likeness(poses: Poses, track_id: IntArray) -> tuple[FloatArray, Rows, Rows]:
    """Return for all pairs of tracks with enough common frames their mean likeness there and their IDs."""
    sums = PairSums("likeness")
    for i, j in pairs_of_tracks(poses, track_id):
        # In parts: a pair takes a kilobyte on the way.
        fits = np.concatenate([likeness(poses, i[part], j[part]) for part in blocks(len(i))])
        sums.add(np.minimum(track_id[i], track_id[j]), np.maximum(track_id[i], track_id[j]), likeness=fits)
        poses.let_go()
    enough = sums["frames"] >= MERGE_FRAMES
    mean = sums["likeness"][enough] / sums["frames"][enough]
    return mean.astype(np.float32), sums.first[enough], sums.second[enough]


def _merge(poses: Poses, track_id: IntArray, longer: Rows, shorter: Rows) -> None:
    """Give the longer track's ID to the rows of both, in place."""
    if len(shorter) > len(longer):
        longer, shorter = shorter, longer
    both = np.isin(poses.frame_index[shorter], poses.frame_index[longer])
    track_id[shorter] = np.where(both, 0, track_id[longer[0]])
    let_go(track_id, poses.frame_index, longer, shorter)


class _Ends(NamedTuple):
    """One end of each of P tracks: frame (P,), box (P, 4) and velocity (P, 2) there, median size (P, 2); pixels."""

    frame: FloatArray
    box: FloatArray
    position: FloatArray
    velocity: FloatArray
    size: FloatArray


def link_fragments(poses: Poses, track_id: IntArray, overlap: float, seconds: float) -> IntArray:
    """Join the end of a track and the start of a later one that fits it, at most one to each, at the least total cost.

    A pair fits by the mean of two overlaps: of the earlier track carried on to where the later one starts, and of the
    later one carried back to where the earlier one ends.

    Parameters
    ----------
    poses, track_id
        Detections and their tracks, 0 for none.
    overlap
        Least mean overlap (IoU) of a pair; without joints it is `LINK_IOU_BOXES`.
    seconds
        Longest gap between the two.
    """
    tracks = rows_by_track(track_id)
    ids = tracks.ids
    if len(ids) < 2:
        return track_id
    start, end = _ends(poses, tracks, last=False), _ends(poses, tracks, last=True)
    a, b = _in_reach(end.frame, start.frame, seconds * poses.fps)
    # In frames. Fighters turn quickly: after `CARRY` the box is left where it got to.
    steps = np.minimum(start.frame[b] - end.frame[a], np.float32(CARRY * poses.fps))[:, None]
    ahead = to_corners(np.concatenate([end.position[a] + end.velocity[a] * steps, end.size[a]], axis=1))
    back = to_corners(np.concatenate([start.position[b] - start.velocity[b] * steps, start.size[b]], axis=1))
    fit = (iou(ahead, start.box[b]) + iou(back, end.box[a])) * np.float32(0.5)
    # In blocks, of which the first tells as a rule.
    joints = any(np.any(poses.keypoint_scores[part]) for part in blocks(len(poses)))
    good = fit > (overlap if joints else LINK_IOU_BOXES)
    successor = _best_links(a[good], b[good], fit[good], len(ids))
    # From the first start on, so that a chain of several fragments takes the ID of its first one.
    root = np.arange(len(ids))
    for p in np.argsort(start.frame, kind="stable"):
        if successor[p] >= 0:
            root[successor[p]] = root[p]
    table = np.zeros(int(ids[-1]) + 1, np.int32)
    table[ids] = ids[root]
    return renamed(track_id, table)


def _in_reach(ends: FloatArray, starts: FloatArray, reach: float) -> tuple[Rows, Rows]:
    """Return all pairs of an end and a start that lies after it, but at most `reach` frames."""
    order = np.argsort(starts, kind="stable")
    # Starts are sorted, so that the candidates of an end lie together: no matrix of all pairs.
    first = np.searchsorted(starts[order], ends, side="right")
    count = np.searchsorted(starts[order], ends + reach, side="right") - first
    a = np.repeat(np.arange(len(ends)), count)
    step = np.arange(len(a)) - np.repeat(np.cumsum(count) - count, count)
    return a, order[first[a] + step]


def _best_links(a: Rows, b: Rows, fit: FloatArray, n: int) -> Rows:
    """Return the successor of each of n tracks, -1 for none, that together fit best; each is a successor once.

    A sparse matching: a long clip has thousands of fragments, and each can reach a few.
    """
    # Imported here for the same reason as in `tasks.tracking.tracker.match`.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    # Column n + p means "p has no successor". Costs must not be 0, which would mean "no edge".
    nobody = np.arange(n)
    cost = np.concatenate([2 - fit.astype(np.float64), np.full(n, 2.0)])
    graph = coo_array((cost, (np.concatenate([a, nobody]), np.concatenate([b, n + nobody]))), shape=(n, 2 * n))
    rows, columns = min_weight_full_bipartite_matching(graph.tocsr())
    successor = np.full(n, -1)
    successor[rows] = np.where(columns < n, columns, -1)
    return successor


def _ends(poses: Poses, tracks: TrackRows, last: bool) -> _Ends:
    """Return the last or the first end of each track: a line through the box centres of `END_ROWS` rows."""
    near = np.minimum(np.diff(tracks.edges), END_ROWS)
    track = np.repeat(np.arange(len(near)), near)
    # How far each of these rows is from the end, in rows.
    step = np.arange(len(track)) - np.repeat(np.cumsum(near) - near, near)
    order = gathered(tracks.order, tracks.edges[1:][track] - 1 - step if last else tracks.edges[:-1][track] + step)
    bbox, frame = gathered(poses.bbox, order), gathered(poses.frame_index, order).astype(np.float64)
    outermost = step == 0
    centre = to_centre(bbox).astype(np.float64)
    count = np.bincount(track)
    mean_frame, mean_x, mean_y, size_x, size_y = (np.bincount(track, values) / count for values in (frame, *centre.T))
    mean = np.stack([mean_x, mean_y], axis=1)
    time = (frame - mean_frame[track])[:, None]
    moment = time * (centre[:, :2] - mean[track])
    spread = np.bincount(track, time[:, 0] ** 2)
    slope = np.stack([np.bincount(track, moment[:, k]) for k in (0, 1)], axis=1) / np.maximum(spread, 1e-9)[:, None]
    # Three rows or fewer say nothing about a velocity.
    sure = (count >= 4)[:, None]
    at = frame[outermost]
    velocity = np.where(sure, slope, 0)
    position = np.where(sure, mean + slope * (at - mean_frame)[:, None], to_centre(bbox[outermost])[:, :2])
    return _Ends(
        *(x.astype(np.float32) for x in (at, bbox[outermost], position, velocity, np.stack([size_x, size_y], axis=1)))
    )
