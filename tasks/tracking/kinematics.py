"""How people move, in body sizes per second, whatever the resolution, the frame rate and the distance to the camera.

Everything works on one flat table of rows sorted by track and frame (no padding: memory grows with the rows, not with
people times frames) and is vectorised over all rows. Rows that were estimated inside gaps (`Tracks.filled`) are no
evidence of motion: a displacement counts only between two rows that the model saw.

Displacements span a fixed time (`MOTION_SPAN`), not one frame: the jitter of a pose model is the same for every pair of
frames, so that per-frame speeds would grow with the frame rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tasks.core.records import BoolArray, IntArray, Tracks
from tasks.core.records.scratch import blocks, let_go
from tasks.tracking.track_rows import rows_by_track

FALLBACK_FPS = 25.0
"""Frames per second where the clip states none; the value that `VideoInfo` uses as well."""

MOTION_SPAN = 0.2
"""Seconds over which a displacement is taken, at least one frame. Half as long orders real clips alike, but lets the
jitter of a pose model weigh twice as much."""

TYPICAL_LIMB_SPEED = 0.4
"""Limb speed, body sizes per second, that scores 0.5 as movement."""

MAX_LIMB_SPEED = 5.0
"""Body sizes per second. A fist reaches this; what is faster is a joint that the pose model put elsewhere."""

MIN_JOINTS = 3
"""Fewer shared joints than this say nothing about how a body moved."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackTable:
    """The rows of `Tracks`, sorted by track and then by frame.

    Attributes
    ----------
    ids
        (P,) int32, distinct track IDs, ascending.
    track
        (N,) int64, position of each row's track in `ids`; ascending.
    frame
        (N,) int64, frame index of each row; ascending within a track.
    seen
        (N,) bool, False where the row was estimated inside a gap.
    bbox
        (N, 4) float64, x1, y1, x2, y2 in pixels, corners in order.
    keypoints
        (N, 17, 2) float64, pixels.
    present
        (N, 17) bool, True where a joint was seen: a row that was seen, and a joint score above 0.
    joint_score
        (N, 17) float64, the pose model's joint scores.
    size
        (N,) float64, body size in pixels, see `body_size`; above 0.
    fps
        Frames per second, `FALLBACK_FPS` where unknown.
    width, height
        Frame size in pixels, at least 1.
    times
        (T,) seconds of each frame of a clip of variable rate; None where the rate is constant.
    """

    ids: IntArray
    track: npt.NDArray[np.int64]
    frame: npt.NDArray[np.int64]
    seen: BoolArray
    bbox: npt.NDArray[np.float64]
    keypoints: npt.NDArray[np.float64]
    present: BoolArray
    joint_score: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]
    fps: float
    width: int
    height: int
    times: npt.NDArray[np.float64] | None = None

    @property
    def centre(self) -> npt.NDArray[np.float64]:
        """Box centres, (N, 2) pixels."""
        return (self.bbox[:, :2] + self.bbox[:, 2:]) / 2

    @property
    def area(self) -> npt.NDArray[np.float64]:
        """Box areas, (N,) square pixels, at least 1."""
        return np.maximum((self.bbox[:, 2:] - self.bbox[:, :2]).prod(1), 1.0)

    @property
    def span(self) -> int:
        """Number of frames that `MOTION_SPAN` makes at this frame rate, at least 1."""
        return max(1, round(MOTION_SPAN * self.fps))

    def before(self) -> npt.NDArray[np.int64]:
        """Row of the same track `MOTION_SPAN` earlier, (N,); -1 without one."""
        if self.times is None:
            return self.earlier(self.span)
        return self.earlier(_frames_back(self.times)[self.frame])

    def per_second(self, before: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | float:
        """Return what turns displacements since the rows `before` into speeds: a factor for all, or (N, 1, 1)."""
        if self.times is None:
            return self.fps / self.span
        passed = self.times[self.frame] - self.times[self.frame[before]]
        # Rows without an earlier one take part in nothing.
        return (1 / np.where(before >= 0, np.maximum(passed, 1e-6), 1.0))[:, None, None]

    def mean(self, values: npt.NDArray, rows: BoolArray | None = None) -> npt.NDArray[np.float64]:
        """Mean of a value per track over some rows, (P,); 0 for a track without such rows."""
        track, picked = (self.track, values) if rows is None else (self.track[rows], values[rows])
        count = np.bincount(track, minlength=len(self.ids))
        total = np.bincount(track, weights=picked, minlength=len(self.ids))
        return total / np.maximum(count, 1)

    def quantile(self, values: npt.NDArray, share: float, rows: BoolArray | None = None) -> npt.NDArray:
        """Quantile (lower neighbour, no interpolation) of a value per track over some rows, (P,); 0 without rows."""
        track, picked = (self.track, values) if rows is None else (self.track[rows], values[rows])
        order = np.lexsort((picked, track))
        count = np.bincount(track, minlength=len(self.ids))
        first = np.concatenate([[0], np.cumsum(count)[:-1]])
        at = first + np.floor(share * np.maximum(count - 1, 0)).astype(np.int64)
        found = count > 0
        out = np.zeros(len(self.ids))
        out[found] = picked[order][at[found]]
        return out

    def earlier(self, frames: int | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Row of the same track exactly `frames` frames earlier (later where negative), (N,); -1 without one."""
        if not len(self.track):
            return np.zeros(0, np.int64)
        # One ascending key per row: tracks lie further apart than any two frames of one track.
        last = int(self.frame.max())
        key = self.track * (last + 1) + self.frame
        wanted = key - frames
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        inside = (self.frame >= frames) & (self.frame - frames <= last)
        return np.where(inside & (key[at] == wanted), at, -1)


def _frames_back(times: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return how many frames lie between each frame and the one `MOTION_SPAN` before it, (T,), by their times."""
    # The frame whose time is nearest to the one wanted, and never the row's own.
    middle = (times[1:] + times[:-1]) / 2
    frame = np.arange(len(times))
    return frame - np.minimum(np.searchsorted(middle, times - MOTION_SPAN), frame - 1)


def tabulate(tracks: Tracks) -> TrackTable:
    """Sort the rows of the tracks by track and frame, and mend what a camera or model may leave odd.

    Parameters
    ----------
    tracks
        People followed through a clip; may be empty.

    Returns
    -------
    The table that all measures of motion work on.
    """
    poses = tracks.poses
    rows = rows_by_track(tracks.track_id)
    order = rows.order
    track = rows.tracks_at(slice(0, len(order)))
    bbox = poses.bbox[order].astype(np.float64)
    # Some models give boxes with their corners exchanged.
    bbox = np.concatenate([np.minimum(bbox[:, :2], bbox[:, 2:]), np.maximum(bbox[:, :2], bbox[:, 2:])], axis=1)
    seen = ~tracks.filled[order]
    scores = poses.keypoint_scores[order].astype(np.float64)
    fps = float(poses.fps)
    return TrackTable(
        ids=rows.ids,
        track=track,
        frame=poses.frame_index[order].astype(np.int64),
        seen=seen,
        bbox=bbox,
        keypoints=poses.keypoints[order].astype(np.float64),
        present=(scores > 0) & seen[:, None],
        joint_score=scores,
        size=body_size(bbox, track, len(rows.ids)),
        fps=fps if np.isfinite(fps) and fps > 0 else FALLBACK_FPS,
        width=max(int(poses.width), 1),
        height=max(int(poses.height), 1),
        times=poses.times,
    )


def body_size(bbox: npt.NDArray, track: npt.NDArray, tracks: int) -> npt.NDArray[np.float64]:
    """Body size per row in pixels: the box diagonal, drawn half way (geometrically) to the track's mean.

    The diagonal hardly changes when a person falls, where height does. A single row's box is noisy (an arm thrown
    out, half a body hidden), the track's mean alone would miss a person who walks up to the camera.

    Parameters
    ----------
    bbox
        (N, 4) pixels, corners in any order.
    track
        (N,) index of each row's track.
    tracks
        Number of tracks.

    Returns
    -------
    (N,) sizes, at least 1 pixel.
    """
    log_size = _log_diagonal(bbox)
    count = np.maximum(np.bincount(track, minlength=tracks), 1)
    mean = np.bincount(track, weights=log_size, minlength=tracks) / count
    return _drawn_to(mean[track], log_size)


def _log_diagonal(bbox: npt.NDArray) -> npt.NDArray[np.float64]:
    """Return the logarithm of each box's diagonal, (N,): twice as large weighs as much as half as large."""
    box = bbox.astype(np.float64)
    return np.log(np.maximum(np.hypot(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]), 1.0))


def _drawn_to(mean: npt.NDArray[np.float64], log_size: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the size half way, geometrically, between that of a row and its track's mean, both as logarithms."""
    return np.exp((log_size + mean) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Motion of each row since the row before it (`TrackTable.before`).

    Attributes
    ----------
    known
        (N,) bool, True where both rows were seen and share at least `MIN_JOINTS` joints.
    joint_velocity
        (N, 17, 2) float64, body sizes per second; 0 where a joint is missing in either row.
    shared
        (N, 17) bool, joints present in both rows.
    body_velocity
        (N, 2) float64, median joint velocity: where the person goes, robust to a few swapped joints.
    limb_speed
        (N,) float64, speed of the joints relative to the body, body sizes per second: the mean weighted by joint
        scores, each joint's speed cut at `MAX_LIMB_SPEED` (swapped joints jump).
    """

    known: BoolArray
    joint_velocity: npt.NDArray[np.float64]
    shared: BoolArray
    body_velocity: npt.NDArray[np.float64]
    limb_speed: npt.NDArray[np.float64]


def measure_motion(table: TrackTable) -> Motion:
    """Measure how every row's joints moved over the last `MOTION_SPAN` seconds.

    Parameters
    ----------
    table
        Rows of all tracks.

    Returns
    -------
    Velocities in body sizes per second.
    """
    before = table.before()
    paired = before >= 0
    shared = table.present & table.present[before] & paired[:, None]
    known = shared.sum(1) >= MIN_JOINTS
    shared &= known[:, None]
    # Rows without an earlier one (-1) read the last row here; `shared` drops the result.
    step = (table.keypoints - table.keypoints[before]) * table.per_second(before)
    velocity = np.where(shared[..., None], step / table.size[:, None, None], 0.0)
    # Subtracted below, so that walking past is no movement of the limbs.
    body = masked_quantile(velocity.transpose(0, 2, 1), shared[:, None, :], 0.5)
    relative = np.minimum(np.linalg.norm(velocity - body[:, None], axis=-1), MAX_LIMB_SPEED)
    # A joint that the model hardly sees jitters most and tells least.
    weight = np.where(shared, table.joint_score, 0.0)
    limb_speed = (relative * weight).sum(1) / np.maximum(weight.sum(1), np.finfo(float).tiny)
    return Motion(known, velocity, shared, body, limb_speed)


def masked_quantile(values: npt.NDArray, mask: npt.NDArray, share: float) -> npt.NDArray[np.float64]:
    """Quantile over the last axis of the values under a mask (mean of both neighbours); 0 where nothing is under it."""
    mask = np.broadcast_to(mask, values.shape)
    ordered = np.sort(np.where(mask, values, np.inf), axis=-1)
    at = share * np.maximum(mask.sum(-1) - 1, 0)
    low = np.take_along_axis(ordered, np.floor(at).astype(np.int64)[..., None], -1)[..., 0]
    high = np.take_along_axis(ordered, np.ceil(at).astype(np.int64)[..., None], -1)[..., 0]
    # Where nothing is under the mask both neighbours are infinite; they are replaced before they are added.
    some = mask.any(-1)
    return (np.where(some, low, 0.0) + np.where(some, high, 0.0)) / 2


def burst_share(tracks: Tracks) -> npt.NDArray[np.float64]:
    """Movement of the earlier scripts: per frame pair the share of joints faster than mean + 2 std, averaged.

    Mean and standard deviation are those of the pair's joint displacements in pixels, and every row counts, estimated
    ones too. Kept for the `seed` scorer only: it measures how unevenly a body moves, not how much.

    Parameters
    ----------
    tracks
        People followed through the clip; may be empty.

    Returns
    -------
    (P,) shares in [0, 1], in the order of ascending IDs; 0 for a track of one row.
    """
    return _mean_in_blocks(tracks, 1, _bursts)


def _bursts(table: TrackTable) -> tuple[npt.NDArray[np.float64], BoolArray]:
    """Return the share of joints that burst into motion in each row, (N,), and which rows have one before them."""
    second = np.flatnonzero(np.diff(table.track, prepend=-1) == 0)
    joints = (table.joint_score[second] > 0) & (table.joint_score[second - 1] > 0)
    step = np.linalg.norm(table.keypoints[second] - table.keypoints[second - 1], axis=-1)
    count = np.maximum(joints.sum(1), 1)
    mean = np.where(joints, step, 0.0).sum(1) / count
    spread = np.sqrt(np.where(joints, (step - mean[:, None]) ** 2, 0.0).sum(1) / count)
    fast = joints & (step > (mean + 2 * spread)[:, None])
    share = np.zeros(len(table.track))
    share[second] = fast.sum(1) / count
    paired = np.zeros(len(table.track), bool)
    paired[second] = True
    return share, paired


def movement(tracks: Tracks) -> npt.NDArray[np.float64]:
    """How much each person's limbs move: mean limb speed v, as v / (v + `TYPICAL_LIMB_SPEED`).

    Parameters
    ----------
    tracks
        People followed through the clip; may be empty.

    Returns
    -------
    (P,) in [0, 1), in the order of ascending IDs; 0 where no motion is known.
    """
    empty = tabulate(tracks.select(np.zeros(0, np.intp)))
    reach = empty.span if empty.times is None else int(_frames_back(empty.times).max(initial=0))

    def limb_speed(table: TrackTable) -> tuple[npt.NDArray[np.float64], BoolArray]:
        """Return the limb speed of each row, and where it is known."""
        motion = measure_motion(table)
        return motion.limb_speed, motion.known

    mean = _mean_in_blocks(tracks, reach, limb_speed)
    return mean / (mean + TYPICAL_LIMB_SPEED)


def _mean_in_blocks(
    tracks: Tracks, reach: int, measure: Callable[[TrackTable], tuple[npt.NDArray[np.float64], BoolArray]]
) -> npt.NDArray[np.float64]:
    """Return the mean of a measure over the rows of each track, (P,); 0 for a track without a row that counts.

    Measured in blocks of rows: the table of a long clip takes ten times the memory of its tracks.

    Parameters
    ----------
    tracks
        People followed through the clip.
    reach
        How many rows before a row of the same track its measure depends on.
    measure
        Gives the measure of each row of a table, and which rows count.
    """
    # In the order of `tabulate`.
    rows = rows_by_track(tracks.track_id)
    order = rows.order
    # The size of a row takes the whole track's mean, also where a block holds a part of the track.
    mean_size = np.zeros(len(rows.ids))
    for part in blocks(len(order)):
        np.add.at(mean_size, rows.tracks_at(part), _log_diagonal(tracks.poses.bbox[order[part]]))
        let_go(tracks.poses.bbox, order)
    mean_size /= np.diff(rows.edges)
    count, total = np.zeros((2, len(rows.ids)))
    for part in blocks(len(order)):
        first = max(part.start - reach, 0)
        table = tabulate(tracks.select(np.sort(order[first : part.stop])))
        track = rows.tracks_at(slice(first, part.stop))
        values, counts = measure(replace(table, size=_drawn_to(mean_size[track], _log_diagonal(table.bbox))))
        # The rows before the block were measured with the block before.
        own = slice(part.start - first, None)
        np.add.at(count, track[own][counts[own]], 1)
        np.add.at(total, track[own][counts[own]], values[own][counts[own]])
        tracks.let_go()
        let_go(order)
    return total / np.maximum(count, 1)
