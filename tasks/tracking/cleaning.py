"""Tracks that are nobody: ghosts, things that keep their places, and limbs that were taken for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import Rows, box_area, inside
from tasks.core.records import IntArray, Poses
from tasks.core.records.scratch import blocks, gathered, summed
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.tracking.pair_sums import PairSums, pairs_of_tracks
from tasks.tracking.track_rows import only_tracks, rows_by_track

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


def drop_ghosts(poses: Poses, track_id: IntArray, high: float, hits: int) -> IntArray:
    """Return the IDs without those of tracks that have fewer than `hits` detections of a score of at least `high`."""
    strong = summed(track_id, lambda part: poses.score[part] >= high)
    poses.let_go()
    return only_tracks(track_id, strong >= hits)


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
    tracks = rows_by_track(track_id)
    kept = np.ones(int(tracks.ids.max(initial=0)) + 1, bool)
    for track, rows in tracks:
        best = float(np.percentile(gathered(poses.score, rows), 90))
        # The better it is seen, the more must a thing keep its place.
        if best < FAINT * score or (best < score and _sway(poses, rows) < STILL * score / max(best, 1e-6)):
            kept[track] = False
    return only_tracks(track_id, kept)


def _sway(poses: Poses, rows: Rows) -> float:
    """Return how much the joints of a track move about, in sizes of its box."""
    # Block by block: a coat hangs in every frame of ten hours.
    parts = [rows[part] for part in blocks(len(rows))]
    count = np.zeros(NUM_KEYPOINTS, np.int64)
    for part in parts:
        count += (poses.keypoint_scores[part] > SEEN_JOINT).sum(axis=0)
        poses.let_go()

    def mean_of(values: Callable[[Rows], npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """Return the mean (17, 2) of values (K, 17, 2) of rows over those that show the joint."""
        total = np.zeros((NUM_KEYPOINTS, 2))
        for part in parts:
            weight = (poses.keypoint_scores[part] > SEEN_JOINT) / np.maximum(count, 1)
            total += (values(part) * weight[..., None]).sum(axis=0)
            poses.let_go()
        return total

    mean = mean_of(lambda part: poses.keypoints[part])
    spread = np.sqrt(mean_of(lambda part: (poses.keypoints[part] - mean) ** 2).sum(axis=1))
    size = float(np.sqrt(np.median(np.concatenate([box_area(gathered(poses.bbox, part)) for part in parts]))))
    # Clips without joints tell nothing: nobody in them is a thing. The same holds for joints that were hardly seen.
    known = spread[count >= STILL_ROWS]
    return float(np.median(known)) / max(size, 1.0) if len(known) else np.inf


def drop_parts(poses: Poses, track_id: IntArray) -> IntArray:
    """Return the IDs without those of limbs: tracks that lie within a far larger and surer one nearly all the time."""
    sums = PairSums()
    # In how many frames each track lies within another one.
    for i, j in pairs_of_tracks(poses, track_id):
        smaller = box_area(poses.bbox[i]) < box_area(poses.bbox[j])
        small, large = np.where(smaller, i, j), np.where(smaller, j, i)
        a, b = poses.bbox[small], poses.bbox[large]
        part = (box_area(a) < PART_AREA * box_area(b)) & (inside(a, b) > PART_INSIDE)
        sums.add(track_id[small[part]], track_id[large[part]])
        poses.let_go()
    length = summed(track_id, lambda _: 1)
    mean = summed(track_id, lambda part: poses.score[part]) / np.maximum(length, 1)
    poses.let_go()
    small, large = sums.first, sums.second
    kept = np.ones(len(length), bool)
    kept[small[(sums["frames"] >= PART_TIME * length[small]) & (mean[small] < PART_SCORE * mean[large])]] = False
    return only_tracks(track_id, kept)
