"""`fightpose up`: comes up, survives the death of a worker, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.prefect_server import provision
from flows.prefect_server.access import ADDRESS, CLIENT_SECRET, SERVER_SECRET, kept_secret
from tests.command_line import COMMAND_LINE
from tests.integration.clips import make_clips
from tests.integration.cluster import Cluster, client, free_port

READY_SECONDS = 300


class Up:
    """The command in a process of its own.

    Parameters
    ----------
    folder
        Prefect's home and the log.
    environment
        More variables.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.home = str(folder / "prefect")
        self.log = folder / "up.log"
        variables = {
            **os.environ,
            "PREFECT_HOME": self.home,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PYTHONPATH": str(provision.ROOT),
            **environment,
        }
        if not environment:
            for name in (ADDRESS, CLIENT_SECRET, SERVER_SECRET):
                variables.pop(name, None)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND_LINE, "up"],
                env=variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str) -> None:
        """Wait until the command has said something."""
        deadline = time.monotonic() + READY_SECONDS
        while text not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)

    def said(self) -> str:
        """Return what the command has printed."""
        return self.log.read_text(encoding="utf-8")

    def family(self) -> list[psutil.Process]:
        """Return every process that came of it, by Prefect's home."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("PREFECT_HOME") == self.home:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def end(self, number: int, patience: float = 120) -> float:
        """Send a signal and return after how many seconds the command had ended."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(patience)
        return time.monotonic() - start


@pytest.mark.integration
def test_up_comes_up_restarts_a_worker_and_ends_without_orphans(tmp_path):
    """Through a SIGTERM; the second start finds everything there and ends with Ctrl-C."""
    up = Up(tmp_path)
    try:
        up.wait_for("Ready.")
        assert f"http://127.0.0.1:{up.port}" in up.said()
        secret = kept_secret(Path(up.home) / "fightpose-up/secret")
        api = temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{up.port}/api", PREFECT_API_AUTH_STRING: secret})
        with api, get_client(sync_client=True) as client:
            listed = yaml.safe_load((provision.DEPLOYMENTS / "prefect.yaml").read_text(encoding="utf-8"))
            assert len(client.read_deployments()) == len(listed["deployments"])
        (worker,) = [process for process in up.family() if "--pool gpu" in " ".join(process.cmdline())]
        worker.kill()
        up.wait_for("is started again")
        deadline = time.monotonic() + 60
        while len([p for p in up.family() if "worker start" in " ".join(p.cmdline())]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        seconds = up.end(signal.SIGTERM)
        print(f"\nSIGTERM: ended after {seconds:.1f} s, exit code {up.process.returncode}")
        assert up.process.returncode == 0
        assert up.family() == []
        again = Up(tmp_path)
        again.wait_for("Ready.")
        assert "Created" not in again.said()
        # Browsers and other machines stay logged in.
        assert secret in again.said()
        print(f"Ctrl-C: ended after {again.end(signal.SIGINT):.1f} s")
        assert again.process.returncode == 0
        assert again.family() == []
    finally:
        for process in up.family():
            process.kill()


@pytest.mark.integration
def test_up_that_is_stopped_while_starting_leaves_nothing(tmp_path):
    """Half-way through the server's start."""
    up = Up(tmp_path)
    try:
        up.wait_for("Starting a Prefect server")
        time.sleep(2)
        up.end(signal.SIGINT)
        assert up.process.returncode == 0, up.said()
        assert up.family() == []
    finally:
        for process in up.family():
            process.kill()


@pytest.mark.integration
def test_up_joins_a_server_that_is_named_and_leaves_it_running(tmp_path):
    """A further machine: workers only; a server that does not answer is one line."""
    gone = Up(tmp_path, PREFECT_API_URL=f"http://127.0.0.1:{free_port()}/api")
    gone.process.wait(60)
    assert gone.process.returncode == 2
    assert "error: the Prefect server at" in gone.said()
    assert "Traceback" not in gone.said()
    with Cluster(tmp_path / "server-side") as cluster:
        up = Up(tmp_path, **cluster.access.for_clients())
        try:
            up.wait_for("Ready.")
            assert "Starting a Prefect server" not in up.said()
            up.end(signal.SIGTERM)
            assert up.family() == []
            assert cluster.answers()
        finally:
            for process in up.family():
                process.kill()


@pytest.mark.integration
@pytest.mark.model
def test_up_that_is_ended_lets_a_run_finish_its_step_and_keeps_what_it_made(tmp_path):
    """SIGTERM in the middle of an extraction: the poses are stored, and the run waits for the next start."""
    (clip,) = make_clips(tmp_path / "data", 1, frames=600)
    out = tmp_path / "out"
    with Cluster(tmp_path / "server-side") as cluster:
        up = Up(tmp_path, **cluster.access.for_clients(), FIGHTPOSE_GRACE_SECONDS="300")
        try:
            up.wait_for("Ready.")
            run = cluster.run("annotate-video", video=str(clip), output_root=str(out))
            cluster.wait(run, 120, until="RUNNING")
            # Past the probe, into the extraction.
            time.sleep(4)
            seconds = up.end(signal.SIGTERM, patience=400)
            print(f"\nSIGTERM during a run: ended after {seconds:.1f} s")
            assert up.process.returncode == 0, up.said()
            assert up.family() == []
            assert len(list(out.rglob("*.npz"))) == 1
            assert list(out.rglob("*_annotation.pkl")) == []
            with client() as api:
                assert api.read_flow_run(run.id).state.name == "AwaitingRetry"
        finally:
            for process in up.family():
                process.kill()
