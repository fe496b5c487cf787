"""The composite score and the rank order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.core.choices import Scorer
from tasks.core.records import Involvement, RegionScores, RegionWeights, Tracks
from tasks.core.settings import ScoringSettings
from tasks.involvement.components import default_components, mean_quality
from tasks.involvement.seed import SEED_WEIGHTS, seed_components
from tasks.tracking.kinematics import TrackTable, tabulate

RANK_DECIMALS = 6
"""Scores are compared at this precision, so that a mirrored or rescaled clip keeps its order."""

Floats = npt.NDArray[np.float64]


def rank_involvement(
    tracks: Tracks, regions: RegionScores, weights: RegionWeights, settings: ScoringSettings
) -> Involvement:
    """Judge how much each tracked person takes part in the fight.

    Parameters
    ----------
    tracks
        People followed through a clip; may be empty.
    regions
        Region scores of the same tracks.
    weights
        The regions' weights.
    settings
        Scorer, composite weights and window length.

    Returns
    -------
    All tracks in rank order, ties in the order of their IDs.

    Raises
    ------
    ValueError
        If `regions` does not belong to `tracks`.
    """
    table = tabulate(tracks)
    if not np.array_equal(regions.track_ids, table.ids):
        raise ValueError("the region scores belong to other tracks")
    if settings.scorer is Scorer.SEED:
        components, partner = seed_components(tracks, table, regions, weights)
        # The earlier scripts had no score over time: a window carries the clip's score wherever the person is.
        activity = None
        score = composite(components, SEED_WEIGHTS)
    else:
        evidence = default_components(table, regions, weights)
        components, partner, activity = evidence.components, evidence.partner, evidence.activity
        score = composite(components, settings.weights)
    edges, window_score = _windows(table, tracks.poses.frame_count, score, activity, settings.window_seconds)
    # lexsort takes its last key first: by score, then by ID.
    order = np.lexsort((table.ids, -np.round(score, RANK_DECIMALS)))
    return Involvement(
        track_ids=table.ids[order],
        score=score[order].astype(np.float32),
        components={name: values[order].astype(np.float32) for name, values in components.items()},
        quality=mean_quality(table)[order].astype(np.float32),
        length=np.bincount(table.track, minlength=len(table.ids))[order].astype(np.int32),
        best_partner=partner[order],
        region_scores=regions.scores[order],
        region_weights=weights,
        window_frames=edges,
        window_score=window_score[order].astype(np.float32),
    )


def composite(components: dict[str, Floats], weights: dict[str, float]) -> Floats:
    """Weighted mean of components, (P,) in [0, 1]; components without a weight do not count."""
    total = sum(weights.values())
    people = len(next(iter(components.values())))
    score = sum((weight * components[name] for name, weight in weights.items()), np.zeros(people))
    return np.clip(score / total, 0.0, 1.0) if total > 0 else np.zeros(people)


def _windows(
    table: TrackTable, frame_count: int, score: Floats, activity: Floats | None, seconds: float
) -> tuple[npt.NDArray[np.int32], Floats]:
    """Spread each person's score over time windows by the activity of its rows within them.

    A window's score is the clip's score times the window's mean activity over the highest window's: it says *when* a
    person is involved, and reaches the clip's score where the person is most active.

    Returns the edges, (S + 1,) frames, and the scores, (P, S), 0 where the track has no row.
    """
    edges = _edges(table, frame_count, seconds)
    count = len(edges) - 1
    people = len(table.ids)
    # One number per person and window, so that one bincount sums them all.
    cell = table.track * count + np.searchsorted(edges, table.frame, side="right") - 1
    rows = np.bincount(cell, minlength=people * count).reshape(people, count)
    if activity is None:
        return edges, np.where(rows > 0, score[:, None], 0.0)
    total = np.bincount(cell, weights=activity, minlength=people * count).reshape(people, count)
    mean = total / np.maximum(rows, 1)
    top = mean.max(axis=1, keepdims=True, initial=0.0)
    # Somebody who never moves has a top of 0, and gets 0 instead of a division by it.
    return edges, score[:, None] * mean / np.where(top > 0, top, 1.0)


def _edges(table: TrackTable, frame_count: int, seconds: float) -> npt.NDArray[np.int32]:
    """Return the edges of time windows of a length, (S + 1,) frames, ascending from 0 to the number of frames."""
    if table.times is None:
        step = max(1, round(seconds * table.fps))
        # Rounded up: what is left at the end is a window, too.
        count = max(1, -(-frame_count // step))
        return np.minimum(np.arange(count + 1) * step, max(frame_count, 1)).astype(np.int32)
    # By the clock: where the rate varies, windows of equal length hold different numbers of frames, some perhaps none.
    starts = np.searchsorted(table.times, np.arange(0.0, float(table.times[-1]) + seconds, seconds))
    return np.unique(np.append(starts[starts < frame_count], frame_count)).astype(np.int32)


def busiest_frame(window_frames: npt.NDArray, window_score: npt.NDArray) -> int:
    """Return the frame that shows a clip best: the middle of the window in which the first two are most involved.

    Parameters
    ----------
    window_frames, window_score
        As in `Involvement`: (W + 1,) bounds of the windows, and (M, W) scores of people in rank order.
    """
    best = int(window_score[:2].sum(axis=0).argmax())
    return int(window_frames[best] + window_frames[best + 1]) // 2
