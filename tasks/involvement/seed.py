"""The earlier scripts' involvement score, kept as `--scorer seed`.

    composite = .30 movement + .35 position + .20 interaction + .10 temporal consistency + .05 persistence

    movement      per frame pair the share of joints whose displacement exceeds mean + 2 std, averaged
    position      the largest of region score times region weight
    interaction   mean over all other tracks' common frames of (proximity + sync) / 2, with
                  proximity = max(0, 1 - d / mean size / 3), d the distance of the box centres, size = sqrt(box area)
                  sync = max(0, cosine of both mean motions into the frame), 0 in a track's first row
    temporal      mean of max(0, cosine) of successive mean motions, 1 for tracks of fewer than 3 rows
    persistence   the track's frames / frames in which any track exists

The mean motion of a row is the mean displacement, in pixels, of the joints it shares with the track's row before.
Every row counts, estimated ones too, as in the earlier scripts; only what made them crash is mended.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.core.records import RegionScores, RegionWeights, Tracks
from tasks.involvement.pairs import best_partners, frame_pairs
from tasks.regions.clip_weights import position_scores
from tasks.tracking.kinematics import TrackTable, burst_share
from tasks.tracking.pair_sums import PairSums

SEED_WEIGHTS = {
    "movement": 0.30,
    "position": 0.35,
    "interaction": 0.20,
    "temporal_consistency": 0.10,
    "persistence": 0.05,
}
"""Weights of the earlier scripts' composite score."""


def seed_components(
    tracks: Tracks, table: TrackTable, regions: RegionScores, weights: RegionWeights
) -> tuple[dict[str, npt.NDArray[np.float64]], npt.NDArray[np.int32]]:
    """Compute the earlier scripts' components.

    Parameters
    ----------
    tracks, table
        All tracks, and their rows.
    regions, weights
        Region scores of the same tracks, and the regions' weights.

    Returns
    -------
    components
        Name to (P,) in [0, 1], the names of `SEED_WEIGHTS`.
    partner
        (P,) ID of the track with the highest interaction score of its own pair, 0 without one.
    """
    motion = mean_motion(table)
    interaction, partner = _interaction(table, motion)
    frames = len(np.unique(table.frame))
    length = np.bincount(table.track, minlength=len(table.ids))
    components = {
        "movement": burst_share(tracks),
        "position": position_scores(regions.scores.astype(np.float64), weights.weights),
        "interaction": interaction,
        "temporal_consistency": _temporal_consistency(table, motion),
        "persistence": length / max(frames, 1),
    }
    return components, partner


def mean_motion(table: TrackTable) -> npt.NDArray[np.float64]:
    """Mean joint displacement of each row since the row before in its track, (N, 2) pixels; 0 in first rows."""
    motion = np.zeros((len(table.track), 2))
    # Rows after another one of their track: the table is sorted by track, then by frame.
    second = np.flatnonzero(np.diff(table.track, prepend=-1) == 0)
    joints = (table.joint_score[second] > 0) & (table.joint_score[second - 1] > 0)
    step = np.where(joints[..., None], table.keypoints[second] - table.keypoints[second - 1], 0.0)
    motion[second] = step.sum(1) / np.maximum(joints.sum(1), 1)[:, None]
    return motion


def _cosine(a: npt.NDArray, b: npt.NDArray) -> npt.NDArray[np.float64]:
    """Cosine of the angle between rows of vectors, 0 where one of them is zero."""
    length = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.where(length > 0, (a * b).sum(-1) / np.where(length > 0, length, 1.0), 0.0)


def _temporal_consistency(table: TrackTable, motion: npt.NDArray) -> npt.NDArray[np.float64]:
    """Mean of max(0, cosine) of successive mean motions per track; 1 under 3 rows."""
    # Rows with two before them in their track: a cosine takes two motions.
    third = np.flatnonzero(table.track[2:] == table.track[:-2]) + 2
    agreement = np.zeros(len(table.track))
    agreement[third] = np.maximum(_cosine(motion[third], motion[third - 1]), 0.0)
    picked = np.zeros(len(table.track), bool)
    picked[third] = True
    enough = np.bincount(table.track, minlength=len(table.ids)) >= 3
    return np.where(enough, table.mean(agreement, picked), 1.0)


def _interaction(table: TrackTable, motion: npt.NDArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Mean of (proximity + sync) / 2 over all common frames with all other tracks, and the best single partner."""
    sums = PairSums("value")
    centre = table.centre
    size = np.sqrt(np.maximum((table.bbox[:, 2:] - table.bbox[:, :2]).prod(1), 0.0))
    for a, b in frame_pairs(table.frame):
        # The floor keeps two boxes without area from dividing by zero.
        mean_size = np.maximum((size[a] + size[b]) / 2, 1e-9)
        distance = np.linalg.norm(centre[a] - centre[b], axis=1)
        proximity = np.maximum(0.0, 1 - distance / mean_size / 3)
        value = (proximity + np.maximum(_cosine(motion[a], motion[b]), 0.0)) / 2
        sums.add(table.track[a], table.track[b], value=value)
        sums.add(table.track[b], table.track[a], value=value)
    people = len(table.ids)
    frames = np.bincount(sums.first, weights=sums["frames"], minlength=people)
    total = np.bincount(sums.first, weights=sums["value"], minlength=people)
    _, partner = best_partners(sums, sums["value"] / np.maximum(sums["frames"], 1), table.ids)
    return total / np.maximum(frames, 1), partner
