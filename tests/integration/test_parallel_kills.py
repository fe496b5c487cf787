"""Kill -9 of a run in worker processes at random moments: nothing goes on writing, no half file is left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.annotations.format import read_annotation
from tasks.annotations.validate_dataset import validate_dataset
from tasks.clips.failures import current_failures
from tasks.mapping.run_lock import sole_run
from tasks.mapping.verify import verify_mapping
from tasks.video.reading import decode_frames, probe_video
from tests.conftest import StandInModel
from tests.integration.clips import make_clips

KILLS = int(os.environ.get("FIGHTPOSE_TEST_KILLS", "40"))

CLIPS = 3 * KILLS
"""So many that clips are under way at every kill."""

END_SECONDS = 2.0
"""How long workers may live on after their parent."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where semaphores are on Linux
"""What the standard library's pools leave behind here when their parent is killed."""

PATIENCE_SECONDS = 60.0
"""How long the test waits for them: a machine that is busy with other tests is slow to run anything."""


def annotate(work: Any) -> Any:
    """Annotate a clip with a stand-in for the model; runs in the workers."""
    from flows.engine import stages

    stages.model_of = lambda settings: StandInModel()  # type: ignore[assignment]
    return stages.annotate_alone(work)


def run_all(clips: Path, out: Path) -> None:
    """Annotate every clip that is not finished in two workers; the process that is killed."""
    from flows.engine.engines import ParallelEngine, run_keys
    from flows.engine.jobs import ClipJob
    from flows.engine.walk import walk
    from tasks.clips.discovery import discover_clips
    from tasks.clips.manifest import write_manifest
    from tasks.core.settings import Settings
    from tasks.mapping.receipts import finished

    settings = Settings()
    key = run_keys(settings).settings
    with sole_run(out):
        found = discover_clips(clips, out)
        write_manifest(out, found.root, found.clips, key)
        jobs = [ClipJob(c, found.root, out, settings) for c in found.clips if finished(c, out, key) is None]
        with ParallelEngine(settings, 2, f"{__name__}:annotate") as engine:
            for ended in walk(jobs, engine):
                assert ended.error is None, ended.error


def start(clips: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start a process that annotates all clips."""
    program = (
        f"from pathlib import Path; from {__name__} import run_all; run_all(Path({str(clips)!r}), Path({str(out)!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", program])


def annotated(out: Path) -> int:
    """Return how many clips have an annotation."""
    return len(list(out.rglob("*_annotation.pkl")))


@pytest.mark.integration
def test_kills_in_parallel_mode_leave_no_process_and_no_half_file(tmp_path):
    """The folder is free once the last worker has ended, which takes two seconds at most on an idle machine."""
    dice = random.Random(3)  # noqa: S311
    clips, out = tmp_path / "data", tmp_path / "out"
    make_clips(clips, CLIPS, frames=24)
    slowest, last = 0.0, 0.0
    semaphores = set(SHARED_MEMORY.glob("sem.*"))
    for _ in range(KILLS):
        before = annotated(out)
        process = start(clips, out)
        # Into the middle of the work: at least one clip of this try has ended.
        while annotated(out) == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(dice.uniform(0.0, 0.5))
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        killed = time.monotonic()
        with sole_run(out, patience=PATIENCE_SECONDS):
            slowest = max(slowest, time.monotonic() - killed)
            # Decoders hold no lock and write nothing; they have to go all the same.
            left = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)[1]
            last = max(last, time.monotonic() - killed)
            assert left == []
            for path in out.rglob("*_annotation.pkl"):
                assert validate_dataset(read_annotation(path)) == []
    print(f"\n{KILLS} kills; the folder was free after {slowest:.2f} s, all processes gone after {last:.2f} s")
    if os.getloadavg()[0] <= (os.cpu_count() or 1) + 2:
        assert last <= END_SECONDS
    assert set(SHARED_MEMORY.glob("sem.*")) <= semaphores
    assert start(clips, out).wait() == 0
    assert annotated(out) == CLIPS
    assert current_failures(out) == []
    assert verify_mapping(out, deep=True).lines() == []
    for path in list(out.rglob("*_overlay.mp4"))[:5]:
        assert sum(1 for _ in decode_frames(probe_video(path))) == 24
