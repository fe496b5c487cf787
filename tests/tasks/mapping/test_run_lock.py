"""Two runs on one output folder, and clips that are still being copied."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.clips.still_copying import still_growing
from tasks.core.errors import FightposeError
from tasks.mapping.run_lock import sole_run


def hold(folder: Path, held: Any) -> None:
    """Hold a folder until killed."""
    with sole_run(folder):
        held.set()
        time.sleep(60)


def test_a_second_run_on_an_output_folder_is_refused_and_told_who_holds_it(out):
    """Also from the same process; afterwards the folder is free."""
    line = f"another run is writing to .*process {os.getpid()} on "
    with sole_run(out), pytest.raises(FightposeError, match=line), sole_run(out):
        pytest.fail("two runs at once")
    with sole_run(out):
        pass


def test_a_killed_run_leaves_no_lock(out):
    """The system frees the lock of a process that kill -9 ended."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold, args=(out, held))
    process.start()
    assert held.wait(60)
    with pytest.raises(FightposeError, match="another run"), sole_run(out):
        pass
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with sole_run(out):
        pass


@pytest.mark.parametrize("there", [False, True])
def test_a_refused_run_leaves_no_folder_that_it_made(tmp_path, there):
    """Nor does it remove one that was there, or that somebody has put something into."""
    root = tmp_path / "out"
    if there:
        root.mkdir()

    def refused(*names: str) -> None:
        """Start a run and refuse it, files of others appearing meanwhile."""
        with sole_run(root):
            for name in names:
                (root / name).touch()
            raise FightposeError("no such input")

    with pytest.raises(FightposeError, match="no such input"):
        refused()
    assert root.exists() is there
    with pytest.raises(FightposeError, match="no such input"):
        refused("notes.txt")
    assert (root / "notes.txt").exists()


def test_two_output_folders_do_not_know_each_other(out, tmp_path):
    """The lock is one of the folder."""
    with sole_run(out), sole_run(tmp_path / "other"):
        pass


def test_a_file_that_grows_or_vanishes_is_still_being_copied(tmp_path):
    """A whole one is not, whatever its time says: the file server's clock may be ahead."""
    whole, growing, gone = (tmp_path / name for name in ("whole.mp4", "growing.mp4", "gone.mp4"))
    for path in (whole, growing, gone):
        path.write_bytes(b"x" * 1000)
    ahead = time.time() + 3600
    os.utime(whole, (ahead, ahead))

    def copy() -> None:
        """Go on copying."""
        gone.unlink()
        with growing.open("ab") as stream:
            stream.write(b"y")

    timer = threading.Timer(0.1, copy)
    timer.start()
    assert still_growing([whole, growing, gone], 0.4) == {growing, gone}
    timer.join()


def test_an_empty_inbox_costs_no_time():
    """Nothing to look at, nothing to wait for."""
    start = time.monotonic()
    assert still_growing([], 30) == set()
    assert time.monotonic() - start < 1
