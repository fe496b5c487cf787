"""Repair of tracks once the whole clip is known: doubles become one track, fragments are joined, ghosts go, gaps close.

The order matters. Tracks that follow one person at the same time are merged first, because one of them often lives on
where the other ends. What ends and begins elsewhere is linked next. Only then is judged whether a track has enough
evidence, and only what is kept is filled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import box_area, inside, iou, pairs_within_frames
from tasks.core.records import FloatArray, IntArray, Poses, Tracks
from tasks.core.records.scratch import blocks, built, let_go
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.tracking.duplicates import likeness
from tasks.tracking.kalman import to_centre, to_corners

MERGE_FRAMES = 3
"""Common frames needed to tell."""

LINK_IOU_BOXES = 0.5
"""Least overlap of a fragment's end and the next one's start, both carried on through the gap, in clips without any
joints: boxes alone say less about who somebody is. With joints it is a setting, `link_overlap`."""

END_ROWS = 10
"""Rows at the end of a fragment from which its velocity is read."""

CARRY = 0.25
"""Seconds for which a fragment's velocity is believed to last."""

STILL = 0.07
"""Joints that move about by less than this, in sizes of the box, keep their places: people sway more."""

FAINT = 0.4
"""A track is nobody if less than a tenth of its detections reach this share of a person's score."""

STILL_ROWS = 5
"""Detections that must show a joint before it is judged."""

SEEN_JOINT = 0.1
"""Score above which a joint was seen."""

PART_INSIDE, PART_AREA = 0.7, 0.6
"""A limb lies within its person's box by this share, and is at most so large."""

PART_TIME, PART_SCORE = 0.7, 0.7
"""For this share of its frames, and with this share of the person's mean score at most."""

FILL_SURE = 0.3
"""Gaps up to this many seconds are filled wherever the person went."""

FILL_IOU = 0.3
"""Overlap of the boxes before and after a gap from which on the person stayed."""

FILLED_SCORE = 0.5
"""Scores of filled rows, as a share of the lower of the two scores that enclose them."""

Rows = npt.NDArray[np.intp]


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
        track_id = track_id.copy()
        merged: set[int] = set()
        # Once a round, with the one it is most like: chains would join two people through a third box.
        for k in np.flatnonzero(good)[np.argsort(-fits[good], kind="stable")]:
            pair = {int(a[k]), int(b[k])}
            if not pair & merged:
                merged |= pair
                _merge(poses, track_id, *sorted(pair))


