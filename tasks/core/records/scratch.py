"""Columns of long clips on disk: memory holds a block of their rows, however many there are.

Ten hours with six people have five million rows of 228 bytes each. An array on disk is an ordinary array whose memory
is a nameless file: it is gone with the array, or with a process that is killed. The pages that were read count as the
process's memory until `let_go` hands them back. What is computed for every row is a column as well (`new_column`), and
nothing is computed for all rows in one expression: its intermediate arrays would be in memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.errors import FightposeError

BLOCK = 1 << 14
"""Rows at a time. Measuring the motion of a row takes 2.5 KB, that of a block 40 MB."""

Array = npt.NDArray[Any]


class _Pages(mmap.mmap):
    """The memory of an array on disk, and the folder that its file is in."""

    folder: Path


def on_disk(array: Array) -> bool:
    """Tell whether an array is one of `disk_array`."""
    return isinstance(array.base, _Pages)


def disk_array(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path) -> Array:
    """Return an array of zeros whose memory is a nameless file in a folder.

    Raises
    ------
    FightposeError
        If there is no room for it.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            # Reserved now: on a full disk, a write to memory would end the process without a word.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, max(size, 1))
            else:
                stream.truncate(max(size, 1))
            pages = _Pages(stream.fileno(), max(size, 1))
    except OSError as error:
        raise FightposeError(
            f"{folder}: has no room for {size >> 20} MB of a long clip's poses: {error.strerror or error}; "
            "free disk space, or write to another folder"
        ) from error
    pages.folder = folder
    return np.ndarray(shape, dtype, buffer=pages)


def let_go(*arrays: Array) -> None:
    """Hand back the memory of arrays on disk, and of slices of them; their content stays. Others are left alone."""
    for array in arrays:
        # The base of a slice is the array that it is of.
        pages = array.base.base if isinstance(array.base, np.ndarray) else array.base
        # Windows has no such advice, and no need of it: pages are the system's to take.
        if isinstance(pages, _Pages) and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


def is_long(count: int) -> bool:
    """Tell whether a column of so many rows is worth a file; a block, and what lies around it, is not."""
    return count > 2 * BLOCK


def blocks(count: int) -> Iterator[slice]:
    """Yield the slices of `BLOCK` rows that make `count` rows; one empty slice for none.

    >>> [part.stop for part in blocks(40_000)]
    [16384, 32768, 40000]
    """
    for start in range(0, max(count, 1), BLOCK):
        yield slice(start, min(start + BLOCK, count))


def blocks_of_frames(frame_index: Array) -> Iterator[slice]:
    """Yield slices of about `BLOCK` rows, sorted by frame, that cut no frame in two; one empty slice for none."""
    start, count = 0, len(frame_index)
    while True:
        # The row before the cut decides which frame is the last one.
        last = min(start + BLOCK, count) - 1
        stop = int(np.searchsorted(frame_index, frame_index[last], side="right")) if count else 0
        yield slice(start, stop)
        start = stop
        if start >= count:
            return


def new_column(like: Array, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return a column of zeros, on disk if it is long and the column `like` is there."""
    shape = (shape,) if isinstance(shape, int) else shape
    # A window of a long clip is small: it is computed with in memory.
    if isinstance(like.base, _Pages) and is_long(shape[0]):
        return disk_array(shape, dtype, like.base.folder)
    return np.zeros(shape, dtype)


def built(like: Array, count: int, rows: Callable[[slice], Array]) -> Array:
    """Return a column that is built block by block, on disk where the one it is made from is there.

    Parameters
    ----------
    like
        The column that it is made from.
    count
        Number of rows.
    rows
        Gives the rows of a slice, and so the type and shape of a row.
    """
    if not is_long(count):
        return rows(slice(0, count))
    first, *others = blocks(count)
    values = rows(first)
    column = new_column(like, (count, *values.shape[1:]), values.dtype)
    column[first] = values
    for part in others:
        column[part] = rows(part)
        let_go(column, like)
    return column


def copied(column: Array) -> Array:
    """Return a copy of a column, on disk as `built` says."""
    return built(column, len(column), lambda part: column[part].copy())


def read_column(data: Any, name: str, dtype: type, folder: Path | None) -> Array:
    """Read a column of an open npz file; a long one block by block, and onto disk, if there is a folder for it.

    Raises
    ------
    FightposeError
        If there is no room for it. What numpy raises on a damaged file comes in many types.
    """
    if folder is None:
        return np.asarray(data[name], dtype)
    with data.zip.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns_first, stored = header(stream)
        # `save` never writes these; they are for numpy to read or to refuse.
        if columns_first or stored.kind not in "fiu" or not shape or not is_long(shape[0]):
            return np.asarray(data[name], dtype)
        column = disk_array(shape, dtype, folder)
        row_bytes = column[0].size * stored.itemsize
        for part in blocks(shape[0]):
            raw = stream.read((part.stop - part.start) * row_bytes)
            # A member that is cut short gives fewer rows than the shape, which numpy refuses here.
            column[part] = np.frombuffer(raw, stored).reshape(part.stop - part.start, *shape[1:])
            let_go(column)
    return column


def taken(column: Array, rows: Array) -> Array:
    """Return some rows of a column, given as a mask or as indices; on disk as `built` says."""
    if not on_disk(column):
        return column[rows]
    at = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows

    def some(part: slice) -> Array:
        """Return a block of them."""
        found = column[at[part]]
        let_go(at)
        return found

    return built(column, len(at), some)


def gathered(column: Array, rows: Array) -> Array:
    """Return some rows of a column in memory, given as indices, which may lie far apart."""
    if not on_disk(column):
        return column[rows]
    found = np.empty((len(rows), *column.shape[1:]), column.dtype)
    # Each row may be on a page of its own: a block of them is far more memory than its rows.
    few = max(BLOCK // 16, 1)
    for start in range(0, len(rows), few):
        found[start : start + few] = column[rows[start : start + few]]
        let_go(column, rows)
    return found


def summed(index: Array, values: Callable[[slice], Array | int]) -> npt.NDArray[np.float64]:
    """Return the sum of values per number in `index`, as `numpy.bincount` does, block by block.

    Parameters
    ----------
    index
        (N,) integers from 0.
    values
        Gives the values of a slice of the rows, or 1 to count them.

    Returns
    -------
    The sum for each number from 0 to the highest; one for 0 at least.
    """
    total = np.zeros(1)
    for part in blocks(len(index)):
        some = index[part]
        missing = int(some.max(initial=0)) + 1 - len(total)
        total = np.concatenate([total, np.zeros(max(missing, 0))])
        # One row after another, like `bincount`: sums of floats do not depend on where blocks end.
        np.add.at(total, some, values(part))
        let_go(index)
    return total
