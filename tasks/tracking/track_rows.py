"""Which rows belong to which track: what `numpy.lexsort` over IDs and frames tells, without its memory.

Of a long clip everything here is done in blocks of rows, and columns stay on disk (`tasks.core.records.scratch`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.core.geometry import Rows
from tasks.core.records import BoolArray, IntArray
from tasks.core.records.scratch import blocks, built, let_go, new_column, summed


@dataclass(frozen=True, slots=True, eq=False)
class TrackRows:
    """The rows of each of P tracks.

    Attributes
    ----------
    ids
        (P,) int32, ascending.
    order
        (M,) rows, by track and then by frame; rows of no track are left out.
    edges
        (P + 1,) places in `order`: track p has those from edge p to edge p + 1.
    """

    ids: IntArray
    order: Rows
    edges: Rows

    def __iter__(self) -> Iterator[tuple[int, Rows]]:
        """Yield each track's ID and rows."""
        for p, track_id in enumerate(self.ids.tolist()):
            yield track_id, self.order[self.edges[p] : self.edges[p + 1]]

    def of(self, track_id: int) -> Rows:
        """Return the rows of the track of an ID, by frame."""
        p = int(np.searchsorted(self.ids, self.ids.dtype.type(track_id)))
        return self.order[self.edges[p] : self.edges[p + 1]]

    def tracks_at(self, part: slice) -> Rows:
        """Return which track, as a position in `ids`, each of some places in `order` belongs to."""
        return np.searchsorted(self.edges, np.arange(part.start, part.stop), side="right") - 1


def rows_by_track(track_id: IntArray) -> TrackRows:
    """Sort the rows by track.

    Parameters
    ----------
    track_id
        (N,) ID of each row, 0 for none; rows are sorted by frame.
    """
    count = summed(track_id, lambda _: 1).astype(np.intp)
    # ID 0 is no track.
    count[0] = 0
    ids = np.flatnonzero(count)
    edges = np.concatenate([[0], np.cumsum(count[ids])])
    order = new_column(track_id, int(edges[-1]), np.intp)
    # Where the next row of each ID goes: one pass over the rows, which are in the order of frames already.
    place = np.zeros(len(count), np.intp)
    place[ids] = edges[:-1]
    for part in blocks(len(track_id)):
        some = track_id[part]
        rows = np.argsort(some, kind="stable")
        rows = rows[some[rows] > 0]
        sorted_ids = some[rows]
        here, first, times = np.unique(sorted_ids, return_index=True, return_counts=True)
        order[place[sorted_ids] + np.arange(len(rows)) - np.repeat(first, times)] = part.start + rows
        place[here] += times
        let_go(order, track_id)
    return TrackRows(ids.astype(np.int32), order, edges)


def only_tracks(track_id: IntArray, kept: BoolArray) -> IntArray:
    """Return the IDs without those that are not kept, (N,) with 0 for none.

    Parameters
    ----------
    track_id
        (N,) ID of each row, 0 for none.
    kept
        Whether each ID is, from 0 to the highest.
    """
    table = np.where(kept, np.arange(len(kept)), 0).astype(np.int32)
    return renamed(track_id, table)


def renamed(track_id: IntArray, table: IntArray) -> IntArray:
    """Return the ID that `table` has for each row's ID, (N,)."""
    return built(track_id, len(track_id), lambda part: table[track_id[part]])
