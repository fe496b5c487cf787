"""Where in the frame each person is: scores for the frame's four quadrants and its middle.

A surveillance camera is hung so that what matters happens in the middle of its picture. Each track gets five scores,
one per region, that say how much of its time it spends in the heart of that region; `tasks.regions.clip_weights` then
decides how much each region counts. Formulas (x, y relative to the region, 0 to 1, of the box centre):

    quadrant        1 - sqrt((x - .5)^2 + (y - .5)^2) / sqrt(.5)
    center_overlap  0.8 + 0.2 * min(x, 1 - x, y, 1 - y) / 0.5      (the middle half of the width and height)

and 0 outside the region. A border belongs to both neighbours, so that mirroring a clip mirrors its scores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.core.records import RegionScores, Tracks
from tasks.core.records.scratch import blocks, let_go
from tasks.core.region_layout import LAYOUT, REGIONS

_ORIGINS = np.array([(region.left, region.top) for region in LAYOUT])
_SIZES = np.array([(region.width, region.height) for region in LAYOUT])
"""Upper left corner and size of each region in the order of `REGIONS`, as shares of the frame."""

_OVER = np.array([region.over for region in LAYOUT])
"""Which regions lie over others and are scored by the distance from their border."""


def region_scores_of_points(points: npt.NDArray, width: float, height: float) -> npt.NDArray[np.float64]:
    """Score points by how well each region frames them.

    Parameters
    ----------
    points
        (N, 2) pixels.
    width, height
        Frame size in pixels; below 1 counts as 1.

    Returns
    -------
    (N, 5) scores in [0, 1], columns in the order of `REGIONS`, 0 outside a region.
    """
    # In shares of the frame, as the layout gives the regions.
    relative = points / np.maximum([width, height], 1.0)
    inside_region = (relative[:, None] - _ORIGINS) / _SIZES
    inside = ((inside_region >= 0) & (inside_region <= 1)).all(-1)
    # Clipped so that points far outside the frame cannot overflow; they score 0 by the mask.
    local = np.clip(inside_region, 0.0, 1.0)
    scores = 1 - np.hypot(local[..., 0] - 0.5, local[..., 1] - 0.5) / np.sqrt(0.5)
    margin = np.minimum(local, 1 - local).min(-1)
    # The middle counts from its border on (0.8); quadrants count towards their centres only.
    scores[:, _OVER] = 0.8 + 0.2 * margin[:, _OVER] / 0.5
    return np.where(inside, np.clip(scores, 0.0, 1.0), 0.0)


def score_regions(tracks: Tracks) -> RegionScores:
    """Score how much each track is in each of the five regions.

    Parameters
    ----------
    tracks
        People followed through a clip; may be empty.

    Returns
    -------
    Per track the mean over all its frames, (P, 5) in [0, 1], before any weight.
    """
    ids = tracks.ids
    poses = tracks.poses
    total = np.zeros((len(ids), len(REGIONS)))
    frames = np.zeros(len(ids), np.int64)
    # Block by block: a row takes twenty times the memory of its box on the way.
    for part in blocks(len(poses)):
        centre = (poses.bbox[part, :2].astype(np.float64) + poses.bbox[part, 2:]) / 2
        rows = region_scores_of_points(centre, poses.width, poses.height)
        track = np.searchsorted(ids, tracks.track_id[part])
        # Unlike `total[track] += rows`, this adds every row of a track that occurs more than once.
        np.add.at(total, track, rows)
        frames += np.bincount(track, minlength=len(ids))
        let_go(poses.bbox, tracks.track_id)
    return RegionScores(ids.astype(np.int32), (total / np.maximum(frames, 1)[:, None]).astype(np.float32))
