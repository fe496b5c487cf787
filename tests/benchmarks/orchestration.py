"""What running clips costs beside the work itself: plain functions, a local run, worker processes, and a pool.

    python -m tests.benchmarks.orchestration --clips FOLDER [--frame-ms 1] [--rounds 2] [--json FILE]

The same clips go through these ways, in rounds of alternating order, so that a machine whose speed drifts slows all
alike. A stand-in takes the place of the pose model: it sleeps for so many milliseconds per frame, as a fast GPU does.

    plain      the engine alone, without Prefect
    single     the same as a local run: one Prefect task per clip
    parallel   whole clips in worker processes, one Prefect task per clip
    pool       a shard on the pool `gpu` of a server with a worker, all on this machine
    ray        whole clips in actors of Ray Data, where Ray is installed (the extra "benchmark")

Seconds and processor seconds per clip count from the sixth clip that ends to the last: the start of servers and
processes is paid once and told apart. `busy` is the share of that time in which the model works. Requests and processor
seconds of the server are those of a whole round, its database's growth as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flows.prefect_server.server import prepare_environment
from tests.benchmarks import ray_pipeline
from tests.integration.counted import SECONDS_PER_FRAME, Slow

WAYS = ("plain", "single", "parallel", "pool", *(["ray"] if ray_pipeline.is_installed() else []))

WARM_CLIPS = 6
"""Clips of a round that do not count: by then every process has started and imported what it needs."""

SETTLE_SECONDS = 3.0
"""How long the server may write after the last clip of a round: its recorder works once a second."""


@dataclass(slots=True)
class Cost:
    """What the rounds of one way took.

    Attributes
    ----------
    clips, frames
        Clips that ended, and their frames.
    seconds, intervals
        Time from the end of the last warm-up clip to the last end of each round, and the clips that ended in it.
    cpu, server_cpu
        Processor seconds of all processes but the server's in that time, and of the server in the whole round.
    requests, database
        Requests that the server answered, and bytes by which its database grew.
    """

    clips: int = 0
    frames: int = 0
    seconds: float = 0.0
    intervals: int = 0
    cpu: float = 0.0
    server_cpu: float = 0.0
    requests: int = 0
    database: int = 0
    first: list[float] = field(default_factory=list)

    def figures(self, frame_seconds: float) -> dict[str, float]:
        """Return the figures per clip."""
        pace = self.seconds / self.intervals
        return {
            "seconds_per_clip": pace,
            "cpu_per_clip": self.cpu / self.intervals,
            "server_cpu_per_clip": self.server_cpu / self.clips,
            "http_per_clip": self.requests / self.clips,
            "db_kb_per_clip": self.database / self.clips / 1000,
            "busy": self.frames / self.clips * frame_seconds / pace,
            "first_clip_s": max(self.first),
        }


STAND_IN = "tests.benchmarks.orchestration:annotate_stand_in"
"""Named in full: this module is `__main__` here, but not in the worker processes."""


def annotate_stand_in(work: Any) -> Any:
    """Annotate a clip in a worker process of mode parallel, with the stand-in as its model."""
    from flows.engine import stages

    stages.model_of = lambda settings: Slow()  # type: ignore[assignment]
    return stages.annotate_alone(work)


def frames_of(summary: Any, clip: str) -> int:
    """Return the frames of a clip; the figures of a run in which one failed say nothing."""
    if summary is None:
        raise RuntimeError(f"{clip} failed")
    return int(summary.frames)


class Bench:
    """The clips, the server and the ways.

    Parameters
    ----------
    clips
        Folder of clips.
    scratch
        Where outputs go; each round of each way has a folder of its own.
    cluster
        The server, with a worker.
    """

    def __init__(self, clips: Path, scratch: Path, cluster: Any) -> None:
        self._clips, self._scratch, self._cluster = clips, scratch, cluster
        self._server = psutil.Process(cluster.processes["server"].pid)

    def jobs(self, name: str, *, overlay: bool = True) -> list[Any]:
        """Return the jobs of a round."""
        from flows.engine.jobs import ClipJob
        from tasks.clips.discovery import discover_clips
        from tasks.core.settings import Settings

        root = self._scratch / name
        settings = Settings.model_validate({"overlay": {"save_overlayfile": overlay}})
        return [ClipJob(clip, self._clips, root, settings) for clip in discover_clips(self._clips, root).clips]

    def plain(self, jobs: list[Any]) -> Iterator[int]:
        """Yield the frames of each clip that ends, through the engine alone."""
        from flows.engine.walk import walk
        from flows.runs.local import overlapped

        with overlapped(jobs[0].settings, Slow()) as engine:
            for ended in walk(jobs, engine):
                yield frames_of(ended.summary, ended.job.clip.relative)

    def single(self, jobs: list[Any]) -> Iterator[int]:
        """Yield them with a Prefect task per clip."""
        from flows.runs.local import overlapped, run_here

        with overlapped(jobs[0].settings, Slow()) as engine:
            for result in run_here(jobs, engine):
                yield frames_of(result.summary, result.clip)

    def parallel(self, jobs: list[Any]) -> Iterator[int]:
        """Yield them in worker processes."""
        from flows.engine.engines import ParallelEngine
        from flows.runs.local import run_here

        with ParallelEngine(jobs[0].settings, len(os.sched_getaffinity(0)), STAND_IN) as engine:
            for result in run_here(jobs, engine):
                yield frames_of(result.summary, result.clip)

    def ray(self, jobs: list[Any]) -> Iterator[int]:
        """Yield them in actors of Ray Data."""
        yield from ray_pipeline.annotated(jobs)

    def pool(self, jobs: list[Any]) -> Iterator[int]:
        """Yield them as a shard on the pool."""
        from flows.engine.engines import run_keys
        from flows.engine.shards import Journal, write_work_list
        from tasks.mapping.receipts import finished

        key = run_keys(jobs[0].settings).settings
        root, by_name = jobs[0].output_root, {job.clip.relative: job for job in jobs}
        run = self._cluster.run("annotate-shard", output_root=str(root), clips=str(write_work_list(jobs, key)))
        journal, seen = Journal(root, str(run.id)), 0
        deadline = time.monotonic() + 3600
        while seen < len(jobs) and time.monotonic() < deadline:
            for line in [line for line in journal.lines() if "clip" in line][seen:]:
                seen += 1
                summary = finished(by_name[line["clip"]].clip, root, key)
                yield frames_of(summary, line["clip"])
            time.sleep(0.05)
        self._cluster.wait(run, 120)

    def measure(self, way: str, jobs: list[Any], cost: Cost) -> None:
        """Run one round of a way and add what it took."""
        run: Callable[[list[Any]], Iterator[int]] = getattr(self, way)
        with self._counted(cost):
            start = time.perf_counter()
            ends: list[float] = []
            cpu: list[float] = []
            in_flow = way in ("single", "parallel")

            def note() -> None:
                """Note an end, and what the processes have taken by then."""
                ends.append(time.perf_counter())
                cpu.append(self._own_cpu())

            frames = _in_flow(run, jobs, note) if in_flow else _noted(run(jobs), note)
        warm = min(WARM_CLIPS, len(ends) // 2)
        cost.first.append(ends[0] - start)
        cost.seconds += ends[-1] - ends[warm]
        cost.cpu += cpu[-1] - cpu[warm]
        cost.intervals += len(ends) - 1 - warm
        cost.clips += len(ends)
        cost.frames += frames

    @contextmanager
    def _counted(self, cost: Cost) -> Iterator[None]:
        """Add the server's work, requests and bytes of the block, and of what it still writes after it."""
        before = self._server_cpu(), self._requests(), self._database()
        yield
        time.sleep(SETTLE_SECONDS)
        cost.server_cpu += self._server_cpu() - before[0]
        cost.requests += self._requests() - before[1]
        cost.database += self._database() - before[2]

    def _own_cpu(self) -> float:
        """Return the processor seconds of this process and all below it but the server, those that ended included."""
        total = 0.0
        servers = {self._server.pid, *(child.pid for child in self._server.children(recursive=True))}
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            if process.pid in servers:
                continue
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def _server_cpu(self) -> float:
        """Return the processor seconds of the server."""
        times = [process.cpu_times() for process in [self._server, *self._server.children(recursive=True)]]
        return sum(t.user + t.system for t in times)

    def _requests(self) -> int:
        """Return how many requests the server's log names."""
        count = (self._cluster.folder / "server.log").read_bytes().count(b"HTTP/1.1")
        # It was asked whether it answers: a log without a request has another form than this, or another level.
        if not count:
            raise RuntimeError("the server's log names no requests")
        return count

    def _database(self) -> int:
        """Return the bytes of the server's database."""
        return sum(path.stat().st_size for path in (self._cluster.folder / "prefect").glob("prefect.db*"))


