"""`fightpose up`: everything that a laptop or a single server needs, in one command.

It starts a Prefect server unless PREFECT_API_URL names one, tells it what it has to know
(`flows.prefect_server.provision`), starts one worker per pool, and ends what it started on Ctrl-C or SIGTERM. On
further machines the same command, with PREFECT_API_URL set, adds their workers.

Server and workers run in sessions of their own: a Ctrl-C reaches this process alone, which ends the workers first, so
that the server still hears how their runs ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import typer

from flows.cli.output import Output
from flows.prefect_server.server import require_reachable
from flows.prefect_server.shutdown import GRACE_SECONDS
from tasks.core.errors import FightposeError

MARK = "FIGHTPOSE_UP"
"""Environment variable by which every process is known that descends from one `up`, adopted orphans too."""

SERVER = [
    sys.executable,
    "-c",
    "from flows.prefect_server.temporary_server import collect_garbage_between_queries; "
    "collect_garbage_between_queries(); "
    "from prefect.cli import app; app()",
    "server",
    "start",
]
"""Prefect's own command, in a process that looks for garbage when the database is not in use."""

START_SECONDS = 180
"""How long a server may take to answer: on a small or busy machine most of a minute."""

END_SECONDS = 20
"""How long a process may take to end before it is killed; a worker passes the end on to its runs."""

RESTART_SECONDS = 5
"""Pause before a worker that died is started again."""


class _StoppedError(Exception):
    """The user ended `up` while it was still starting."""


def run_until_stopped(output: Output) -> int:
    """Start everything, wait for Ctrl-C or SIGTERM, end everything; return the exit code."""
    stop, hurry = threading.Event(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: (hurry if stop.is_set() else stop).set())
    mark = uuid.uuid4().hex
    try:
        with _no_survivors(mark):
            return _run(stop, hurry, {**os.environ, MARK: mark}, output)
    except _StoppedError:
        return 0
    except (FightposeError, httpx.HTTPError) as error:
        # A step that the user's Ctrl-C broke off is no error.
        if stop.is_set():
            return 0
        if isinstance(error, FightposeError):
            raise
        raise FightposeError(f"the Prefect server refused a request: {' '.join(str(error).split())}") from error


def _run(stop: threading.Event, hurry: threading.Event, environment: dict[str, str], output: Output) -> int:
    """Start server, deployments and workers, and watch over them until the end; `hurry` cuts the end short."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    logs = PREFECT_HOME.value() / "fightpose-up"
    logs.mkdir(parents=True, exist_ok=True)
    address = PREFECT_API_URL.value()
    with ExitStack() as stack:
        server = None
        if address:
            require_reachable(address)
        else:
            address, command = _server_command()
            output.progress(f"Starting a Prefect server (log: {logs / 'server.log'})")
            server = stack.enter_context(_process(command, logs / "server.log", environment))
            _wait_until_ready(address, server, stop)
        # Deploying and the workers find the server by their environment.
        environment["PREFECT_API_URL"] = os.environ["PREFECT_API_URL"] = address
        stack.enter_context(temporary_settings({PREFECT_API_URL: address}))
        pools = _provision(stop, output)
        with ExitStack() as inner:
            workers = {
                pool: inner.enter_context(_Worker(pool, logs / f"worker-{pool}.log", environment)) for pool in pools
            }
            output.progress(f"Workers of the pools {' and '.join(pools)} run on {socket.gethostname()} (logs: {logs})")
            page = address.removesuffix("/api")
            # If quiet, too: it is what the user needs to go on.
            Output(output.as_json).tell(
                {"ui": page, "api": address, "pools": pools, "logs": logs},
                [f"Prefect: {page}   (export PREFECT_API_URL={address})"],
            )
            output.progress("Ready. Ctrl-C ends everything; runs under way go on at the next start.")
            code = _watch(server, workers, stop, output)
            ended = datetime.now(UTC)
            if not code:
                _end_runs(list(workers.values()), hurry, output)
        if server is not None and not code:
            _put_back(ended, output)
        return code


def _put_back(moment: datetime, output: Output) -> None:
    """Put the runs that the end broke off back into the queue; a failure to do so must not stop the end."""
    from flows.prefect_server.provision import put_back

    try:
        if count := put_back(moment):
            output.progress(f"{count} runs that were under way wait for the next start")
    except httpx.HTTPError as error:
        typer.echo(f"runs that were under way could not be put back into the queue ({error})", err=True)


def _provision(stop: threading.Event, output: Output) -> list[str]:
    """Tell the server what it has to know, and return the names of the pools."""
    from flows.prefect_server.provision import POOLS, clip_runs, create_automations, create_pools, deploy

    if created := asyncio.run(create_pools()):
        output.progress(f"Created the work pools {', '.join(created)} ({clip_runs()} clips at once on gpu)")
    if stop.is_set():
        raise _StoppedError
    output.progress("Deploying the flows (some seconds)")
    deploy()
    create_automations()
    if stop.is_set():
        raise _StoppedError
    return list(POOLS)


def _server_command() -> tuple[str, list[str]]:
    """Return the address of the server to start, and the command that starts it.

    Raises
    ------
    FightposeError
        If something listens there already.
    """
    from prefect.settings import PREFECT_SERVER_API_HOST, PREFECT_SERVER_API_PORT

    host, port = PREFECT_SERVER_API_HOST.value(), PREFECT_SERVER_API_PORT.value()
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            raise FightposeError(
                f"something listens on {host}:{port} already; if it is a Prefect server, set "
                f"PREFECT_API_URL=http://{host}:{port}/api to use it, else set PREFECT_SERVER_API_PORT to a free port"
            )
    return f"http://{host}:{port}/api", [*SERVER, "--host", host, "--port", str(port)]


def _wait_until_ready(address: str, server: subprocess.Popen[bytes], stop: threading.Event) -> None:
    """Wait until a server that was just started answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        if stop.wait(0.5):
            raise _StoppedError
        try:
            require_reachable(address)
            return
        except FightposeError:
            if server.poll() is not None:
                raise FightposeError("the Prefect server ended while starting; its log says why") from None
            if time.monotonic() > deadline:
                raise


