"""Components of the default involvement score, each in [0, 1].

All lengths are in body sizes, all times in seconds, and rows that were estimated inside gaps count for position alone.
`log(x; a, b)` means log(x / a) / log(b / a), clipped to [0, 1]: what counts is how many times faster, larger or
longer, so that a weighted sum of components orders people as a weighted product of the measures does. On real clips
this matters: ghosts move much but briefly, bystanders are seen long but hardly move, and only a product asks for both.

    movement              log(mean limb speed; 0.05, 2 body sizes per second), joints weighted by their scores
    position              largest of region score times region weight, see `tasks.regions.clip_weights`
    interaction           best partner: sum over the shared frames of nearness * the stronger strike of the two, over
                          the geometric mean of the frames in which each is seen
    temporal_consistency  mean of max(0, cosine) of successive motions of the body
    persistence           log(seconds seen; 0.1, 1.5)
    size                  log(root of the box area; 1/8, 1), relative to the largest lasting track of the clip
    reliability           log(mean joint score; 1/4, 1), relative to the best lasting track of the clip
    distinctness          1 - share of the person's box that lies in the box of a better seen person: fragments and
                          doubles of a person are not another one
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import overlap
from tasks.core.records import RegionScores, RegionWeights
from tasks.core.skeleton import EXTREMITIES
from tasks.involvement.pairs import best_partners, frame_pairs
from tasks.regions.clip_weights import position_scores
from tasks.tracking.kinematics import Motion, TrackTable, measure_motion
from tasks.tracking.pair_sums import PairSums

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

LIMB_SPEED = (0.05, 2.0)
"""Body sizes per second: breathing and pose jitter of good detections, and a brawl."""

SECONDS_SEEN = (0.1, 1.5)
"""A flicker, and as long as it takes to believe in a person."""

RELATIVE_SIZE = (1 / 8, 1.0)
RELATIVE_QUALITY = (1 / 4, 1.0)

REACH = 0.5
"""Gap between two boxes, in body sizes, at which nearness ends: an arm's or a leg's length."""

STRIKE_SPEED = 0.5
"""Speed of a hand or foot towards the other, body sizes per second, that counts as half a strike."""


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


def default_components(table: TrackTable, regions: RegionScores, weights: RegionWeights) -> Evidence:
    """Compute the components of the default score.

    Parameters
    ----------
    table
        Rows of all tracks.
    regions, weights
        Region scores of the same tracks, and the regions' weights.

    Returns
    -------
    Components per track, best partners, and activity per row.
    """
    motion = measure_motion(table)
    seen = np.bincount(table.track[table.seen], minlength=len(table.ids))
    quality = mean_quality(table)
    # Of two tracks that overlap, the one that is seen longer and better is the real one.
    interaction, partner, met, distinctness = _meetings(table, motion, seen, seen * quality)
    components = {
        "movement": log_share(table.mean(motion.limb_speed, motion.known), *LIMB_SPEED),
        "position": position_scores(regions.scores.astype(np.float64), weights.weights),
        "interaction": interaction,
        "temporal_consistency": _temporal_consistency(table, motion),
        "persistence": log_share(seen / table.fps, *SECONDS_SEEN),
        # Size and quality are relative to the clip: their values depend on the camera and the model.
        "size": log_share(_relative(table.quantile(np.sqrt(table.area), 0.5), seen), *RELATIVE_SIZE),
        "reliability": log_share(_relative(quality, seen), *RELATIVE_QUALITY),
        "distinctness": distinctness,
    }
    # The mean of both: moving and striking together count for more than moving alone.
    activity = (log_share(motion.limb_speed, *LIMB_SPEED) + met) / 2
    return Evidence(components, partner, activity)


def log_share(values: Floats, low: float, high: float) -> Floats:
    """Place values on a logarithmic scale: 0 at `low` and below, 1 at `high` and above."""
    return np.log(np.clip(values, low, high) / low) / np.log(high / low)


def mean_quality(table: TrackTable) -> Floats:
    """Mean joint score of each track's seen rows, (P,); 0 for a track that was never seen."""
    return table.mean(table.joint_score.mean(1), table.seen)


def _relative(values: Floats, seen: npt.NDArray) -> Floats:
    """Values over the largest of those tracks that are seen at least half as long as the longest."""
    if not len(values):
        return values
    # A ghost of a few frames may have the largest value of all, and must not set the scale.
    lasting = values[seen >= seen.max() / 2]
    return values / max(lasting.max(), np.finfo(float).tiny)


