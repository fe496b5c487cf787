"""A Prefect server with a database of its own, and workers, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.prefect_server import provision
from flows.prefect_server.access import Access, for_server, new_secret
from flows.prefect_server.database import embedded_database
from flows.prefect_server.serve import COMMAND
from tests.integration.counted import COUNT_FILE

PREFECT = (sys.executable, "-m", "prefect")

START_SECONDS = 240
"""How long a server may take to answer on a machine that is busy with other tests."""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A server, its workers, and whatever they start; all of it ends with the block.

    Parameters
    ----------
    folder
        Where everything is kept: Prefect's home, logs, the count of extractions.
    database
        Connection URL; SQLite in the folder if None.
    environment
        More variables for the server, the workers and their runs.
    """

    def __init__(self, folder: Path, database: str | None = None, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.count_file = folder / "extractions.txt"
        self.api = f"http://127.0.0.1:{free_port()}/api"
        self.access = Access(self.api, new_secret())
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(folder / "prefect"),
            **self.access.for_clients(),
            **for_server(self.access.secret),
            "PREFECT_WORKER_QUERY_SECONDS": "3",
            # Tests are silent; what servers and workers have to say goes to files, which tests read.
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
            "PYTHONPATH": str(provision.ROOT),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            COUNT_FILE: str(self.count_file),
            **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}),
            **(environment or {}),
        }
        self.environment.pop("PREFECT_TEST_MODE", None)
        self._stack = ExitStack()
        self.processes: dict[str, psutil.Popen] = {}

    def __enter__(self) -> Cluster:
        self._stack.callback(self._end)
        reached = {PREFECT_API_URL: self.api, PREFECT_API_AUTH_STRING: self.access.secret}
        self._stack.enter_context(temporary_settings(reached))
        port = self.api.split(":")[-1].removesuffix("/api")
        self.start("server", ["--host", "127.0.0.1", "--port", port], COMMAND)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert time.monotonic() < deadline, "the server does not answer"
            assert self.processes["server"].poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.5)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def answers(self) -> bool:
        """Tell whether the server answers."""
        try:
            return httpx.get(f"{self.api}/health", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def http(self) -> httpx.Client:
        """Return a client of the API for requests that Prefect's own client does not offer."""
        user, secret = self.access.secret.split(":", 1)
        return httpx.Client(base_url=f"{self.api}/", auth=(user, secret), timeout=60)

    def provision(self, schedule: dict[str, Any] | None = None, **limits: int) -> None:
        """Do what `up` does, with a stand-in for the model, other limits of the pools, and a schedule switched on."""
        asyncio.run(provision.create_pools())
        content = yaml.safe_load((provision.DEPLOYMENTS / "prefect.yaml").read_text(encoding="utf-8"))
        for deployment in content["deployments"]:
            if deployment["name"] in ("annotate-video", "annotate-shard"):
                name = deployment["entrypoint"].rpartition(".")[2]
                deployment["entrypoint"] = f"tests.integration.counted.{name}"
        if schedule:
            content["deployments"][1]["schedules"] = [schedule]
        file = self.folder / "prefect.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        command = ["--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        subprocess.run(
            [sys.executable, "-m", "prefect", *command], env=self.environment, cwd=provision.ROOT, check=True
        )
        provision.create_automations()
        for pool, limit in limits.items():
            command = ["work-pool", "set-concurrency-limit", pool, str(limit)]
            subprocess.run([*PREFECT, *command], env=self.environment, check=True)

    def start(self, name: str, command: list[str], program: Sequence[str] = PREFECT) -> psutil.Popen:
        """Start one of Prefect's programs, its output in a file."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = psutil.Popen(
                [*program, *command],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self.processes[name]

    def worker(self, pool: str, name: str) -> psutil.Popen:
        """Start a worker, or start it again."""
        return self.start(name, ["worker", "start", "--pool", pool, "--name", name, "--type", "process"])

    def run(self, deployment: str, **parameters: Any) -> FlowRun:
        """Put a run of a deployment into the queue."""
        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(f"{deployment}/{deployment}")
            return client.create_flow_run_from_deployment(found.id, parameters=parameters)

    def wait(self, run: FlowRun, seconds: float, *, until: str = "final") -> FlowRun:
        """Wait until a run is final, or in another state of the given type."""
        deadline = time.monotonic() + seconds
        with get_client(sync_client=True) as client:
            while True:
                now = client.read_flow_run(run.id)
                assert now.state is not None
                if now.state.is_final() if until == "final" else now.state.type.name == until:
                    return now
                assert time.monotonic() < deadline, f"still {now.state} after {seconds} s"
                time.sleep(0.5)

    def wait_for_completion(self, run: FlowRun, seconds: float) -> FlowRun:
        """Wait until a run is complete, whatever states it has on the way: a crashed one is put back by itself."""
        deadline = time.monotonic() + seconds
        with get_client(sync_client=True) as client:
            while True:
                now = client.read_flow_run(run.id)
                if now.state is not None and now.state.is_completed():
                    return now
                assert time.monotonic() < deadline, f"still {now.state} after {seconds} s"
                time.sleep(0.5)

    def family(self) -> list[psutil.Process]:
        """Return every process that belongs to this cluster: found by its home, since orphans change parents."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("PREFECT_HOME") == self.environment["PREFECT_HOME"]:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return [process for process in found if process.pid != os.getpid()]

    def run_processes(self, run: FlowRun | None = None) -> list[psutil.Process]:
        """Return the processes that execute runs, or one run."""
        chosen = []
        for process in self.family():
            try:
                run_id = process.environ().get("PREFECT__FLOW_RUN_ID")
            except (psutil.Error, OSError):
                continue
            if run_id and (run is None or run_id == str(run.id)):
                chosen.append(process)
        return chosen

    def extractions(self) -> list[tuple[float, Path]]:
        """Return the time and the clip of each extraction that was started."""
        if not self.count_file.exists():
            return []
        lines = self.count_file.read_text(encoding="utf-8").splitlines()
        return [(float(moment), Path(path)) for moment, path in (line.split(" ", 1) for line in lines)]

    def _end(self) -> None:
        """End every process: workers, runs and orphans first, the server last."""
        server = self.processes.get("server")
        for process in [*(p for p in self.family() if server is None or p.pid != server.pid)]:
            process.kill()
        if server is not None:
            server.terminate()
            psutil.wait_procs([server], timeout=20)
        for process in self.family():
            process.kill()


class Database:
    """The PostgreSQL of `fightpose up` in a folder of its own, ended with the block.

    Parameters
    ----------
    folder
        Where it keeps its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder / "postgres.log"
        self._stack = ExitStack()

    def __enter__(self) -> Database:
        self.url = self._stack.enter_context(embedded_database(self._folder, self._log, os.environ))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def errors(self) -> list[str]:
        """Return the errors that the database logged."""
        log = self._log.read_text(encoding="utf-8", errors="replace")
        return [line for line in log.splitlines() if any(word in line for word in ("ERROR:", "FATAL:", "PANIC:"))]


def client() -> SyncPrefectClient:
    """Return a client of the cluster's server."""
    return get_client(sync_client=True)
