"""Every two people of a frame, in blocks of bounded memory, and sums over the frames that two tracks share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import Rows, pairs_within_frames
from tasks.tracking.kinematics import TrackTable


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


class PairSums:
    """Sums per ordered pair of tracks over the frames in which both have a row.

    Parameters
    ----------
    table
        Rows of all tracks.
    names
        Names of the values that are summed.
    """

    def __init__(self, table: TrackTable, names: tuple[str, ...]) -> None:
        self._table = table
        # At least 1, because the pair's number is divided by it.
        self._people = max(len(table.ids), 1)
        self._key = np.zeros(0, np.int64)
        self._sums: dict[str, npt.NDArray[np.float64]] = {name: np.zeros(0) for name in ("frames", *names)}

    def add(self, a: Rows, b: Rows, **values: npt.NDArray) -> None:
        """Add values of ordered pairs: row `a` towards row `b`."""
        key = self._table.track[a] * self._people + self._table.track[b]
        # One number per ordered pair: one call merges the new pairs with those known.
        keys, inverse = np.unique(np.concatenate([self._key, key]), return_inverse=True)
        added = {"frames": np.ones(len(a)), **values}
        self._sums = {
            name: np.bincount(inverse, np.concatenate([old, added[name]]), len(keys)).astype(np.float64)
            for name, old in self._sums.items()
        }
        self._key = keys

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """Track position of each pair's first person, (K,)."""
        return self._key // self._people

    @property
    def second(self) -> npt.NDArray[np.int64]:
        """Track position of each pair's second person, (K,)."""
        return self._key % self._people

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        """Sum of a value per pair, (K,); `frames` counts the shared frames."""
        return self._sums[name]

    def best(self, score: npt.NDArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
        """Highest score of each track's pairs, (P,), and the ID of that partner, 0 where no pair scores above 0."""
        best = np.zeros(len(self._table.ids))
        partner = np.zeros(len(self._table.ids), np.int32)
        order = np.lexsort((-self._key, score))  # ascending: the last write of a track is its best pair
        order = order[score[order] > 0]
        best[self.first[order]] = score[order]
        partner[self.first[order]] = self._table.ids[self.second[order]]
        return best, partner
