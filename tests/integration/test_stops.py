"""Cancelling from the UI, SIGTERM, and the inbox that a schedule looks into."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from tasks.clips.failures import current_failures
from tests.integration.clips import make_clips
from tests.integration.cluster import Cluster, client

EXTRACTION = {"FIGHTPOSE_TEST_SECONDS": "1.0"}
"""A second per frame: what is stopped is an extraction."""


def wait_for_extraction(cluster: Cluster, count: int) -> None:
    """Wait until so many extractions have started in all."""
    deadline = time.monotonic() + 600
    while len(cluster.extractions()) < count:
        assert time.monotonic() < deadline, (cluster.folder / "gpu-1.log").read_text()
        time.sleep(0.2)
    # Into the middle of it.
    time.sleep(2)


@pytest.mark.integration
def test_cancel_stops_a_run_at_once_and_sigterm_after_its_step(tmp_path):
    """Cancelled: gone within 10 s, no file. SIGTERM: the extraction ends, is kept, and is not done again."""
    out = tmp_path / "out"
    (clip,) = make_clips(tmp_path / "data", 1, frames=24)
    with Cluster(tmp_path, environment=EXTRACTION) as cluster:
        cluster.provision(gpu=2)
        cluster.worker("gpu", "gpu-1")
        run = cluster.run("annotate-video", video=str(clip), output_root=str(out))
        wait_for_extraction(cluster, 1)
        start = time.monotonic()
        with client() as api:
            api.set_flow_run_state(run.id, Cancelling())
        while cluster.run_processes(run):
            assert time.monotonic() - start < 30
            time.sleep(0.1)
        gone = time.monotonic() - start
        assert cluster.wait(run, 60).state.is_cancelled()
        print(f"\ncancelled: process gone after {gone:.1f} s, state after {time.monotonic() - start:.1f} s")
        assert gone < 10
        assert [path for path in out.rglob("*") if path.is_file()] == []

        run = cluster.run("annotate-video", video=str(clip), output_root=str(out))
        wait_for_extraction(cluster, 2)
        start = time.monotonic()
        terminated(cluster, run)
        print(f"SIGTERM: process gone after {time.monotonic() - start:.1f} s")
        assert len(list(out.rglob("*.npz"))) == 1
        completed(cluster, run, extractions=2)
        print(f"rescheduled and completed after {time.monotonic() - start:.1f} s")


@pytest.mark.integration
def test_a_step_that_takes_longer_than_the_grace_is_ended_and_done_again(tmp_path):
    """Nothing waits for ever; no half file is left, and the run is rescheduled all the same."""
    out = tmp_path / "out"
    (clip,) = make_clips(tmp_path / "data", 1, frames=24)
    with Cluster(tmp_path, environment={**EXTRACTION, "FIGHTPOSE_GRACE_SECONDS": "3"}) as cluster:
        cluster.provision(gpu=2)
        cluster.worker("gpu", "gpu-1")
        run = cluster.run("annotate-video", video=str(clip), output_root=str(out))
        wait_for_extraction(cluster, 1)
        start = time.monotonic()
        terminated(cluster, run)
        assert time.monotonic() - start < 20
        assert [path for path in out.rglob("*") if path.is_file()] == []
        completed(cluster, run, extractions=2)


def terminated(cluster: Cluster, run: FlowRun) -> None:
    """Send SIGTERM to the processes of a run and wait until they are gone; its next try may have started by then."""
    # Not the helpers that they started to decode the clip.
    processes = [p for p in cluster.run_processes(run) if p.ppid() == cluster.processes["gpu-1"].pid]
    for process in processes:
        process.terminate()
    assert psutil.wait_procs(processes, timeout=90)[1] == []


def completed(cluster: Cluster, run: FlowRun, extractions: int) -> None:
    """Wait until a run is complete in its second try, with so many extractions in all."""
    # Half a minute on an idle machine: a start of Prefect, 24 frames of a second, and the end.
    deadline = time.monotonic() + 900
    with client() as api:
        while not api.read_flow_run(run.id).state.is_completed():
            assert time.monotonic() < deadline
            time.sleep(1)
        assert api.read_flow_run(run.id).run_count == 2
    assert len(cluster.extractions()) == extractions


@pytest.mark.integration
def test_a_schedule_takes_what_lies_in_the_inbox_and_leaves_what_still_grows(tmp_path):
    """The clip that is being copied in is neither annotated nor recorded as broken, and done in a later round."""
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    first, second = make_clips(tmp_path / "made", 2, frames=24)
    inbox.mkdir()
    shutil.copy(first, inbox / "whole.mp4")
    content = second.read_bytes()
    growing = inbox / "growing.mp4"
    growing.write_bytes(content[:100])
    schedule = {
        "interval": 30,
        "active": True,
        "slug": "often",
        "parameters": {"input": str(inbox), "output_root": str(out), "mode": "pool", "settle_seconds": 3},
    }
    with Cluster(tmp_path) as cluster:
        cluster.provision(schedule=schedule, gpu=2, cpu=1)
        cluster.worker("gpu", "gpu-1")
        cluster.worker("cpu", "cpu-1")
        size = 100
        deadline = time.monotonic() + 300
        while not annotation(out, "whole").is_file():
            assert time.monotonic() < deadline
            size += 1
            growing.write_bytes(content[:size])
            time.sleep(0.5)
        assert not annotation(out, "growing").exists()
        assert current_failures(out) == []
        growing.write_bytes(content)
        while not annotation(out, "growing").is_file():
            assert time.monotonic() < deadline + 200
            time.sleep(0.5)
        assert current_failures(out) == []
        assert [path.name for _, path in cluster.extractions()] == ["whole.mp4", "growing.mp4"]


def annotation(out: Path, stem: str) -> Path:
    """Return where the annotation of a clip of the inbox belongs."""
    return out / "inbox" / f"{stem}_enhanced_stgcn_annotation.pkl"
