"""Thousands of runs through the fan-out: none lost, and the last costs what the first did.

Runs are executed by a few long-lived processes instead of one process per run: what is measured is the parent, the
server and the database, and importing Prefect two thousand times would hide them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.clips import make_clips
from tests.integration.cluster import Cluster, Database, client

EXECUTORS = 4

ROW = 100
"""Clips per row of the printed table."""


def execute(pool: str, stop: Any) -> None:
    """Take runs of a pool from the server, one after the other, and run them in this process."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.flow_engine import run_flow
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.states import Pending

    from tests.integration.counted import annotate_video

    # Without heartbeats: each run would wait up to a second for their thread.
    with client() as api, temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        while not stop.is_set():
            queued = api.read_flow_runs(
                flow_run_filter=FlowRunFilter.model_validate(
                    {"state": {"type": {"any_": ["SCHEDULED"]}}, "tags": {"any_": ["clip"]}}
                ),
                limit=20,
            )
            # Or all of them would reach for the same run.
            random.shuffle(queued)
            if not queued:
                time.sleep(0.5)
            for run in queued:
                # The other process may have been quicker: the server says whose it is.
                answer = api.set_flow_run_state(run.id, Pending())
                if answer.status.name == "ACCEPT" and answer.state is not None and answer.state.is_pending():
                    run_flow(annotate_video, flow_run=api.read_flow_run(run.id), return_type="state")


def parent(clips: Path, out: Path, in_flight: int, figures: Path, server: int) -> None:
    """Run the dataset flow in mode pool in a process of its own and note its memory and how fast clips end."""
    from flows.annotate_dataset import annotate_dataset, on_results
    from tasks.core.choices import Mode
    from tasks.core.settings import Settings

    marks: list[tuple[float, int, float]] = []
    served = psutil.Process(server)

    def note(result: Any, total: int) -> None:
        """Note time, memory and the server's work, in a file as well: a broken off campaign has figures, too."""
        work = served.cpu_times()
        marks.append((time.time(), psutil.Process().memory_info().rss, work.user + work.system))
        with figures.with_suffix(".txt").open("a") as stream:
            stream.write(f"{marks[-1][0]:.2f} {marks[-1][1]} {marks[-1][2]:.2f} {result.outcome}\n")

    on_results(note)
    settings = Settings.model_validate({"overlay": {"save_overlayfile": False}})
    summary = annotate_dataset(clips, out, Mode.POOL, settings, in_flight=in_flight)
    outcomes: dict[str, int] = {}
    for result in summary.results:
        outcomes[result.outcome] = outcomes.get(result.outcome, 0) + 1
    figures.write_text(json.dumps({"marks": marks, "outcomes": outcomes, "lines": summary.mapping_lines}))


def campaign(cluster: Cluster, count: int, in_flight: int) -> dict[str, Any]:
    """Send clips through the fan-out and return what was measured."""
    clips, out, figures = cluster.folder / "data", cluster.folder / "out", cluster.folder / "figures.json"
    make_clips(clips, count, frames=12, width=64, height=48)
    # The processes of this test read the cluster's address from their environment.
    os.environ.update({name: cluster.environment[name] for name in ("PREFECT_API_URL", "FIGHTPOSE_TEST_COUNT")})
    os.environ["PREFECT_HOME"] = cluster.environment["PREFECT_HOME"]
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    helpers = [context.Process(target=execute, args=("gpu", stop)) for _ in range(EXECUTORS)]
    for helper in helpers:
        helper.start()
    server = cluster.processes["server"].pid
    main = context.Process(target=parent, args=(clips, out, in_flight, figures, server))
    start = time.time()
    main.start()
    main.join()
    stop.set()
    for helper in helpers:
        helper.join(30)
        helper.kill()
    assert main.exitcode == 0
    measured = json.loads(figures.read_text())
    measured["seconds"] = time.time() - start
    return measured


def report(name: str, measured: dict[str, Any], count: int) -> None:
    """Print the table of pace and memory."""
    moments = [moment for moment, _, _ in measured["marks"]]
    sizes = [size / 1e6 for _, size, _ in measured["marks"]]
    work = [seconds for _, _, seconds in measured["marks"]]
    print(f"\n{name}: {measured['outcomes']} in {measured['seconds']:.0f} s")
    print("clips         s per clip   server CPU s per clip   parent MB")
    for first in range(0, count, ROW):
        last = min(first + ROW, count) - 1
        clips = max(last - first, 1)
        pace, cost = (moments[last] - moments[first]) / clips, (work[last] - work[first]) / clips
        print(f"{first:5d}-{last:5d}   {pace:10.3f}   {cost:21.3f}   {sizes[last]:9.1f}")


@pytest.mark.integration
@pytest.mark.parametrize("count", [int(os.environ.get("FIGHTPOSE_TEST_RUNS", "2000"))])
def test_thousands_of_runs_on_postgresql(tmp_path, count):
    """None is lost, none started twice, the database has no error, and neither memory nor time per run grows."""
    with Database(tmp_path) as database, Cluster(tmp_path, database.url) as cluster:
        cluster.provision(gpu=20)
        measured = campaign(cluster, count, in_flight=20)
        report("PostgreSQL", measured, count)
        errors = database.errors()
        starts = cluster.extractions()
    print(f"database errors: {len(errors)} {errors[:5]}")
    assert measured["outcomes"] == {"annotated": count}
    assert len(starts) == len({path for _, path in starts}) == count
    assert not [line for line in errors if "duplicate key" not in line]
    _, sizes, work = zip(*measured["marks"], strict=True)
    tenth = count // 10
    # By the server's work and not by the clock, which other programs of the machine slow down as they like.
    first = (work[2 * tenth] - work[tenth]) / tenth
    last = (work[-1] - work[-tenth]) / (tenth - 1)
    assert last < 2 * first
    assert sizes[-1] - sizes[tenth] < 100e6


@pytest.mark.integration
def test_two_hundred_runs_on_sqlite_with_the_default_cap(tmp_path):
    """The default number in flight is one that SQLite bears."""
    count = int(os.environ.get("FIGHTPOSE_TEST_RUNS_SQLITE", "200"))
    with Cluster(tmp_path) as cluster:
        cluster.provision(gpu=20)
        measured = campaign(cluster, count, in_flight=20)
        report("SQLite", measured, count)
        locked = (cluster.folder / "server.log").read_text(errors="replace").count("database is locked")
    print(f"database is locked: {locked} times in the server's log")
    assert measured["outcomes"] == {"annotated": count}
    assert locked == 0
