"""Worker processes: one clip is lost at most, and nothing outlives its parent."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.engine import workers
from flows.engine.workers import OutOfTimeError, StoppedError, WorkerDiedError, WorkerHangsError, WorkerPool
from tasks.core import progress
from tasks.core.errors import ClipError, FailureReason
from tasks.core.progress import Progress
from tasks.mapping.run_lock import sole_run

TARGET = "tests.flows.engine.test_workers:work"


def work(payload: tuple[str, Any], *descriptors: int) -> Any:
    """Do what a test asks for; runs in the workers."""
    kind, value = payload
    if kind == "die":
        os.kill(os.getpid(), value)
    if kind == "sleep":
        time.sleep(value)
    if kind == "fail":
        raise value
    if kind == "tell":
        logging.getLogger("tasks.x").warning("a line for %s", value)
        progress.report(Progress(value, "overlay", 3, 4))
    if kind == "write":
        # As an overlay that is being encoded: something is written again and again.
        while True:
            Path(value).write_text(str(time.time()))
            time.sleep(0.02)
    if kind == "read":
        return os.pread(descriptors[0], 5, 0)
    return os.getpid()


@pytest.fixture
def pool():
    """Give a pool of two workers."""
    with WorkerPool(TARGET, 2) as made:
        yield made


def test_results_and_errors_come_back_and_the_workers_are_used_again(pool):
    """Two processes for many calls; a clip's error is raised as it is."""
    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(pool.call, [("id", None)] * 20))) <= 2
    error = ClipError(FailureReason.NO_TRACKS, "/a.mp4", "nobody")
    with pytest.raises(ClipError, match="nobody"):
        pool.call(("fail", error))
    with pytest.raises(RuntimeError, match="KeyError: 'x'"):
        pool.call(("fail", KeyError("x")))
    assert pool.call(("id", None)) in pool.processes()


def test_a_worker_that_dies_is_replaced_and_the_other_goes_on(pool):
    """By any signal; the error says which."""
    other = pool.call(("id", None))
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        pool.call(("die", signal.SIGKILL))
    with pytest.raises(WorkerDiedError, match="SIGSEGV"):
        pool.call(("die", signal.SIGSEGV))
    assert pool.call(("id", None)) != other


def test_a_worker_that_was_killed_while_idle_costs_nothing(pool):
    """It is found dead when it is taken."""
    process = psutil.Process(pool.call(("id", None)))
    process.kill()
    process.wait()
    assert pool.call(("id", None)) != process.pid


def test_work_that_takes_too_long_or_hangs_is_ended(pool, monkeypatch):
    """The clip's own limit, and the pool's."""
    pool.call(("id", None))
    until = time.monotonic() + 1
    with pytest.raises(OutOfTimeError):
        pool.call(("sleep", 600), lambda: until - time.monotonic())
    pool.call(("id", None))
    monkeypatch.setattr(workers, "SILENCE_SECONDS", 0.5)
    with pytest.raises(WorkerHangsError, match="said nothing"):
        pool.call(("sleep", 600))
    assert len(pool.processes()) <= 2


def test_closing_ends_what_is_under_way(pool):
    """From another thread, as Ctrl-C does."""
    pool.call(("id", None))
    threading.Timer(0.5, pool.close).start()
    with pytest.raises(StoppedError):
        pool.call(("sleep", 600))
    assert pool.processes() == []


def test_progress_log_lines_and_descriptors_pass_between_the_two(pool, caplog, tmp_path):
    """What a person sees does not depend on which process does the work."""
    heard: list[Progress] = []
    progress.listen(heard.append)
    try:
        pool.call(("tell", "a.mp4"))
    finally:
        progress.listen(None)
    assert heard == [Progress("a.mp4", "overlay", 3, 4)]
    assert "a line for a.mp4" in caplog.text
    (tmp_path / "file").write_bytes(b"hello")
    with (tmp_path / "file").open("rb") as stream:
        assert pool.call(("read", None), descriptors=[stream.fileno()]) == b"hello"


PARENT = """
import sys, threading
from pathlib import Path
from flows.engine.workers import WorkerPool
from tasks.mapping.run_lock import sole_run
with sole_run(Path(sys.argv[1])), WorkerPool({target!r}, 4) as pool:
    for number in range(4):
        threading.Thread(target=pool.call, args=(("write", f"{{sys.argv[1]}}/{{number}}"),)).start()
    threading.Event().wait()
"""


def test_kill_9_of_the_parent_ends_its_workers_and_no_run_starts_before(tmp_path):
    """They end by themselves; the folder's lock is theirs until then."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(target=TARGET), str(tmp_path)])
    deadline = time.monotonic() + 120
    while len([n for n in range(4) if (tmp_path / str(n)).exists()]) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    writers = psutil.Process(parent.pid).children()
    assert len(writers) == 4
    parent.kill()
    parent.wait()
    with sole_run(tmp_path):
        # The lock was free only when the last writer had ended.
        assert not [writer for writer in writers if writer.is_running() and writer.status() != psutil.STATUS_ZOMBIE]
