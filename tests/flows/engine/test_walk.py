"""Clips through an engine: a bounded number under way, each ends once, and what dies costs only itself."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from flows.engine import walk as room_of_walk
from flows.engine.engines import ParallelEngine
from flows.engine.jobs import ClipJob, RunKeys
from flows.engine.walk import walk
from flows.engine.workers import StoppedError
from flows.runs.local import result_of
from flows.runs.results import Outcome
from tasks.clips.discovery import discover_clips
from tasks.clips.failures import current_failures
from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tasks.mapping.summary import ClipSummary

NOTHING = ClipSummary(1, 1, [], {}, extracted=True)


class Counting:
    """An engine that does nothing for a while, and counts who is in it."""

    at_once = 3

    def __init__(self, fault: Exception | None = None) -> None:
        self.now, self.most, self.calls = 0, 0, 0
        self._lock = threading.Lock()
        self.stopped = threading.Event()
        self.fault = fault

    def annotate(self, job: ClipJob) -> ClipSummary:
        """Stay for a moment, or until stopped."""
        with self._lock:
            self.now, self.calls = self.now + 1, self.calls + 1
            self.most = max(self.most, self.now)
        if self.stopped.wait(0.05):
            raise StoppedError("the run was stopped")
        with self._lock:
            self.now -= 1
        if self.fault is not None:
            raise self.fault
        return NOTHING

    def stop(self) -> None:
        """End what is under way."""
        self.stopped.set()


@pytest.fixture
def jobs(tmp_path: Path, out: Path) -> list[ClipJob]:
    """Give the jobs of ten clips that nobody opens."""
    root = tmp_path / "clips"
    root.mkdir()
    for number in range(10):
        (root / f"{number}.mp4").write_bytes(b"never opened")
    return [ClipJob(clip, root, out, Settings()) for clip in discover_clips(root, out).clips]


def test_every_clip_ends_once_and_no_more_than_the_engine_takes_are_under_way(jobs):
    """Jobs are taken from the iterable only when there is room."""
    taken = []

    def lazily():
        """Yield the jobs, noting which were taken."""
        for job in jobs:
            taken.append(job)
            yield job

    engine = Counting()
    for number, ended in enumerate(walk(lazily(), engine)):
        assert ended.summary is NOTHING
        assert len(taken) <= number + 1 + engine.at_once
    assert (engine.calls, engine.most) == (10, 3)


def test_the_room_may_shrink_and_grow(jobs):
    """As memory does."""
    engine = Counting()
    assert len(list(walk(jobs, engine, room=lambda running: 1))) == 10
    assert engine.most == 1


def test_what_is_under_way_ends_when_no_more_is_wanted(jobs):
    """As after SIGTERM: the rest is left for the next try."""
    engine = Counting()
    results = []
    for ended in walk(jobs, engine, wanted=lambda: len(results) < 2):
        results.append(ended)
    assert 2 <= len(results) <= 2 + engine.at_once
    assert all(ended.error is None for ended in results)
    assert engine.calls == len(results)


def test_leaving_the_walk_stops_the_engine(jobs):
    """Ctrl-C and cancelling: nothing is waited for."""
    engine = Counting()
    results = walk(jobs, engine)
    next(results)
    results.close()
    assert engine.stopped.is_set()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_output_folder_ends_the_run_with_one_line(jobs, number):
    """And not with one failure per clip."""
    engine = Counting(OSError(number, os.strerror(number)))
    with pytest.raises(FightposeError, match=r"cannot write below .*; free space or fix the mount"):
        list(walk(jobs, engine))
    assert engine.calls < len(jobs)


def kills_its_worker(work: tuple[ClipJob, RunKeys]) -> ClipSummary:
    """Take the process down for one clip, as a crash in a decoder would; runs in the workers."""
    if work[0].clip.stem == "2":
        os.kill(os.getpid(), signal.SIGKILL)
    return NOTHING


def kills_its_worker_once(work: tuple[ClipJob, RunKeys]) -> ClipSummary:
    """Take the process down at the first try only, as want of memory beside other clips does."""
    mark = work[0].output_root / "killed"
    if work[0].clip.stem == "2" and not mark.exists():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return NOTHING


@pytest.mark.parametrize(
    ("target", "outcome"), [("kills_its_worker", "failed"), ("kills_its_worker_once", "annotated")]
)
def test_a_clip_whose_worker_dies_is_done_again_alone_at_the_end(jobs, target, outcome):
    """It is recorded if that kills a worker as well; all others are annotated at once."""
    with ParallelEngine(jobs[0].settings, 2, target=f"{__name__}:{target}") as engine:
        results = [result_of(ended) for ended in walk(jobs, engine)]
    assert len(results) == 10
    assert results[-1].clip == "2.mp4"
    assert {result.clip for result in results if result.outcome != Outcome.ANNOTATED} == (
        {"2.mp4"} if outcome == "failed" else set()
    )
    failures = current_failures(jobs[0].output_root)
    assert [failure.frame_dir for failure in failures] == (["clips/2"] if outcome == "failed" else [])
    assert all("worker process died" in failure.info for failure in failures)


def test_the_number_under_way_is_looked_at_again_while_nothing_ends(jobs, monkeypatch):
    """A clip of an hour does not keep others waiting when there is room again."""
    monkeypatch.setattr(room_of_walk, "POLL_SECONDS", 0.01)
    engine = Counting()
    start = time.monotonic()
    list(walk(jobs, engine, room=lambda running: 1 if time.monotonic() - start < 0.1 else 3))
    assert engine.most == 3
