"""A file is made by one at a time: others wait, and then find it."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.core.locks import sole_maker


def make_once(path: Path) -> bool:
    """Make a file unless it is there; tell whether this caller made it."""
    with sole_maker(path):
        if path.exists():
            return False
        # Long enough for all others to come to the lock meanwhile.
        time.sleep(0.05)
        # Fails if another one is making it, too.
        path.touch(exist_ok=False)
        return True


@pytest.mark.parametrize("round_", range(5))
def test_of_many_threads_one_makes_the_file(tmp_path, round_):
    """No lock file is left."""
    path = tmp_path / "poses.npz"
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(make_once, [path] * 24)) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_of_several_processes_one_makes_the_file(tmp_path):
    """As workers of mode parallel and shards of a pool do."""
    path = tmp_path / "poses.npz"
    with multiprocessing.get_context("spawn").Pool(3) as processes:
        assert sum(processes.map(make_once, [path] * 9)) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_whose_maker_failed_is_made_by_the_next(tmp_path):
    """The error is the maker's own."""
    path = tmp_path / "poses.npz"
    with pytest.raises(ValueError, match="broken"), sole_maker(path):
        raise ValueError("broken")
    assert make_once(path)


def test_a_wait_ends_when_the_run_is_stopped(tmp_path):
    """What the check raises is raised to the caller, and the holder is not disturbed."""
    path = tmp_path / "poses.npz"
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        """Hold the lock until told."""
        with sole_maker(path):
            held.set()
            free.wait(60)

    def stop() -> None:
        """Stop the one that waits."""
        raise KeyboardInterrupt

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(60)
        with pytest.raises(KeyboardInterrupt), sole_maker(path, stop):
            pytest.fail("two hold the lock")
    finally:
        free.set()
        holder.join()
    assert make_once(path)


def test_files_of_other_names_do_not_wait(tmp_path):
    """Each name has its own lock."""
    with sole_maker(tmp_path / "a"), sole_maker(tmp_path / "b"):
        assert len(list(tmp_path.iterdir())) == 2
