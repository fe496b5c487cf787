"""Sums over the frames that two tracks share, for every pair of tracks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import Rows, pairs_within_frames
from tasks.core.records import IntArray, Poses
from tasks.core.records.scratch import let_go


class PairSums:
    """Sums per ordered pair of tracks over the frames in which both have a row.

    Parameters
    ----------
    names
        Names of the values that are summed, beside `frames`, which counts the shared frames.
    """

    def __init__(self, *names: str) -> None:
        self._key = np.zeros(0, np.int64)
        self._sums: dict[str, npt.NDArray[np.float64]] = {name: np.zeros(0) for name in ("frames", *names)}

    def add(self, a: npt.NDArray, b: npt.NDArray, **values: npt.NDArray) -> None:
        """Add the values of pairs, one of each per shared frame; `a` and `b` say which tracks, from 0 on."""
        # Both in one number, so that one call merges the new pairs with those known. Added at once: the pairs of all
        # frames of a long clip take more memory than its rows.
        key = a.astype(np.int64) << 32 | b
        keys, inverse = np.unique(np.concatenate([self._key, key]), return_inverse=True)
        added = {"frames": np.ones(len(a)), **values}
        self._sums = {
            name: np.bincount(inverse, np.concatenate([old, added[name]]), len(keys)).astype(np.float64)
            for name, old in self._sums.items()
        }
        self._key = keys

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """First track of each pair, (K,) ascending."""
        return self._key >> 32

    @property
    def second(self) -> npt.NDArray[np.int64]:
        """Second track of each pair, (K,), ascending for each first one."""
        return self._key & 0xFFFFFFFF

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        """Sum of a value per pair, (K,)."""
        return self._sums[name]


def pairs_of_tracks(poses: Poses, track_id: IntArray) -> Iterator[tuple[Rows, Rows]]:
    """Yield all pairs of rows i < j of the same frame that both belong to a track, in blocks of bounded memory."""
    for i, j in pairs_within_frames(poses.frame_index):
        both = (track_id[i] > 0) & (track_id[j] > 0)
        yield i[both], j[both]
        let_go(track_id)
