"""Which rows belong to which track."""

from __future__ import annotations

from unittest import mock

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from tasks.core.records import scratch
from tasks.tracking.track_rows import only_tracks, renamed, rows_by_track

IDS = st.lists(st.integers(0, 7), max_size=60).map(lambda ids: np.array(ids, np.int32))


@given(IDS, st.integers(1, 9))
def test_rows_are_in_the_order_of_a_sort(track_id, block):
    """Rows of no track are left out, wherever blocks end."""
    with mock.patch.object(scratch, "BLOCK", block):
        tracks = rows_by_track(track_id)
    # Rows are sorted by frame, so that their number stands for it.
    order = np.lexsort((np.arange(len(track_id)), track_id))
    np.testing.assert_array_equal(tracks.order, order[track_id[order] > 0])
    np.testing.assert_array_equal(tracks.ids, np.unique(track_id[track_id > 0]))
    for one, rows in tracks:
        np.testing.assert_array_equal(rows, np.flatnonzero(track_id == one))
        np.testing.assert_array_equal(tracks.of(one), rows)
    places = tracks.tracks_at(slice(0, len(tracks.order)))
    np.testing.assert_array_equal(tracks.ids[places], track_id[tracks.order])


@given(IDS, st.integers(1, 9), st.sets(st.integers(1, 7)))
def test_tracks_are_dropped_and_renamed_as_whole(track_id, block, dropped):
    """What belongs to none stays so."""
    kept = np.array([number not in dropped for number in range(8)])
    with mock.patch.object(scratch, "BLOCK", block):
        np.testing.assert_array_equal(
            only_tracks(track_id, kept), np.where(np.isin(track_id, list(dropped)), 0, track_id)
        )
        np.testing.assert_array_equal(renamed(track_id, np.arange(8, dtype=np.int32) * 3), track_id * 3)
