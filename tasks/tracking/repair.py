"""Repair of tracks after the walk through the clip, which is over and can be looked at as a whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tasks.records import FloatArray, IntArray, Poses, Tracks
from tasks.tracking.duplicates import pairs_within_frames
from tasks.tracking.kalman import to_centre
from tasks.tracking.similarity import SIGMAS, box_area, inside, iou, oks

Rows = npt.NDArray[np.intp]

MERGE_FIT = 0.45
MERGE_FRAMES = 3
LINK_GAP = 0.7  # seconds
LINK_COST = 1.0
END_ROWS = 6
DAMP = 0.6
FILL_GAP = 1.0


def merge_doubles(poses: Poses, track_id: IntArray) -> IntArray:
    """Give one ID to tracks that follow the same person at the same time; the better row of a frame stays."""
    for _ in range(4):
        fits, counts, a, b = _common(poses, track_id)
        good = (counts >= MERGE_FRAMES) & (fits >= MERGE_FIT)
        if not good.any():
            break
        fits, a, b = fits[good], a[good], b[good]
        used: set[int] = set()
        for k in np.argsort(-fits, kind="stable"):
            i, j = int(a[k]), int(b[k])
            if i in used or j in used:
                continue
            used |= {i, j}
            track_id = _join(poses, track_id, i, j)
    return track_id


def _common(poses, track_id):
    rows = np.flatnonzero(track_id)
    sub = poses.select(rows)
    ids = track_id[rows].astype(np.int64)
    key, fit = [], []
    for i, j in pairs_within_frames(sub.frame_index):
        key.append(np.minimum(ids[i], ids[j]) << 32 | np.maximum(ids[i], ids[j]))
        fit.append(double_fit(sub, i, j))
    if not key:
        return (np.zeros(0),) * 4
    key, fit = np.concatenate(key), np.concatenate(fit)
    pairs, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
    return np.bincount(inverse, fit, len(pairs)) / np.maximum(counts, 1), counts, pairs >> 32, pairs & 0xFFFFFFFF


def double_fit(poses: Poses, i: Rows, j: Rows) -> FloatArray:
    """How much two detections of a frame look like one person."""
    a, b = poses.bbox[i], poses.bbox[j]
    area = np.maximum(box_area(a), box_area(b))
    o = oks(poses.keypoints[i], poses.keypoint_scores[i], poses.keypoints[j], poses.keypoint_scores[j], area, 1.5)
    return np.maximum(iou(a, b), 0.5 * o + 0.5 * inside(a, b) * (o > 0.3))


def _join(poses, track_id, i, j):
    """One ID for two tracks; in frames of both the row of the longer track stays."""
    out = track_id.copy()
    ri, rj = np.flatnonzero(out == i), np.flatnonzero(out == j)
    if len(rj) > len(ri):
        ri, rj = rj, ri
    drop = np.isin(poses.frame_index[rj], poses.frame_index[ri])
    out[rj[drop]] = 0
    out[rj[~drop]] = out[ri[0]]
    return out


def link(poses: Poses, track_id: IntArray) -> IntArray:
    """Join fragments: the end of one and the start of a later one."""
    for _ in range(3):
        ids = np.unique(track_id[track_id > 0])
        if len(ids) < 2:
            return track_id
        first, last = _ends(poses, track_id, ids)
        gap = (first["frame"][None, :] - last["frame"][:, None]) / poses.fps
        ok = (gap > 0) & (gap <= LINK_GAP)
        size = np.sqrt(last["size"][:, None] * first["size"][None])
        move = np.minimum(gap, 0.25)[..., None] * poses.fps
        ahead = last["xy"][:, None] + DAMP * last["v"][:, None] * move
        back = first["xy"][None] - DAMP * first["v"][None] * move
        d1 = np.linalg.norm(ahead - first["xy"][None], axis=-1)
        d2 = np.linalg.norm(back - last["xy"][:, None], axis=-1)
        dist = (d1 + d2) / 2 / np.maximum(size, 1)
        ratio = np.abs(np.log(np.maximum(last["size"][:, None], 1) / np.maximum(first["size"][None], 1)))
        cost = dist / (0.25 + 0.4 * np.clip(gap, 0, None)) + ratio
        ok &= cost < LINK_COST
        if not ok.any():
            return track_id
        r, c = linear_sum_assignment(np.where(ok, cost - LINK_COST, 0))
        good = ok[r, c]
        r, c = r[good], c[good]
        parent = np.arange(len(ids))
        for x, y in sorted(zip(r, c), key=lambda p: first["frame"][p[1]]):
            parent[y] = parent[x]
        table = np.zeros(int(track_id.max()) + 1, np.int32)
        table[ids] = ids[parent]
        track_id = table[track_id]
    return track_id


def _ends(poses, track_id, ids):
    """Position, velocity and size at both ends."""
    box = to_centre(poses.bbox)
    out = []
    for side in (0, 1):
        d = {k: [] for k in ("frame", "xy", "v", "size")}
        for t in ids:
            rows = np.flatnonzero(track_id == t)
            rows = rows[:END_ROWS] if side == 0 else rows[-END_ROWS:]
            f = poses.frame_index[rows].astype(float)
            xy = box[rows, :2].astype(float)
            fc = f - f.mean()
            v = (fc[:, None] * (xy - xy.mean(0))).sum(0) / (fc**2).sum() if len(rows) >= 4 else np.zeros(2)
            e = 0 if side == 0 else -1
            d["frame"].append(f[e])
            d["xy"].append(xy.mean(0) + v * (f[e] - f.mean()) if len(rows) >= 4 else xy[e])
            d["v"].append(v)
            d["size"].append(np.median(box[rows, 3]))
        out.append({k: np.array(v) for k, v in d.items()})
    return out


def drop_ghosts(poses, track_id, high, hits):
    strong = np.bincount(track_id, weights=poses.score >= high, minlength=1)
    out = track_id.copy()
    out[strong[track_id] < hits] = 0
    return out


def fill(poses: Poses, track_id: IntArray) -> Tracks:
    """Fill gaps by interpolation."""
    order = np.lexsort((poses.frame_index, track_id))
    order = order[track_id[order] > 0]
    i, f = track_id[order], poses.frame_index[order]
    gap = np.where(i[1:] == i[:-1], f[1:] - f[:-1] - 1, 0)
    gap[gap > round(FILL_GAP * poses.fps)] = 0
    k = np.repeat(np.arange(len(gap)), gap)
    step = np.arange(len(k)) - np.repeat(np.cumsum(gap) - gap, gap) + 1
    w = (step / (gap[k] + 1)).astype(np.float32)
    a, b = order[k], order[k + 1] if len(order) else order[k]
    mix = lambda x: x[a] + (x[b] - x[a]) * w.reshape(-1, *[1] * (x.ndim - 1))
    frame = np.concatenate([poses.frame_index[order], poses.frame_index[a] + step.astype(np.int32)])
    parts = [np.concatenate([x[order], y]) for x, y in (
        (poses.bbox, mix(poses.bbox)), (poses.score, 0.5 * np.minimum(poses.score[a], poses.score[b])),
        (poses.keypoints, mix(poses.keypoints)), (poses.keypoint_scores, 0.5 * np.minimum(poses.keypoint_scores[a], poses.keypoint_scores[b])))]
    ids = np.concatenate([i, track_id[a]])
    filled = np.arange(len(ids)) >= len(order)
    o = np.lexsort((ids, frame))
    return Tracks(Poses(frame[o].astype(np.int32), *[p[o] for p in parts], poses.frame_count, poses.width, poses.height, poses.fps), ids[o].astype(np.int32), filled[o])