def _noted(frames: Iterator[int], note: Callable[[], None]) -> int:
    """Note when each clip ends, and return the frames of all."""
    total = 0
    for count in frames:
        note()
        total += count
    return total


def _in_flow(run: Callable[[list[Any]], Iterator[int]], jobs: list[Any], note: Callable[[], None]) -> int:
    """Do the same inside a flow run, as the dataset flow does."""
    from prefect import flow

    @flow(name="orchestration-benchmark")
    def stand_in() -> int:
        """Stand in for the dataset flow."""
        return _noted(run(jobs), note)

    return int(stand_in())


def measure(clips: Path, frame_ms: float, rounds: int, ways: list[str]) -> dict[str, Any]:
    """Run all ways in turn and return the figures."""
    os.environ[SECONDS_PER_FRAME] = str(frame_ms / 1000)
    from tests.integration.cluster import Cluster

    costs = {way: Cost() for way in ways}
    bare = {"overlay": Cost(), "no_overlay": Cost()}
    with tempfile.TemporaryDirectory(prefix="fightpose-") as folder:
        scratch = Path(folder)
        # INFO: the server's log then has a line per request, which is how they are counted.
        environment = {SECONDS_PER_FRAME: os.environ[SECONDS_PER_FRAME], "PREFECT_SERVER_LOGGING_LEVEL": "INFO"}
        with Cluster(scratch / "cluster", environment=environment) as cluster:
            if "pool" in ways:
                cluster.provision(gpu=1, cpu=1)
                cluster.worker("gpu", "gpu-1")
            bench = Bench(clips, scratch, cluster)
            for number in range(rounds):
                for way in ways if number % 2 == 0 else ways[::-1]:
                    bench.measure(way, bench.jobs(f"{way}-{number}"), costs[way])
                for name, cost in bare.items():
                    bench.measure("plain", bench.jobs(f"{name}-{number}", overlay=name == "overlay"), cost)
    figures: dict[str, Any] = {way: cost.figures(frame_ms / 1000) for way, cost in costs.items()}
    pace = {way: figures[way]["seconds_per_clip"] for way in ways}
    figures["ratios"] = {
        f"{way}_to_plain": pace[way] / pace["plain"] for way in ("single", "pool", "ray") if way in pace
    }
    figures["cpu_per_clip"] = {name: cost.cpu / cost.intervals for name, cost in bare.items()}
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, type=Path)
    parser.add_argument("--frame-ms", type=float, default=1.0, help="how long the stand-in takes for a frame")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="plain has to be among them")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    prepare_environment(console_level="CRITICAL")
    figures = measure(args.clips.resolve(), args.frame_ms, args.rounds, args.ways)
    for name, group in figures.items():
        for key, value in group.items():
            sys.stdout.write(f"{name:13s} {key:20s} {value:.3f}\n")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
