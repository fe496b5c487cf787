"""Every two people of a frame, in blocks of bounded memory, and whom each track interacts with most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import Rows, pairs_within_frames
from tasks.core.records import IntArray
from tasks.tracking.pair_sums import PairSums


def frame_pairs(frame: npt.NDArray) -> Iterator[tuple[Rows, Rows]]:
    """Yield every unordered pair of rows of the same frame, as two arrays of row positions, in blocks.

    Parameters
    ----------
    frame
        (N,) frame index of each row, in any order.
    """
    order = np.argsort(frame, kind="stable")
    for first, second in pairs_within_frames(frame[order]):
        yield order[first], order[second]


def best_partners(
    sums: PairSums, score: npt.NDArray, ids: IntArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Return the highest score of each track's pairs, and the ID of that partner, 0 where no pair scores above 0.

    Parameters
    ----------
    sums
        Pairs of positions in `ids`.
    score
        (K,), that of each pair.
    ids
        (P,) track IDs.
    """
    best = np.zeros(len(ids))
    partner = np.zeros(len(ids), np.int32)
    # Ascending, of equal scores the first pair last: the last write of a track is its best pair.
    order = np.lexsort((-sums.second, -sums.first, score))
    order = order[score[order] > 0]
    best[sums.first[order]] = score[order]
    partner[sums.first[order]] = ids[sums.second[order]]
    return best, partner
