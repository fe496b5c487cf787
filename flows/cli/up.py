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
import shlex
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import typer

from flows.cli.output import Output
from flows.prefect_server.access import Access, for_server, kept_secret, write_shell_file
from flows.prefect_server.database import embedded_database
from flows.prefect_server.processes import MARK, Worker, is_running, no_survivors, running
from flows.prefect_server.serve import COMMAND, KEEP_DAYS
from flows.prefect_server.server import clients_use, require_reachable
from flows.prefect_server.shutdown import GRACE_SECONDS
from tasks.core.errors import FightposeError

START_SECONDS = 300
"""How long a server may take to answer: seconds on an idle machine, three minutes with five programs per core."""

RESTART_SECONDS = 5
"""Pause before a worker that died is started again."""


DATABASE_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
"""Prefect's setting for the database of its server."""


@dataclass(frozen=True)
class ServerOptions:
    """What a user can choose about a server that is started here.

    Attributes
    ----------
    database_url
        Address of a database to use in place of the embedded one.
    keep_days
        How long ended runs are kept, in days.
    """

    database_url: str | None = None
    keep_days: float | None = None


class _StoppedError(Exception):
    """The user ended `up` while it was still starting."""


def run_until_stopped(output: Output, options: ServerOptions | None = None) -> int:
    """Start everything, wait for Ctrl-C or SIGTERM, end everything; return the exit code."""
    stop, hurry = threading.Event(), threading.Event()
    # The first signal ends everything in good order; the second one no longer waits for the steps under way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: (hurry if stop.is_set() else stop).set())
    # By the mark those runs are found whose worker died, and which init has adopted.
    mark = uuid.uuid4().hex
    try:
        with no_survivors(mark):
            return _run(stop, hurry, options or ServerOptions(), {**os.environ, MARK: mark}, output)
    except _StoppedError:
        return 0
    except (FightposeError, httpx.HTTPError) as error:
        # A step that the user's Ctrl-C broke off is no error.
        if stop.is_set():
            return 0
        if isinstance(error, FightposeError):
            raise
        raise FightposeError(f"the Prefect server refused a request: {' '.join(str(error).split())}") from error


def _run(
    stop: threading.Event,
    hurry: threading.Event,
    options: ServerOptions,
    environment: dict[str, str],
    output: Output,
) -> int:
    """Start server, deployments and workers, and watch over them until the end; `hurry` cuts the end short."""
    state = _state_folder()
    with ExitStack() as stack:
        access, server = _server(state, options, environment, output, stack)
        # Deploying and the workers find the server, and its secret, by their environment.
        stack.enter_context(clients_use(access))
        environment = {**environment, **access.for_clients()}
        if server is not None:
            _wait_until_ready(access.address, server, stop)
        pools = _provision(stop, output)
        # Workers end before the server, which has to hear how their runs ended.
        with ExitStack() as inner:
            workers = {
                pool: inner.enter_context(Worker(pool, state / f"worker-{pool}.log", environment)) for pool in pools
            }
            output.progress(f"Workers of the pools {' and '.join(pools)} run on {socket.gethostname()} (logs: {state})")
            _tell_address(access, pools, state if server is not None else None, output)
            output.progress("Ready. Ctrl-C ends everything; runs under way go on at the next start.")
            code = _watch(server, workers, stop, output)
            # Before the workers get their signal: what crashed earlier is not put back by this end.
            ended = datetime.now(UTC)
            if not code:
                _end_runs(list(workers.values()), hurry, output)
        # Where the server lives on, its automations do this.
        if server is not None and not code:
            _put_back(ended, output)
        return code


def _state_folder() -> Path:
    """Return the folder of logs and secrets, which is closed to other users."""
    from prefect.settings import PREFECT_HOME

    folder = PREFECT_HOME.value() / "fightpose-up"
    folder.mkdir(parents=True, exist_ok=True)
    # Also where an earlier version has made it open.
    folder.chmod(0o700)
    return folder