def _watch(
    server: subprocess.Popen[bytes] | None, workers: Mapping[str, _Worker], stop: threading.Event, output: Output
) -> int:
    """Wait for the end; start workers again that die, give up if the server does."""
    while not stop.wait(1):
        if server is not None and server.poll() is not None:
            typer.echo("error: the Prefect server ended; its log says why", err=True)
            return 1
        for pool, worker in workers.items():
            if worker.died():
                typer.echo(f"The worker of the pool {pool} ended; it is started again", err=True)
                stop.wait(RESTART_SECONDS)
                worker.start()
    return 0


def _end_runs(workers: Sequence[_Worker], hurry: threading.Event, output: Output) -> None:
    """Let the runs end the step under way.

    Workers are frozen meanwhile: one that ends kills its runs at once, and one that goes on takes those back that have
    just put themselves into the queue.
    """
    output.progress(f"Ending; runs finish the step under way, in {GRACE_SECONDS:.0f} s at most (Ctrl-C: at once)")
    with ExitStack() as stack:
        for worker in workers:
            stack.enter_context(worker.frozen())
        # Direct children only: the helpers of a run have to live as long as its step.
        runs = [process for worker in workers for process in worker.runs()]
        for process in runs:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        while any(_lives(process) for process in runs) and time.monotonic() < deadline and not hurry.wait(0.2):
            pass


class _Worker:
    """A Prefect worker of one pool.

    Parameters
    ----------
    pool
        The pool whose runs it takes.
    log
        Where its output goes.
    environment
        Its environment.
    """

    def __init__(self, pool: str, log: Path, environment: dict[str, str]) -> None:
        name = f"{socket.gethostname()}-{pool}"
        self._command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
        self._log = log
        # Runs are imported from here, installed or not; asked for every 5 s instead of 15.
        path = os.pathsep.join([str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")])
        self._environment = {"PREFECT_WORKER_QUERY_SECONDS": "5", **environment, "PYTHONPATH": path}
        # The pool's command is `python`: this one, whether its environment is activated or not.
        here = str(Path(sys.executable).parent)
        self._environment["PATH"] = os.pathsep.join([here, environment.get("PATH", os.defpath)])
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Worker:
        self.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start the process."""
        self._process = self._stack.enter_context(_process(self._command, self._log, self._environment))

    def died(self) -> bool:
        """Tell whether the process has ended."""
        return self._process is not None and self._process.poll() is not None

    def runs(self) -> list[psutil.Process]:
        """Return the processes of its runs."""
        try:
            return psutil.Process(self._process.pid).children() if self._process is not None else []
        except psutil.NoSuchProcess:
            return []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process for the length of the block, and tell it to end before it goes on."""
        if self._process is None or self.died():
            yield
            return
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def _process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of the block, its output in a file."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _no_survivors(mark: str) -> Iterator[None]:
    """End after the block every process that carries the mark: runs whose worker was killed are adopted by init."""
    try:
        yield
    finally:
        left = [process for process in psutil.process_iter() if _carries(process, mark)]
        for process in left:
            process.terminate()
        for process in psutil.wait_procs(left, timeout=END_SECONDS)[1]:
            process.kill()


def _lives(process: psutil.Process) -> bool:
    """Tell whether a process still does something: one that ended stays until its frozen worker hears of it."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _carries(process: psutil.Process, mark: str) -> bool:
    """Tell whether another process descends from this `up`."""
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        # Another user's, or gone.
        return False
