"""Thousands of clips through the pool as shards: none lost, none twice, and the last costs what the first did."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.integration.clips import make_clips
from tests.integration.cluster import Cluster, Database

ROW = 100
"""Clips per row of the printed table."""


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


class Person(threading.Thread):
    """Somebody who uses the UI meanwhile: looks at the runs, submits one for tomorrow and takes it back.

    Attributes
    ----------
    answers
        Status code and seconds of every answer.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[int, float]] = []
        self._cluster = cluster
        self._over = threading.Event()

    def run(self) -> None:
        """Go on until `stop`."""
        with self._cluster.http() as http:
            deployment = http.get("deployments/name/analyze-dataset/analyze-dataset").json()["id"]
            while not self._over.wait(2):
                self._ask(http, "POST", "flow_runs/filter", {"limit": 50, "sort": "START_TIME_DESC"})
                self._ask(http, "POST", "task_runs/count", {})
                tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
                state = {"type": "SCHEDULED", "state_details": {"scheduled_time": tomorrow}}
                made = self._ask(
                    http,
                    "POST",
                    f"deployments/{deployment}/create_flow_run",
                    {"state": state, "parameters": {"output_root": "/data/out"}},
                )
                self._ask(http, "DELETE", f"flow_runs/{made['id']}", None)

    def stop(self) -> None:
        """End, and raise where the thread was broken off."""
        self._over.set()
        self.join(60)
        assert self.answers, "the person never got an answer"

    def _ask(self, http: httpx.Client, method: str, path: str, body: Any) -> Any:
        """Send a request and note the answer."""
        start = time.monotonic()
        answer = http.request(method, path, json=body)
        self.answers.append((answer.status_code, time.monotonic() - start))
        return answer.json() if answer.content and answer.is_success else {"id": "none"}


def campaign(cluster: Cluster, count: int, in_flight: int) -> dict[str, Any]:
    """Send clips through the fan-out and return what was measured."""
    clips, out, figures = cluster.folder / "data", cluster.folder / "out", cluster.folder / "figures.json"
    make_clips(clips, count, frames=12, width=64, height=48)
    # The process of the dataset flow reads the cluster's address and secret from its environment.
    os.environ.update({name: value for name, value in cluster.environment.items() if name.startswith("PREFECT_")})
    context = multiprocessing.get_context("spawn")
    cluster.worker("gpu", "gpu-1")
    server = cluster.processes["server"].pid
    main = context.Process(target=parent, args=(clips, out, in_flight, figures, server))
    person = Person(cluster)
    start = time.time()
    main.start()
    person.start()
    most = 0
    while main.is_alive():
        main.join(2)
        most = max([most, *map(memory_of, cluster.run_processes())])
    person.stop()
    assert main.exitcode == 0
    measured = json.loads(figures.read_text())
    measured |= {"seconds": time.time() - start, "shard_mb": most / 1e6, "answers": person.answers}
    return measured


def memory_of(process: psutil.Process) -> int:
    """Return the resident bytes of a process, 0 for one that has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def report(name: str, measured: dict[str, Any], count: int) -> None:
    """Print the table of pace and memory."""
    moments = [moment for moment, _, _ in measured["marks"]]
    sizes = [size / 1e6 for _, size, _ in measured["marks"]]
    work = [seconds for _, _, seconds in measured["marks"]]
    print(f"\n{name}: {measured['outcomes']} in {measured['seconds']:.0f} s")
    print(f"largest process of a shard: {measured['shard_mb']:.0f} MB")
    waited = [seconds for _, seconds in measured["answers"]]
    print(f"{len(waited)} answers to a person in the UI, the slowest after {max(waited):.2f} s")
    print("clips         s per clip   server CPU s per clip   parent MB")
    for first in range(0, count, ROW):
        last = min(first + ROW, count) - 1
        clips = max(last - first, 1)
        pace, cost = (moments[last] - moments[first]) / clips, (work[last] - work[first]) / clips
        print(f"{first:5d}-{last:5d}   {pace:10.3f}   {cost:21.3f}   {sizes[last]:9.1f}")


@pytest.mark.integration
@pytest.mark.parametrize("count", [int(os.environ.get("FIGHTPOSE_TEST_RUNS", "2000"))])
def test_thousands_of_clips_on_postgresql(tmp_path, count):
    """None is lost, none started twice, the database has no error, and neither memory nor time per run grows."""
    with Database(tmp_path) as database, Cluster(tmp_path, database.url) as cluster:
        cluster.provision(gpu=1)
        measured = campaign(cluster, count, in_flight=20)
        report("PostgreSQL", measured, count)
        errors = database.errors()
        starts = cluster.extractions()
    print(f"database errors: {len(errors)} {errors[:5]}")
    assert measured["outcomes"] == {"annotated": count}
    assert [answer for answer in measured["answers"] if answer[0] >= 300] == []
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
def test_two_hundred_clips_on_sqlite(tmp_path):
    """A server of one's own may have SQLite: one shard at a time does not lock it."""
    count = int(os.environ.get("FIGHTPOSE_TEST_RUNS_SQLITE", "200"))
    with Cluster(tmp_path) as cluster:
        cluster.provision(gpu=1)
        measured = campaign(cluster, count, in_flight=20)
        report("SQLite", measured, count)
        locked = (cluster.folder / "server.log").read_text(errors="replace").count("database is locked")
    print(f"database is locked: {locked} times in the server's log")
    assert measured["outcomes"] == {"annotated": count}
    assert [answer for answer in measured["answers"] if answer[0] >= 300] == []
    assert locked == 0