def _server(
    state: Path, options: ServerOptions, environment: dict[str, str], output: Output, stack: ExitStack
) -> tuple[Access, subprocess.Popen[bytes] | None]:
    """Return the way to the user's server, or start one and return its process as well."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

    if address := PREFECT_API_URL.value():
        # Without this error the options would be dropped, and data kept elsewhere or longer than was asked for.
        if options.database_url or options.keep_days is not None:
            raise FightposeError(
                f"--database-url and --keep-days are for a server that is started here, but PREFECT_API_URL names "
                f"{address}: leave the options out, or unset PREFECT_API_URL"
            )
        require_reachable(address)
        return Access(address, PREFECT_API_AUTH_STRING.value()), None
    access, command = _server_command(state)
    # The secret goes by environment: every user of a machine can list the arguments of a process.
    variables = {**environment, **for_server(access.secret or "")}
    if options.keep_days is not None:
        variables[KEEP_DAYS] = str(options.keep_days)
    if options.database_url:
        variables[DATABASE_URL] = _for_prefect(options.database_url)
    elif not _names_a_database():
        output.progress(f"Starting the database (log: {state / 'postgres.log'})")
        # Ended after the server, which still writes to it.
        variables[DATABASE_URL] = stack.enter_context(embedded_database(state, state / "postgres.log", environment))
    output.progress(f"Starting a Prefect server (log: {state / 'server.log'})")
    return access, stack.enter_context(running(command, state / "server.log", variables))


def _for_prefect(url: str) -> str:
    """Return the address of a database with the driver that Prefect uses for it.

    >>> _for_prefect("postgresql://me@db/prefect")
    'postgresql+asyncpg://me@db/prefect'
    """
    kind, separator, rest = url.partition("://")
    driver = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    kind = driver.get(kind, kind)
    # The address itself is not repeated: it may hold a password.
    if not separator or kind not in driver.values():
        raise FightposeError("--database-url takes postgresql://user:password@host:port/name or sqlite:///file")
    return f"{kind}://{rest}"


def _names_a_database() -> bool:
    """Tell whether the user has set a database for Prefect servers, in the environment or a profile."""
    from prefect.settings import get_current_settings

    chosen = get_current_settings().to_environment_variables(exclude_unset=True)
    # The parts are Prefect's other way to name one; settings of the pool and the like name none.
    return not chosen.keys().isdisjoint({DATABASE_URL, "PREFECT_SERVER_DATABASE_HOST", "PREFECT_SERVER_DATABASE_NAME"})


def _tell_address(access: Access, pools: Sequence[str], state: Path | None, output: Output) -> None:
    """Print where the UI is; if the server was started here, with what opens it to a browser and to other programs."""
    page = access.address.removesuffix("/api")
    value: dict[str, Any] = {"ui": page, "api": access.address, "pools": list(pools)}
    lines = [f"Prefect: {page}"]
    if state is not None:
        file = state / "environment"
        # A file to source keeps the secret out of the shell's history.
        write_shell_file(file, access.for_clients())
        value |= {"log_in": access.secret, "environment": file, "logs": state}
        lines += [f"Log in with: {access.secret}", f"In other terminals first: source {shlex.quote(str(file))}"]
    # If quiet, too: it is what the user needs to go on.
    Output(output.as_json).tell(value, lines)


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
    # Looked at between the steps, as each takes seconds: Ctrl-C need not wait for all of them.
    if stop.is_set():
        raise _StoppedError
    output.progress("Deploying the flows (some seconds)")
    deploy()
    create_automations()
    if stop.is_set():
        raise _StoppedError
    return list(POOLS)


def _server_command(state: Path) -> tuple[Access, list[str]]:
    """Return how the server that is to be started will be reached, and the command that starts it.

    Raises
    ------
    FightposeError
        If something listens there already.
    """
    from prefect.settings import PREFECT_SERVER_API_AUTH_STRING, PREFECT_SERVER_API_HOST, PREFECT_SERVER_API_PORT

    host, port = PREFECT_SERVER_API_HOST.value(), PREFECT_SERVER_API_PORT.value()
    # Asked first: a second server would fail to bind, and only its log would say so.
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            raise FightposeError(
                f"something listens on {host}:{port} already; if it is a server that `fightpose up` started, "
                f"`source {state / 'environment'}` to use it, else set PREFECT_SERVER_API_PORT to a free port"
            )
    secret = PREFECT_SERVER_API_AUTH_STRING.value() or kept_secret(state / "secret")
    options = ["--host", host, "--port", str(port), "--parent", str(os.getpid())]
    return Access(f"http://{host}:{port}/api", secret), [*COMMAND, *options]


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
            # One that has ended will never answer: the deadline need not be waited for.
            if server.poll() is not None:
                raise FightposeError("the Prefect server ended while starting; its log says why") from None
            if time.monotonic() > deadline:
                raise


def _watch(
    server: subprocess.Popen[bytes] | None, workers: Mapping[str, Worker], stop: threading.Event, output: Output
) -> int:
    """Wait for the end; start workers again that die, give up if the server does."""
    while not stop.wait(1):
        if server is not None and server.poll() is not None:
            typer.echo("error: the Prefect server ended; its log says why", err=True)
            return 1
        for pool, worker in workers.items():
            if worker.died():
                typer.echo(f"The worker of the pool {pool} ended; it is started again", err=True)
                # A worker that cannot start would otherwise be started all the time; Ctrl-C cuts the pause short.
                stop.wait(RESTART_SECONDS)
                worker.start()
    return 0


def _end_runs(workers: Sequence[Worker], hurry: threading.Event, output: Output) -> None:
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
        while any(is_running(process) for process in runs) and time.monotonic() < deadline and not hurry.wait(0.2):
            pass
