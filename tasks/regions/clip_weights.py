"""How much each of the frame's five regions counts, learned from where the most involved tracks are.

Per clip, starting from `INITIAL_WEIGHTS`, for at most 5 rounds:

    position_p = max over regions of  w_r * s_pr              (s: unweighted region scores)
    combined_p = 0.6 * position_p + 0.4 * movement_p
    observed_r = mean of s_pr over the 5 tracks of the highest combined score, divided by the largest observed_r
    w <- (1 - 0.3) * w + 0.3 * observed, divided by the largest w

until the weights change by less than 0.05 in sum. What is observed contains no weight, and the strongest region is
always 1: a region falls only because the people who move are elsewhere, never because another round was run.

The `seed` scorer keeps the earlier formula, in which the observation is each region's share of the weighted scores
and nothing is normalised, so that all weights shrink with every round.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.core.choices import Scorer
from tasks.core.records import RegionScores, RegionWeights, Tracks
from tasks.core.settings import ScoringSettings
from tasks.regions.camera_weights import INITIAL_WEIGHTS
from tasks.tracking.kinematics import burst_share, movement

POSITION_SHARE, MOVEMENT_SHARE = 0.6, 0.4
"""What makes a track one of those that the weights are learned from."""


def learn_region_weights(
    tracks: Tracks,
    regions: RegionScores,
    settings: ScoringSettings,
    start: npt.NDArray | None = None,
) -> RegionWeights:
    """Learn the weight of each region from one clip.

    Parameters
    ----------
    tracks
        People followed through the clip; may be empty.
    regions
        Their region scores.
    settings
        Scorer, rate, rounds, tolerance and number of tracks to learn from; with `adaptive` off nothing is learned.
    start
        (5,) weights to start from (`tasks.regions.camera_weights.start_weights`); `INITIAL_WEIGHTS` by default.

    Returns
    -------
    The weights and their path over the rounds, first row the start.

    Raises
    ------
    ValueError
        If `regions` does not belong to `tracks`.
    """
    # Both list ascending track IDs: other IDs mean that the arguments come from two clips.
    if not np.array_equal(regions.track_ids, tracks.ids):
        raise ValueError("the region scores belong to other tracks")
    weights = np.array(INITIAL_WEIGHTS if start is None else start, dtype=np.float64)
    path = [weights]
    if settings.adaptive and len(tracks):
        seed = settings.scorer is Scorer.SEED
        # The earlier scripts took the share of joints that burst into motion; `seed` keeps that.
        moved = burst_share(tracks) if seed else movement(tracks)
        scores = regions.scores.astype(np.float64)
        for _ in range(settings.region_rounds):
            top = _most_involved(scores, weights, moved, settings.region_tracks)
            observed = _weighted_share(scores[top], weights) if seed else region_usage(scores[top])
            updated = (1 - settings.region_rate) * weights + settings.region_rate * observed
            # The largest weight stays 1, so that no round lowers all of them; the earlier formula does.
            if not seed:
                updated /= max(updated.max(), np.finfo(float).tiny)
            change = np.abs(updated - weights).sum()
            weights = updated
            path.append(weights)
            # The round is noted before, so that the path ends with the weights that are returned.
            if change < settings.region_tolerance:
                break
    return RegionWeights(weights.astype(np.float32), np.array(path, dtype=np.float32))


def position_scores(scores: npt.NDArray, weights: npt.NDArray) -> npt.NDArray[np.float64]:
    """Position score of each track: the best of its region scores times the region's weight, (P,)."""
    return np.asarray((scores * weights).max(axis=1, initial=0.0), dtype=np.float64)


def _most_involved(scores: npt.NDArray, weights: npt.NDArray, moved: npt.NDArray, count: int) -> npt.NDArray:
    """Return the positions of the `count` tracks with the highest combined score, ties in track order."""
    combined = POSITION_SHARE * position_scores(scores, weights) + MOVEMENT_SHARE * moved
    return np.argsort(-combined, kind="stable")[:count]


def region_usage(scores: npt.NDArray) -> npt.NDArray[np.float64]:
    """How much tracks use each region, unweighted and relative to the one used most; equal where none is used."""
    usage = scores.mean(axis=0)
    return usage / usage.max() if usage.max() > 0 else np.ones_like(usage)


def _weighted_share(scores: npt.NDArray, weights: npt.NDArray) -> npt.NDArray[np.float64]:
    """Observation of the earlier scripts: each region's share of the sum of weighted scores."""
    used = (scores * weights).sum(axis=0)
    return used / used.sum() if used.sum() > 0 else np.asarray(weights, dtype=np.float64)
