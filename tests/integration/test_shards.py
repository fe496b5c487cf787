"""A shard on a real worker: Retry, cancel, SIGTERM, and a kill, each costs only the clips that it has to."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry, Cancelling

from flows.engine.engines import run_keys
from flows.engine.jobs import ClipJob
from flows.engine.shards import write_work_list
from tasks.clips.discovery import discover_clips
from tasks.core.settings import Settings
from tasks.mapping.receipts import finished
from tests.integration.clips import make_clips
from tests.integration.cluster import Cluster, client

pytestmark = pytest.mark.integration

CLIPS = 8

PATIENCE_SECONDS = 600
"""A start of a run takes five seconds on an idle machine, and a minute on one that is overloaded."""


@pytest.fixture
def jobs(tmp_path: Path) -> list[ClipJob]:
    """Give the clips of a shard: half a second of model time each."""
    make_clips(tmp_path / "data", CLIPS, frames=24)
    found = discover_clips(tmp_path / "data", tmp_path / "out")
    return [ClipJob(clip, found.root, tmp_path / "out", Settings()) for clip in found.clips]


def start(cluster: Cluster, jobs: list[ClipJob]) -> FlowRun:
    """Put a shard of all clips into the queue."""
    work = write_work_list(jobs, run_keys(jobs[0].settings).settings)
    return cluster.run("annotate-shard", output_root=str(jobs[0].output_root), clips=str(work))


def done(jobs: list[ClipJob]) -> int:
    """Return how many clips are finished."""
    key = run_keys(jobs[0].settings).settings
    return sum(finished(job.clip, job.output_root, key) is not None for job in jobs)


def wait_until_done(jobs: list[ClipJob], count: int) -> None:
    """Wait until so many clips are finished."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while done(jobs) < count:
        assert time.monotonic() < deadline, done(jobs)
        time.sleep(0.1)


def executing(cluster: Cluster, run: FlowRun) -> list[psutil.Process]:
    """Return the processes of a run that its worker started, without their own helpers."""
    return [process for process in cluster.run_processes(run) if process.ppid() == cluster.processes["gpu-1"].pid]


def test_a_retry_runs_the_failed_clips_only(tmp_path, jobs):
    """As a person presses Retry in the UI: the other clips are results that Prefect kept."""
    broken = jobs[3].clip.path
    sound = broken.read_bytes()
    broken.write_text("no video")
    with Cluster(tmp_path) as cluster:
        cluster.provision(gpu=1)
        cluster.worker("gpu", "gpu-1")
        run = cluster.wait(start(cluster, jobs), PATIENCE_SECONDS)
        assert run.state is not None
        assert run.state.is_failed()
        assert "1 of 8 clips failed" in str(run.state.message)
        assert done(jobs) == CLIPS - 1
        assert len(cluster.extractions()) == CLIPS - 1
        receipts = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/.fightpose/receipts").rglob("*.json")}
        broken.write_bytes(sound)
        with client() as api:
            # What the button sends.
            api.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        # The old state is final, too.
        cluster.wait(run, PATIENCE_SECONDS, until="RUNNING")
        ended = cluster.wait(run, PATIENCE_SECONDS)
        assert ended.state is not None
        assert ended.state.is_completed()
        assert Counter(path for _, path in cluster.extractions()) == Counter(job.clip.path for job in jobs)
    assert done(jobs) == CLIPS
    assert {path: path.stat().st_mtime_ns for path in receipts} == receipts


def test_cancel_sigterm_and_kill_cost_no_more_than_the_clips_under_way(tmp_path, jobs):
    """Killed and put back: what was finished is not done again. Cancelled: gone, without an orphan or a half file."""
    with Cluster(tmp_path, environment={"FIGHTPOSE_TEST_SECONDS": "0.1"}) as cluster:
        cluster.provision(gpu=1)
        cluster.worker("gpu", "gpu-1")
        run = start(cluster, jobs)
        wait_until_done(jobs, 1)
        (process,) = executing(cluster, run)
        children = process.children(recursive=True)
        process.terminate()
        # The stages under way end first; nothing of the run is left then.
        assert psutil.wait_procs([process, *children], timeout=PATIENCE_SECONDS)[1] == []
        after_term = done(jobs)
        # Put back by itself, it goes on in a new process, which is killed.
        wait_until_done(jobs, min(after_term + 1, CLIPS))
        for process in executing(cluster, run):
            children = process.children(recursive=True)
            process.kill()
            assert psutil.wait_procs([process, *children], timeout=PATIENCE_SECONDS)[1] == []
        ended = cluster.wait_for_completion(run, PATIENCE_SECONDS)
        # By itself, after the SIGTERM and after the kill, which its worker reports twice.
        assert ended.run_count <= 3
        times = Counter(path for _, path in cluster.extractions())
        assert done(jobs) == CLIPS
        # Clips that were under way at the kill, and none more than twice: the SIGTERM cost no work at all.
        assert max(times.values()) <= 2, times

        for job in jobs:
            job.clip.annotation_path.unlink()
        before = len(cluster.extractions())
        for path in (tmp_path / "out/.fightpose/poses").rglob("*.npz"):
            path.unlink()
        second = start(cluster, jobs)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(cluster.extractions()) == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        family = [*executing(cluster, second)]
        family += [child for process in family for child in process.children(recursive=True)]
        asked = time.monotonic()
        with client() as api:
            api.set_flow_run_state(second.id, Cancelling())
        assert psutil.wait_procs(family, timeout=PATIENCE_SECONDS)[1] == []
        gone = time.monotonic() - asked
        print(f"\ncancelled: gone after {gone:.1f} s")
        if os.getloadavg()[0] <= (os.cpu_count() or 1) + 2:
            assert gone < 10
        state = cluster.wait(second, PATIENCE_SECONDS).state
        assert state is not None
        assert state.is_cancelled()
        # A process that is ended at once may leave its locks, which are empty; the next run sweeps them up.
        left = [path for path in (tmp_path / "out").rglob(".partial-*") if path.suffix != ".lock"]
        assert left == []
