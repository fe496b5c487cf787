"""Every two people of a frame, in blocks of bounded memory, and sums over the frames that two tracks share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tasks.tracking.kinematics import TrackTable

BLOCK_PAIRS = 400_000
"""Pairs handled at once: some tens of megabytes, however long the clip and however dense the crowd."""

Rows = npt.NDArray[np.int64]


def frame_pairs(frame: npt.NDArray, block: int = BLOCK_PAIRS) -> Iterator[tuple[Rows, Rows]]:
    """Yield every unordered pair of rows of the same frame, as two arrays of row positions.

    Parameters
    ----------
    frame
        (N,) frame index of each row, in any order.
    block
        Pairs per yielded block, about: a frame is never split.

    Yields
    ------
    (K,) positions of the first and of the second row of each pair; frames ascend.
    """
    order = np.argsort(frame, kind="stable")
    sorted_frame = frame[order]
    last = np.searchsorted(sorted_frame, sorted_frame, side="right") - 1
    later = last - np.arange(len(frame))  # how many rows of the same frame follow
    ends = np.flatnonzero(np.diff(sorted_frame, append=-1) != 0) + 1
    # Pairs before each row: the difference of two entries is the number of pairs between them.
    done = np.concatenate([[0], np.cumsum(later)])
    start = 0
    while start < len(frame):
        # The last frame end that keeps the block small, but at least one frame.
        fit = ends[(ends > start) & (done[np.minimum(ends, len(frame))] - done[start] <= block)]
        stop = int(fit[-1]) if len(fit) else int(ends[ends > start][0])
        count = later[start:stop]
        first = np.repeat(np.arange(start, stop), count)
        offset = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
        yield order[first], order[first + 1 + offset]
        start = stop


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
