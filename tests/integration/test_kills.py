"""Kill -9 of runs, their helpers and workers at random moments, and a clip that kills: every clip ends, once."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun

from tasks.clips.failures import current_failures, read_failures
from tasks.clips.manifest import read_manifests
from tasks.mapping.verify import verify_mapping
from tests.integration.clips import make_clips
from tests.integration.cluster import Cluster, client
from tests.integration.counted import POISON

CLIPS = int(os.environ.get("FIGHTPOSE_TEST_CLIPS", "40"))
KILLS = int(os.environ.get("FIGHTPOSE_TEST_KILLS", "20"))
LIMIT_SECONDS = int(os.environ.get("FIGHTPOSE_TEST_LIMIT", "3600"))
WORKERS = ("gpu-1", "gpu-2")
PAUSE = (3.0, 12.0)
"""Seconds between two kills."""

AT_STARTS = 4
"""One kill of so many comes whatever runs do; the others wait until clips are under way again.

A run that is killed before it has started is put back after five minutes (`flows.prefect_server.provision`): on a busy
machine, where starts take longer than the pause, a test that kills nothing else never gets to a clip.
"""


def kill_one(cluster: Cluster, dice: random.Random) -> tuple[str, str] | None:
    """Kill something at random and return what it was; None if no run was under way."""
    worker_of = {cluster.processes[name].pid: name for name in WORKERS}
    # Helpers of a run have its environment, but the run for a parent; others may end at any moment.
    clip_runs = [(run, worker_of[parent]) for run in cluster.run_processes() if (parent := parent_of(run)) in worker_of]
    if not clip_runs:
        return None
    victim, worker = dice.choice(clip_runs)
    kind = dice.choice(["run", "run", "stage", "worker", "worker and its runs"])
    if kind == "run":
        targets: list[Any] = [victim]
    elif kind == "stage":
        # A decoder, or a process that tracks and draws; a run that is only starting has none yet.
        targets = [dice.choice(inner)] if (inner := stages_of(victim)) else []
    else:
        targets = [cluster.processes[worker]]
    if kind == "worker and its runs":
        targets += cluster.processes[worker].children(recursive=True)
    if not targets:
        return None
    for target in targets:
        try:
            target.kill()
        except psutil.NoSuchProcess:
            continue
    if kind.startswith("worker"):
        cluster.processes[worker].wait(10)
        cluster.worker("gpu", worker)
    return kind, worker


def parent_of(process: psutil.Process) -> int:
    """Return the ID of a process's parent, 0 for a process that has ended."""
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return 0


def stages_of(run: psutil.Process) -> list[psutil.Process]:
    """Return the processes that a run has started for its stages."""
    try:
        return run.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_over(run: FlowRun) -> bool:
    """Tell whether a run has ended for good."""
    with client() as api:
        state = api.read_flow_run(run.id).state
    return state is not None and state.is_completed()


@pytest.mark.integration
def test_every_clip_ends_once_whatever_is_killed(tmp_path):
    """40 clips, 2 workers, 20 kills: annotated or recorded, and no extraction that was stored is done again.

    One clip kills whatever extracts it: it ends as one recorded failure, and costs no other clip its annotation.
    """
    dice = random.Random(7)  # noqa: S311
    clips, out = tmp_path / "data", tmp_path / "out"
    poison = make_clips(clips, CLIPS, frames=24)[CLIPS // 2]
    kills: list[tuple[float, str, str]] = []
    environment = {"FIGHTPOSE_TEST_SECONDS": "0.1", POISON: poison.name}
    with Cluster(tmp_path, environment=environment) as cluster:
        cluster.provision(gpu=4, cpu=2)
        for name in WORKERS:
            cluster.worker("gpu", name)
        cluster.worker("cpu", "cpu-1")
        start = time.time()
        run = cluster.run("annotate-dataset", input=str(clips), output_root=str(out), mode="pool", in_flight=8)
        cluster.wait(run, 300, until="RUNNING")
        seen = 0
        # Shards end sooner than single runs did: where nothing is left to kill, the kills so far have to do.
        while len(kills) < KILLS and time.time() - start < LIMIT_SECONDS / 2 and not is_over(run):
            time.sleep(dice.uniform(*PAUSE))
            if (len(kills) + 1) % AT_STARTS and len(cluster.extractions()) == seen:
                continue
            if killed := kill_one(cluster, dice):
                kills.append((time.time() - start, *killed))
                seen = len(cluster.extractions())
        ended = cluster.wait(run, LIMIT_SECONDS - (time.time() - start))
        seconds = time.time() - start
        extractions = cluster.extractions()
    stored = {path: path.stat().st_mtime for path in (out / ".fightpose/poses").rglob("*.npz")}
    report(kills, extractions, out, seconds)
    assert ended.state is not None
    assert ended.state.is_completed()
    assert verify_mapping(out).ok
    listed = read_manifests(out)
    assert len(listed) == CLIPS
    annotated = [clip for clip in listed if clip.annotation_path.is_file()]
    failed = [failure.path for failure in current_failures(out)]
    assert [Path(path).name for path in failed] == [poison.name]
    assert len(annotated) == CLIPS - 1
    # Told once, however many runs the clip has ended.
    assert sum(failure.path == failed[0] for failure in read_failures(out)) == 1
    # A clip is extracted again only where the earlier extraction was broken off before its poses were stored.
    assert len(stored) == len(annotated)
    assert not list(out.rglob(".partial-*")) or kills
    for clip in annotated:
        starts = sorted(moment for moment, path in extractions if path == clip.path)
        done = poses_time(out, clip.path, stored, starts)
        assert all(moment <= done for moment in starts), clip.relative


def poses_time(out: Path, clip: Path, stored: dict[Path, float], starts: list[float]) -> float:
    """Return when the poses of a clip were stored: named by content, so they are looked up by the clip's own key."""
    from tasks.core.settings import Settings
    from tasks.poses import resolve_model
    from tasks.poses.stored import poses_path
    from tasks.video.reading import probe_video

    entry = resolve_model("movenet-multipose")
    settings = Settings().resolve(entry.thresholds)
    return stored[poses_path(out, probe_video(clip), entry.sha256, settings.poses)]


def report(
    kills: list[tuple[float, str, str]], extractions: list[tuple[float, Path]], out: Path, seconds: float
) -> None:
    """Print the table of kills and outcomes."""
    print(f"\n{CLIPS} clips, {len(kills)} kills, {seconds:.0f} s")
    for moment, kind, worker in kills:
        print(f"{moment:7.1f} s  {kind:20s} {worker}")
    counts = Counter(path for _, path in extractions)
    print(
        f"extractions started: {len(extractions)}; clips started more than once: {sum(n > 1 for n in counts.values())}"
    )
    print(f"annotations: {len(list(out.rglob('*_annotation.pkl')))}, failures: {len(current_failures(out))}")
    for failure in current_failures(out):
        print(f"  {failure.frame_dir}: {failure.info}")