def _common_likeness(poses: Poses, track_id: IntArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Return for all pairs of tracks with enough common frames their mean likeness there and their IDs."""
    rows = np.flatnonzero(track_id)
    ids = track_id[rows].astype(np.int64)
    pairs: npt.NDArray[np.int64] = np.zeros(0, np.int64)
    counts: npt.NDArray[Any] = np.zeros(0)
    total: npt.NDArray[Any] = np.zeros(0)
    for i, j in pairs_within_frames(poses.frame_index[rows]):
        # Both IDs in one number, so that one call of unique finds the pairs of tracks.
        keys = np.minimum(ids[i], ids[j]) << 32 | np.maximum(ids[i], ids[j])
        # In parts: a pair takes a kilobyte on the way.
        fits = np.concatenate([likeness(poses, rows[i[part]], rows[j[part]]) for part in blocks(len(i))])
        # Added to the sums so far: the pairs of all frames of a long clip take more memory than its rows.
        pairs, inverse = np.unique(np.concatenate([pairs, keys]), return_inverse=True)
        counts = np.bincount(inverse, np.concatenate([counts, np.ones(len(keys))]), len(pairs))
        total = np.bincount(inverse, np.concatenate([total, fits]), len(pairs))
        let_go(poses.keypoints, poses.keypoint_scores)
    mean = total / np.maximum(counts, 1)
    enough = counts >= MERGE_FRAMES
    pairs = pairs[enough]
    return mean[enough].astype(np.float32), (pairs >> 32).astype(np.int32), (pairs & 0xFFFFFFFF).astype(np.int32)


def _merge(poses: Poses, track_id: IntArray, first: int, second: int) -> None:
    """Give the longer track's ID to both, in place."""
    longer, shorter = np.flatnonzero(track_id == first), np.flatnonzero(track_id == second)
    if len(shorter) > len(longer):
        longer, shorter = shorter, longer
    taken = np.isin(poses.frame_index[shorter], poses.frame_index[longer])
    track_id[shorter] = np.where(taken, 0, track_id[longer[0]])


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
    ids = np.unique(track_id[track_id > 0])
    if len(ids) < 2:
        return track_id
    start, end = _ends(poses, track_id, ids, last=False), _ends(poses, track_id, ids, last=True)
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
    return table[track_id]


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


def _ends(poses: Poses, track_id: IntArray, ids: IntArray, last: bool) -> _Ends:
    """Return the last or the first end of each track: a line through the box centres of `END_ROWS` rows."""
    order = np.lexsort((poses.frame_index * (-1 if last else 1), track_id))
    # ID 0, which is no track, sorts first and is left out.
    order = order[np.searchsorted(track_id[order], 1) :]
    track = np.searchsorted(ids, track_id[order])
    first = np.searchsorted(track, np.arange(len(ids)))
    near = np.arange(len(order)) - first[track] < END_ROWS
    end = order[first]
    order, track = order[near], track[near]
    centre = to_centre(poses.bbox[order]).astype(np.float64)
    frame = poses.frame_index[order].astype(np.float64)
    count = np.bincount(track)
    mean_frame, mean_x, mean_y, size_x, size_y = (np.bincount(track, values) / count for values in (frame, *centre.T))
    mean = np.stack([mean_x, mean_y], axis=1)
    time = (frame - mean_frame[track])[:, None]
    moment = time * (centre[:, :2] - mean[track])
    spread = np.bincount(track, time[:, 0] ** 2)
    slope = np.stack([np.bincount(track, moment[:, k]) for k in (0, 1)], axis=1) / np.maximum(spread, 1e-9)[:, None]
    # Three rows or fewer say nothing about a velocity.
    sure = (count >= 4)[:, None]
    at = poses.frame_index[end].astype(np.float64)
    velocity = np.where(sure, slope, 0)
    position = np.where(sure, mean + slope * (at - mean_frame)[:, None], to_centre(poses.bbox[end])[:, :2])
    return _Ends(
        *(x.astype(np.float32) for x in (at, poses.bbox[end], position, velocity, np.stack([size_x, size_y], axis=1)))
    )


def drop_ghosts(poses: Poses, track_id: IntArray, high: float, hits: int) -> IntArray:
    """Return the IDs without those of tracks that have fewer than `hits` detections of a score of at least `high`."""
    strong = np.bincount(track_id, poses.score >= high, minlength=1)
    return np.where(strong[track_id] >= hits, track_id, 0).astype(np.int32)


def drop_still(poses: Poses, track_id: IntArray, score: float) -> IntArray:
    """Return the IDs without those of things: tracks whose joints keep their places, and that never score well.

    A coat or a chair looks the same in every frame, and so does what the model sees in it. A person at rest
    sways, and is seen well at times. How much a track moves is the median over its joints of the standard deviation
    of their places, in sizes of its box. What is hardly seen at all is nobody, moving or not: noise makes it move.

    Parameters
    ----------
    poses, track_id
        Detections and their tracks, 0 for none.
    score
        A track in which a tenth of the detections scores this much is a person, moving or not.
    """
    order = np.lexsort((poses.frame_index, track_id))
    order = order[np.searchsorted(track_id[order], 1) :]
    if not len(order):
        return track_id
    ids, first = np.unique(track_id[order], return_index=True)
    things = []
    for track, rows in zip(ids, np.split(order, first[1:]), strict=True):
        best = float(np.percentile(poses.score[rows], 90))
        # The better it is seen, the more must a thing keep its place.
        if best < FAINT * score or (best < score and _sway(poses, rows) < STILL * score / max(best, 1e-6)):
            things.append(track)
    return np.where(np.isin(track_id, things), 0, track_id).astype(np.int32)


def _sway(poses: Poses, rows: Rows) -> float:
    """Return how much the joints of a track move about, in sizes of its box."""
    # Block by block: a coat hangs in every frame of ten hours.
    parts = [rows[part] for part in blocks(len(rows))]
    count = sum((poses.keypoint_scores[part] > SEEN_JOINT).sum(axis=0) for part in parts)

    def mean_of(values: Callable[[Rows], npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """Return the mean (17, 2) of values (K, 17, 2) of rows over those that show the joint."""
        total = np.zeros((NUM_KEYPOINTS, 2))
        for part in parts:
            weight = (poses.keypoint_scores[part] > SEEN_JOINT) / np.maximum(count, 1)
            total += (values(part) * weight[..., None]).sum(axis=0)
            let_go(poses.keypoints, poses.keypoint_scores)
        return total

    mean = mean_of(lambda part: poses.keypoints[part])
    spread = np.sqrt(mean_of(lambda part: (poses.keypoints[part] - mean) ** 2).sum(axis=1))
    size = float(np.sqrt(np.median(box_area(poses.bbox[rows]))))
    # Clips without joints tell nothing: nobody in them is a thing. The same holds for joints that were hardly seen.
    known = spread[count >= STILL_ROWS]
    return float(np.median(known)) / max(size, 1.0) if len(known) else np.inf


def drop_parts(poses: Poses, track_id: IntArray) -> IntArray:
    """Return the IDs without those of limbs: tracks that lie within a far larger and surer one nearly all the time."""
    rows = np.flatnonzero(track_id)
    bbox, ids = poses.bbox[rows], track_id[rows].astype(np.int64)
    area = box_area(bbox)
    keys: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for i, j in pairs_within_frames(poses.frame_index[rows]):
        small, large = np.where(area[i] < area[j], i, j), np.where(area[i] < area[j], j, i)
        part = (area[small] < PART_AREA * area[large]) & (inside(bbox[small], bbox[large]) > PART_INSIDE)
        keys.append(ids[small[part]] << 32 | ids[large[part]])
    # Both IDs are in one number: one call counts the frames of every pair.
    pairs, common = np.unique(np.concatenate(keys), return_counts=True)
    length = np.bincount(track_id)
    mean = np.bincount(track_id, poses.score) / np.maximum(length, 1)
    small, large = pairs >> 32, pairs & 0xFFFFFFFF
    parts = small[(common >= PART_TIME * length[small]) & (mean[small] < PART_SCORE * mean[large])]
    return np.where(np.isin(track_id, parts), 0, track_id).astype(np.int32)


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
    order = np.lexsort((poses.frame_index, track_id))
    order = order[np.searchsorted(track_id[order], 1) :]
    ids, frame = track_id[order], poses.frame_index[order]
    # Frames missing between two rows of one person; the next row may be another person's.
    gap = np.where(ids[1:] == ids[:-1], np.diff(frame) - 1, 0)
    stayed = iou(poses.bbox[order[1:]], poses.bbox[order[:-1]]) >= FILL_IOU
    most = round(seconds * poses.fps)
    gap[gap > np.where(stayed, most, min(most, round(FILL_SURE * poses.fps)))] = 0
    # One entry per filled row: the gap that it is in, and its place in that gap.
    at = np.repeat(np.arange(len(gap)), gap)
    step = np.arange(len(at)) - np.repeat(np.cumsum(gap) - gap, gap) + 1
    share = (step / (gap[at] + 1)).astype(np.float32)
    before, after = order[:-1][at], order[1:][at]

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
            real = wanted < len(order)
            out = np.empty((len(wanted), *values.shape[1:]), values.dtype)
            out[real] = values[order[wanted[real]]]
            out[~real] = estimate(values, wanted[~real] - len(order))
            return out

        return built(values, len(rows), part)

    frames = np.concatenate([frame, (poses.frame_index[before] + step).astype(np.int32)])
    person = np.concatenate([ids, track_id[before]])
    rows = np.lexsort((person, frames))
    filled = replace(
        poses,
        frame_index=frames[rows],
        bbox=joined(poses.bbox, between),
        score=joined(poses.score, lowered),
        keypoints=joined(poses.keypoints, between),
        keypoint_scores=joined(poses.keypoint_scores, lowered),
    )
    # Estimated rows were appended after the real ones: their places tell them.
    return Tracks(filled, person[rows], rows >= len(order))
