"""Tracking: `Poses` in, `Tracks` out.

Detections are followed through the clip by box and pose (`tracker`). Then the tracks are repaired with the whole clip
in view (`repair`, `cleaning`, `gaps`), and their boxes are smoothed (`smoothing`). The trackers of the package
`trackers` (`baselines`) can take the place of all that. Code that shows or stores boxes first cuts them at the person
in front (`occlusion`); the ranking goes by whole bodies.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.core.choices import Tracker
from tasks.core.geometry import box_area
from tasks.core.records import IntArray, Poses, Tracks
from tasks.core.records.scratch import blocks, blocks_of_frames, let_go, new_column, summed
from tasks.core.settings import TrackingSettings
from tasks.tracking.baselines import follow_published
from tasks.tracking.cleaning import drop_ghosts, drop_parts, drop_still
from tasks.tracking.duplicates import find_doubles
from tasks.tracking.gaps import fill_gaps
from tasks.tracking.repair import link_fragments, merge_doubles
from tasks.tracking.smoothing import smooth_boxes
from tasks.tracking.track_rows import only_tracks, renamed, rows_by_track
from tasks.tracking.tracker import Follower

__all__ = ["best_first", "follow_people", "repair_tracks", "track_people"]

STRONG_PER_HIT = 3
"""Detections of high score that a track needs, for each of `track_min_hits`: ghosts reach a few, people many."""


def track_people(poses: Poses, settings: TrackingSettings) -> Tracks:
    """Follow the people of a clip.

    The result does not depend on the order of the detections within a frame, and no state outlives the call. Detections
    with a box of no area are ignored. (Those that are not finite never get here: `Poses` refuses them.)

    Parameters
    ----------
    poses
        Detections of one clip.
    settings
        With resolved thresholds; while `track_still_thresh` is open, nobody is taken for a thing.
        `track_max_disappeared` counts frames of 1/30 s, whatever the clip's frame rate.

    Returns
    -------
    The people seen in at least `track_min_hits` frames, sorted by frame, then by track ID; IDs count from 1 in the
    order of first appearance. Our own tracker also fills short gaps (`Tracks.filled`), smooths the boxes over time and
    leaves out limbs, things, and tracks with fewer than 3 x `track_min_hits` detections (in shorter clips: one in every
    frame) of at least `track_high_thresh`; the others have their own rules.

    Raises
    ------
    ValueError
        If a threshold is still open.
    FightposeError
        If another tracker is asked for and its package is not installed.
    """
    if settings.track_high_thresh is None or settings.track_low_thresh is None:
        raise ValueError("the thresholds are open: call Settings.resolve first")
    poses = best_first(poses)
    if settings.tracker is Tracker.FIGHTPOSE:
        return repair_tracks(poses, follow_people(poses, settings), settings)
    track_id = follow_published(poses, settings.tracker, settings.track_max_disappeared)
    track_id = _without_short(track_id, settings.track_min_hits)
    rows = np.flatnonzero(track_id)
    return _renumbered(Tracks(poses.select(rows), track_id[rows], np.zeros(len(rows), bool)))


def follow_people(poses: Poses, settings: TrackingSettings) -> IntArray:
    """Return the track ID of each detection, (N,) with 0 for none, as our tracker gives it frame by frame.

    This is most of the time that tracking takes. `fightpose tune` runs it once for all settings that only
    `repair_tracks` reads.

    Parameters
    ----------
    poses
        Rows of a frame are sorted best first, see `best_first`.
    settings
        With resolved thresholds; `track_high_thresh`, `track_low_thresh`, `track_max_disappeared` and `duplicate_oks`
        are read.
    """
    high, low = settings.track_high_thresh or 0.0, settings.track_low_thresh or 0.0
    # The setting counts frames of 1/30 s: how long a lost person is waited for must not depend on the frame rate.
    patience = round(settings.track_max_disappeared * poses.fps / 30)
    return Follower(poses, find_doubles(poses, settings.duplicate_oks), high, low, patience).run()


def repair_tracks(poses: Poses, track_id: IntArray, settings: TrackingSettings) -> Tracks:
    """Return what is left of the IDs of `follow_people` once the whole clip is known: repaired, filled, smoothed."""
    track_id = merge_doubles(poses, track_id, settings.merge_similarity)
    track_id = link_fragments(poses, track_id, settings.link_overlap, settings.link_seconds)
    # Nobody is seen more often than the clip has frames.
    strong = min(STRONG_PER_HIT * settings.track_min_hits, poses.frame_count)
    track_id = drop_ghosts(poses, track_id, settings.track_high_thresh or 0.0, strong)
    track_id = drop_still(poses, drop_parts(poses, track_id), settings.track_still_thresh or 0)
    tracks = fill_gaps(poses, _without_short(track_id, settings.track_min_hits), settings.fill_seconds)
    return _renumbered(smooth_boxes(tracks, settings.smoothing_seconds))


def best_first(poses: Poses) -> Poses:
    """Return the detections that have an area, by frame, the best of a frame first."""
    return poses.select(_best_first(poses))


def _best_first(poses: Poses) -> npt.NDArray[np.intp]:
    """Return the rows that have an area, by frame, the best of a frame first, in an order that only content decides.

    Best is the highest score times the square root of the area: of a whole body and its upper half, both found by a
    model that looks at tiles, the half often has the higher score.
    """
    size = 0
    for part in blocks(len(poses)):
        size += int(np.count_nonzero(box_area(poses.bbox[part]) > 0))
        let_go(poses.bbox)
    best = new_column(poses.frame_index, size, np.intp)
    count = 0
    # No row leaves its frame: a sort of all rows by eight keys takes more memory than the rows.
    for part in blocks_of_frames(poses.frame_index):
        bbox, score = poses.bbox[part], poses.score[part]
        area = box_area(bbox)
        value = score * np.sqrt(area)
        # The last keys only break ties between equal detections.
        ties = (poses.keypoint_scores[part].sum(1), poses.keypoints[part].sum((1, 2)), *bbox.T, score)
        order = np.lexsort((*ties, -value, poses.frame_index[part]))
        found = order[area[order] > 0]
        best[count : count + len(found)] = part.start + found
        count += len(found)
        poses.let_go()
        let_go(best)
    return best


def _without_short(track_id: IntArray, hits: int) -> IntArray:
    """Return the IDs without those of tracks of fewer than `hits` detections."""
    return only_tracks(track_id, summed(track_id, lambda _: 1) >= hits)


def _renumbered(tracks: Tracks) -> Tracks:
    """Return the tracks with IDs from 1 in the order of first appearance, rows sorted by frame, then by ID."""
    rows = rows_by_track(tracks.track_id)
    rank = np.zeros(int(rows.ids.max(initial=0)) + 1, np.int32)
    # Rows are sorted by frame, so that the first row of an ID tells when it appeared.
    rank[rows.ids[np.argsort(rows.order[rows.edges[:-1]])]] = np.arange(1, len(rows.ids) + 1)
    tracks = Tracks(tracks.poses, renamed(tracks.track_id, rank), tracks.filled)
    order = new_column(tracks.track_id, len(tracks), np.intp)
    for part in blocks_of_frames(tracks.poses.frame_index):
        order[part] = part.start + np.lexsort((tracks.track_id[part], tracks.poses.frame_index[part]))
        let_go(order)
        tracks.let_go()
    return tracks.select(order)
