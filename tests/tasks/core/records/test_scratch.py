"""Columns of long clips on disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tasks.core.errors import FightposeError
from tasks.core.records import scratch
from tasks.core.records.scratch import (
    blocks,
    blocks_of_frames,
    built,
    disk_array,
    gathered,
    let_go,
    new_column,
    on_disk,
    summed,
    taken,
)


@pytest.fixture
def column(tmp_path, monkeypatch):
    """Return a column of 1000 rows on disk, of which ten are a block."""
    monkeypatch.setattr(scratch, "BLOCK", 10)
    column = disk_array((1000, 3), np.float32, tmp_path)
    column[:] = np.random.default_rng(0).random((1000, 3))
    return column


def test_content_outlives_its_pages(column, tmp_path):
    """And leaves no file behind, even while it is in use."""
    before = column.copy()
    let_go(column)
    np.testing.assert_array_equal(column, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 1, 20, 21, 999])
def test_rows_are_taken_by_mask_and_by_index(column, count):
    """As from memory; few of them are in memory."""
    rows = np.random.default_rng(1).permutation(1000)[:count]
    mask = np.zeros(1000, bool)
    mask[rows] = True
    for wanted in (rows, mask):
        found = taken(column, wanted)
        np.testing.assert_array_equal(found, column[wanted])
        assert on_disk(found) == (count > 20)
        assert not on_disk(taken(column.copy(), wanted))


def test_a_column_is_built_where_its_source_is(column):
    """In blocks if it is long."""
    seen = []

    def twice(part):
        seen.append(part)
        return column[part] * 2

    assert on_disk(built(column, 25, twice))
    assert [part.stop for part in seen] == [10, 20, 25]
    found = built(column.copy(), 25, twice)
    assert not on_disk(found)
    np.testing.assert_array_equal(found, column[:25] * 2)
    seen.clear()
    assert not on_disk(built(column, 9, twice))
    assert seen == [slice(0, 9)]


def test_rows_far_apart_are_gathered_in_memory(column):
    """In any order, from disk as from memory."""
    rows = np.random.default_rng(1).permutation(1000)[:777]
    for source in (column, column.copy()):
        found = gathered(source, rows)
        assert not on_disk(found)
        np.testing.assert_array_equal(found, source[rows])
    assert gathered(column, rows[:0]).shape == (0, 3)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_a_slice_hands_back_the_pages_of_its_array(tmp_path):
    """Rows of a track are a slice of a column."""
    column = disk_array((1 << 22,), np.uint8, tmp_path)

    def resident() -> int:
        """Return the kilobytes of the array that are in memory."""
        address = f"{column.ctypes.data:x}-"
        text = Path("/proc/self/smaps").read_text(encoding="utf-8")
        return int(text[text.index(address) :].split("Rss:", 1)[1].split()[0])

    column[:] = 1
    assert resident() == 4096
    let_go(column[5:10])
    assert resident() == 0
    assert column.all()


def test_a_new_column_is_empty_and_beside_its_source(column):
    """Whatever its own type and shape; a short one is in memory."""
    found = new_column(column, (21, 2), np.int32)
    assert on_disk(found)
    assert (found.shape, found.dtype, found.any()) == ((21, 2), np.int32, False)
    assert not on_disk(new_column(column, 20, np.int32))
    assert not on_disk(new_column(column.copy(), 21, np.int32))


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-1e6, 1e6, width=32)), max_size=60), st.integers(1, 9))
def test_sums_are_those_of_bincount(rows, block):
    """To the last bit, wherever blocks end."""
    index = np.array([number for number, _ in rows], np.int32)
    values = np.array([value for _, value in rows], np.float32)
    with mock.patch.object(scratch, "BLOCK", block):
        np.testing.assert_array_equal(summed(index, lambda part: values[part]), np.bincount(index, values, 1))
        np.testing.assert_array_equal(summed(index, lambda _: 1), np.bincount(index, minlength=1))


@pytest.mark.parametrize("people", [0, 1, 3, 25])
def test_no_frame_is_cut_in_two(column, people):
    """However many rows it has."""
    frames = np.repeat(np.arange(0, 40, 2), people)
    parts = list(blocks_of_frames(frames))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(len(frames)))
    found = [frame for part in parts for frame in set(frames[part].tolist())]
    assert len(found) == len(set(found)) == (20 if people else 0)
    assert len(parts) == {0: 1, 1: 2, 3: 5, 25: 20}[people]


def test_no_rows_are_one_empty_block():
    """So that what is put together of blocks has a shape."""
    assert list(blocks(0)) == [slice(0, 0)]


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    """Before anything is written: writing to memory that has no room on disk would kill the process."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(FightposeError, match=r"no room for 4 MB .*No space left.*free disk space"):
        disk_array((1 << 20,), np.float32, tmp_path)
