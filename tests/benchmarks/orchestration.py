"""What Prefect costs: the same clips through the plain functions and through the flow, taken in turn.

    python -m tests.benchmarks.orchestration --clips FOLDER [--count 20] [--pool] [--json FILE]

Each clip is annotated twice into fresh folders, once by the steps as plain functions and once as an `annotate-video`
subflow, in alternating order, so that a machine whose speed drifts slows both alike. The start of the server is
measured apart: it is paid once per run. What the flow adds is told in seconds of processors as well, the server's
included, which other programs of the machine disturb less than the clock.

With `--pool` each clip is besides a run on the pool of the server that PREFECT_API_URL names (`fightpose up`), one
after the other: from the moment at which a worker takes it to its end, the start of its process and the loading of the
model included. All of that beyond the plain functions' seconds is what a run of its own costs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from flows.prefect_server.server import prefect_api, prepare_environment
from tasks.video.decoder import helper_processes


def _plain(output_root: Path) -> Callable[[Any], None]:
    """Return a function that annotates a job by the steps as plain functions."""
    from prefect.tasks import Task

    from flows import annotate_video as room
    from tasks import steps
    from tasks.core.settings import Settings
    from tasks.poses import entry_of

    names = {name: value.fn for name, value in vars(steps).items() if isinstance(value, Task)}
    plain = SimpleNamespace(**names, timed=steps.timed)
    entry = entry_of(Settings().poses)

    def run(job: Any) -> None:
        """Annotate one clip without Prefect."""
        original, room.steps = room.steps, plain  # type: ignore[assignment]
        try:
            room._annotate(job.clip, output_root, job.settings.resolve(entry.thresholds), entry, lambda: None)
        finally:
            room.steps = original

    return run


def _server_work() -> float:
    """Return the seconds of processors that the temporary server, this process's child, has taken so far."""
    # Helpers that decode work for both ways, and are left out of both.
    helpers = helper_processes()
    children = [child for child in psutil.Process().children(recursive=True) if child.pid not in helpers]
    return sum(sum(child.cpu_times()[:2]) for child in children)


def measure(folder: Path, count: int) -> dict[str, float]:
    """Annotate the first clips of a folder both ways and return seconds and shares."""
    from prefect import flow

    from flows.runs.local import ClipJob, run_clip
    from tasks.clips.discovery import discover_clips
    from tasks.core.settings import Settings
    from tasks.poses import model_of

    settings = Settings()
    model_of(settings.poses)
    with tempfile.TemporaryDirectory(prefix="fightpose-") as scratch:
        roots = {"plain": Path(scratch) / "plain", "flow": Path(scratch) / "flow"}
        jobs = {
            way: [ClipJob(c, folder, root, settings) for c in discover_clips(folder, root).clips[:count]]
            for way, root in roots.items()
        }
        ways: dict[str, Callable[[Any], Any]] = {"plain": _plain(roots["plain"]), "flow": run_clip}
        seconds, work = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)

        @flow(name="orchestration-benchmark")
        def both() -> None:
            """Stand in for the dataset flow, so that each clip is a subflow as in a real run."""
            # The first clip compiles the model and opens the connections: not counted.
            for way in ways:
                ways[way](jobs[way][0])
            # The server works for the flow alone, if a little later.
            work["flow"] -= _server_work()
            for index in range(1, len(jobs["plain"])):
                order = list(ways) if index % 2 else list(ways)[::-1]
                for way in order:
                    start, used = time.perf_counter(), time.process_time()
                    ways[way](jobs[way][index])
                    seconds[way] += time.perf_counter() - start
                    work[way] += time.process_time() - used
            work["flow"] += _server_work()

        both()
    clips = len(jobs["plain"]) - 1
    added = seconds["flow"] - seconds["plain"]
    return {
        "clips": clips,
        "plain_s": seconds["plain"],
        "flow_s": seconds["flow"],
        "added_s_per_clip": added / clips,
        "plain_cpu_s": work["plain"],
        "flow_cpu_s": work["flow"],
        "added_cpu_s_per_clip": (work["flow"] - work["plain"]) / clips,
        "share_of_run": added / seconds["flow"],
    }


def measure_pool(folder: Path, count: int) -> list[float]:
    """Annotate the first clips of a folder as runs on the pool and return the seconds of each."""
    from prefect import flow, runtime
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    from flows.runs.local import ClipJob
    from flows.runs.pool import run_on_pool
    from tasks.clips.discovery import discover_clips
    from tasks.core.settings import Settings

    @flow(name="orchestration-benchmark-pool")
    def on_pool(root: Path) -> str:
        """Run the clips one at a time and return this run's identifier."""
        jobs = [ClipJob(clip, folder, root, Settings()) for clip in discover_clips(folder, root).clips[:count]]
        for _ in run_on_pool(jobs, in_flight=1):
            pass
        return str(runtime.flow_run.id)

    with tempfile.TemporaryDirectory(prefix="fightpose-") as scratch:
        parent = on_pool(Path(scratch))
    seconds = []
    with get_client(sync_client=True) as client:
        children = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [parent]}})
        for run in client.read_flow_runs(flow_run_filter=children, sort=FlowRunSort.START_TIME_ASC):
            taken = next(state for state in client.read_flow_run_states(run.id) if state.is_pending())
            seconds.append((run.end_time - taken.timestamp).total_seconds())
    return seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, type=Path)
    parser.add_argument("--count", type=int, default=21, help="clips, the first of which is not counted")
    parser.add_argument("--pool", action="store_true", help="also as runs on the pool of a running `fightpose up`")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    prepare_environment(console_level="CRITICAL")
    start = time.perf_counter()
    with prefect_api():
        figures = {"server_start_s": time.perf_counter() - start, **measure(args.clips.resolve(), args.count)}
        if args.pool:
            # The first clip is left out as above: it starts the worker's file caches.
            each = measure_pool(args.clips.resolve(), args.count)[1:]
            pool, plain = sum(each) / len(each), figures["plain_s"] / figures["clips"]
            figures |= {"pool_s_per_clip": pool, "pool_added_s_per_clip": pool - plain, "pool_share": 1 - plain / pool}
    for name, value in figures.items():
        sys.stdout.write(f"{name:20s} {value:.3f}\n")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
