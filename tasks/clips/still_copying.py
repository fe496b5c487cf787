"""Clips that are still being copied into the input folder."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def still_growing(paths: Iterable[Path], seconds: float) -> set[Path]:
    """Return the files that change while one looks on for some seconds; those that vanish are among them.

    Two looks of one machine are compared, not the file's time with the clock: the clocks of a file server and of this
    machine may differ by minutes.
    """
    before = {path: _look(path) for path in paths}
    if before:
        time.sleep(seconds)
    return {path for path, seen in before.items() if seen is None or _look(path) != seen}


def _look(path: Path) -> tuple[int, int] | None:
    """Return a file's size and time of change, None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