def _temporal_consistency(table: TrackTable, motion: Motion) -> Floats:
    """Mean of max(0, cosine) of the body's motion and its motion `span` frames earlier, (P,); 0 where unknown."""
    before = table.before()
    # -1 marks a row without an earlier one, and as an index it reads the last row: masked here.
    known = motion.known & (before >= 0) & motion.known[before]
    now, then = motion.body_velocity, motion.body_velocity[before]
    length = np.linalg.norm(now, axis=1) * np.linalg.norm(then, axis=1)
    # The floor (in squared body sizes per second) keeps the direction of a person at rest from counting.
    cosine = (now * then).sum(1) / np.maximum(length, 1e-6)
    return table.mean(np.clip(cosine, 0.0, 1.0), known)


def _meetings(
    table: TrackTable, motion: Motion, seen: npt.NDArray, standing: Floats
) -> tuple[Floats, npt.NDArray[np.int32], Floats, Floats]:
    """Measure what each person has to do with each other one.

    Parameters
    ----------
    table, motion
        Rows of all tracks and their motion.
    seen
        (P,) seen rows per track.
    standing
        (P,) how well each person is seen: of two that overlap, the better one is the real one.

    Returns
    -------
    interaction
        (P,) in [0, 1], with the best partner.
    partner
        (P,) ID of that partner, 0 without one.
    met
        (N,) in [0, 1], interaction per row, with the person met there.
    distinctness
        (P,) in [0, 1].
    """
    sums = PairSums("strike", "inside")
    met = np.zeros(len(table.track))
    area = table.area
    for first, second in frame_pairs(table.frame):
        a, b, nearness = near_pairs(table, first, second)
        shared_area = overlap(table.bbox[a], table.bbox[b])
        # Being struck counts as striking does: the victim of a one-sided attack takes part.
        value = nearness * np.maximum(strike(table, motion, a, b), strike(table, motion, b, a))
        for one, other in ((a, b), (b, a)):
            sums.add(table.track[one], table.track[other], strike=value, inside=shared_area / area[one])
            # A person may meet several others in one frame, so plain indexing would lose all but one.
            np.maximum.at(met, one, value)
    # Over the geometric mean of both times: a ghost meets someone for a small part of the other's time.
    either = np.sqrt(np.maximum(seen[sums.first], 1) * np.maximum(seen[sums.second], 1))
    interaction, partner = best_partners(sums, sums["strike"] / either, table.ids)
    # Mean share of the box within the box of somebody seen better: nearly 1 for a double.
    covered = np.zeros(len(table.ids))
    better = standing[sums.second] > standing[sums.first]
    inside = sums["inside"] / np.maximum(seen[sums.first], 1)
    np.maximum.at(covered, sums.first[better], inside[better])
    return interaction, partner, met, np.clip(1.0 - covered, 0.0, 1.0)


def near_pairs(table: TrackTable, a: Rows, b: Rows) -> tuple[Rows, Rows, Floats]:
    """Return those pairs of seen rows that are within `REACH` of one another, and how near, (K,) in (0, 1].

    Nearness is 1 where the boxes touch and falls to 0 at a gap of `REACH` body sizes. In a crowd this looks at every
    pair, so that it drops those that are too far apart sideways first, and picks from whole columns instead of rows.
    """
    left, top, right, bottom = np.ascontiguousarray(table.bbox.T)
    # Half of each person's, so that a pair's reach follows the mean size; -inf drops unseen rows.
    reach = np.where(table.seen, REACH * table.size / 2, -np.inf)
    across = np.maximum(left[a] - right[b], left[b] - right[a])
    near = across < reach[a] + reach[b]
    a, b, across = a[near], b[near], np.maximum(across[near], 0.0)
    down = np.maximum(np.maximum(top[a] - bottom[b], top[b] - bottom[a]), 0.0)
    nearness = 1 - np.sqrt(across**2 + down**2) / (reach[a] + reach[b])
    near = nearness > 0
    return a[near], b[near], nearness[near]


def strike(table: TrackTable, motion: Motion, a: Rows, b: Rows) -> Floats:
    """How fast the fastest hand or foot v of one person moves towards the centre of another, (K,) in [0, 1].

    The measure is v^2 / (v^2 + `STRIKE_SPEED`^2): the jitter of a person near another counts for little.
    """
    towards = table.centre[b] - table.centre[a]
    # The floor of a pixel: where both centres coincide there is no direction, and the speed is 0.
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1.0)
    # Scalar products with the direction: only the speed towards the other counts.
    speed = np.einsum("kjx,kx->kj", motion.joint_velocity[a][:, EXTREMITIES], towards).max(axis=1, initial=0.0)
    return speed**2 / (speed**2 + STRIKE_SPEED**2)
