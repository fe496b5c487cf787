"""Components of the default involvement score, each in [0, 1], in body sizes and seconds.

    movement              mean limb speed v (body sizes per second, the body's own path taken out), v / (v + 0.4)
    position              the largest of region score times region weight, see `tasks.region_weights`
    interaction           best partner's mean of nearness * sqrt(own activity * partner's activity)
    temporal_consistency  share of the track's rows whose motion is known from the rows before
    persistence           seen frames / frames of the clip
    size                  body size over the largest body size that any lasting track has
    reliability           mean joint score over the highest mean joint score of the clip

Rows that were estimated inside gaps count for position alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.involvement.pairs import PairSums, frame_pairs
from tasks.kinematics import TYPICAL_LIMB_SPEED, Motion, TrackTable, measure_motion
from tasks.records import RegionScores, RegionWeights
from tasks.region_weights import position_scores

Floats = npt.NDArray[np.float64]

REACH = 0.5
"""Gap between two boxes, in body sizes, at which nearness ends: an arm's or a leg's length."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the default score is made of.

    Attributes
    ----------
    components
        Name to (P,) in [0, 1].
    partner
        (P,) int32, ID of the best partner, 0 without one.
    activity
        (N,) per row of the table, in [0, 1]: how much the person moves and meets others in that frame.
    """

    components: dict[str, Floats]
    partner: npt.NDArray[np.int32]
    activity: Floats


def default_components(table: TrackTable, frame_count: int, regions: RegionScores, weights: RegionWeights) -> Evidence:
    """Compute the components of the default score.

    Parameters
    ----------
    table
        Rows of all tracks.
    frame_count
        Frames of the clip.
    regions, weights
        Region scores of the same tracks, and the regions' weights.

    Returns
    -------
    Components per track, best partners, and activity per row.
    """
    motion = measure_motion(table)
    activity = motion.limb_speed / (motion.limb_speed + TYPICAL_LIMB_SPEED)
    interaction, partner, met = _interaction(table, motion, activity)
    seen = np.bincount(table.track[table.seen], minlength=len(table.ids))
    quality = mean_quality(table)
    size = table.quantile(table.size, 0.5)
    speed = table.mean(motion.limb_speed, motion.known)
    components = {
        "movement": speed / (speed + TYPICAL_LIMB_SPEED),
        "position": position_scores(regions.scores.astype(np.float64), weights.weights),
        "interaction": interaction,
        "temporal_consistency": table.mean(motion.known.astype(float), table.seen),
        "persistence": seen / max(frame_count, 1),
        "size": _relative(size, seen),
        "reliability": _relative(quality, seen),
    }
    return Evidence(components, partner, (activity + met) / 2)


def mean_quality(table: TrackTable) -> Floats:
    """Mean joint score of each track's seen rows, (P,); 0 for a track that was never seen."""
    return table.mean(table.joint_score.mean(1), table.seen)


def _relative(values: Floats, seen: npt.NDArray) -> Floats:
    """Values over the largest of those tracks that last at least half as long as the longest, at most 1."""
    if not len(values):
        return values
    lasting = values[seen >= seen.max() / 2]
    return np.clip(values / max(lasting.max(), np.finfo(float).tiny), 0.0, 1.0)


def _interaction(table: TrackTable, motion: Motion, activity: Floats) -> tuple[Floats, npt.NDArray[np.int32], Floats]:
    """Best partner's mean nearness times joint activity, that partner's ID, and the same per row."""
    sums = PairSums(table, ("value",))
    met = np.zeros(len(table.track))
    for a, b in frame_pairs(table.frame):
        near = table.seen[a] & table.seen[b]
        nearness = box_nearness(table, a, b)
        near &= nearness > 0
        a, b = a[near], b[near]
        value = nearness[near] * np.sqrt(activity[a] * activity[b])
        sums.add(a, b, value=value)
        sums.add(b, a, value=value)
        np.maximum.at(met, a, value)
        np.maximum.at(met, b, value)
    seen = np.maximum(np.bincount(table.track[table.seen], minlength=len(table.ids)), 1)
    # Over the frames of the one who is judged: a passer-by is near for a moment only.
    score, partner = sums.best(sums["value"] / seen[sums.first])
    return score, partner, met


def box_nearness(table: TrackTable, a: npt.NDArray, b: npt.NDArray) -> Floats:
    """Nearness of pairs of rows: 1 where the boxes touch, falling to 0 at a gap of `REACH` body sizes; (K,)."""
    gap = np.maximum(table.bbox[a, :2] - table.bbox[b, 2:], table.bbox[b, :2] - table.bbox[a, 2:])
    distance = np.linalg.norm(np.maximum(gap, 0.0), axis=1)
    return np.maximum(0.0, 1 - distance / (REACH * (table.size[a] + table.size[b]) / 2))
