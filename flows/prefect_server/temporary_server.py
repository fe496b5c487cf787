"""A Prefect server for the length of one run, as a process: `python -m flows.prefect_server.temporary_server`.

Prefect can start one by itself, but in the terminal's process group: Ctrl-C then ends the server before the runs that
still have to report to it, and they wait for it for minutes. This one runs in a session of its own, takes a free port
by itself, and ends when its parent does, however the parent ends (`kill -9` included).
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.core.errors import FightposeError

START_SECONDS = 180
"""How long the server may take to answer: on a small or busy machine most of a minute."""

END_SECONDS = 10
"""How long it may take to end before it is killed."""


ALLOCATIONS = 100_000
"""New objects that a server may hold before it looks for garbage among them; Python's own figure is 700."""

MOST_ALLOCATIONS = 20 * ALLOCATIONS
"""New objects beyond which it looks for garbage though connections are in use, so that its memory stays bounded."""


def collect_garbage_between_queries() -> None:
    """Keep a server on SQLite from freezing; for its own process, before it serves.

    Python's search for garbage drops forgotten database cursors. `sqlite3_reset` of one waits for its connection's
    mutex without letting other threads run (seen in CPython 3.11). If that connection is just waiting for the database,
    the one that would free it cannot go on, and nothing moves until SQLite gives up, a minute later. So this process
    searches only when a connection has been given back and no other is in use.
    """
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    # By identity and not a number, which one connection that never comes back would spoil for good.
    in_use: set[int] = set()

    def taken(_connection: object, record: object, _proxy: object) -> None:
        """Note that a connection is in use."""
        in_use.add(id(record))

    def given_back(_connection: object, record: object) -> None:
        """Look for garbage if that is due and safe."""
        in_use.discard(id(record))
        # Python counts new objects even while it does not search by itself.
        new = gc.get_count()[0]
        if new > MOST_ALLOCATIONS or (new > ALLOCATIONS and not in_use):
            gc.collect()

    gc.disable()
    event.listen(Pool, "checkout", taken)
    event.listen(Pool, "checkin", given_back)


@contextmanager
def temporary_server() -> Iterator[str]:
    """Start the server, give the address of its API, and end it after the block.

    Raises
    ------
    FightposeError
        If it does not start.
    """
    command = [sys.executable, "-m", "flows.prefect_server.temporary_server"]
    # The user has no use for a UI that is gone in a minute.
    environment = {**os.environ, "PREFECT_SERVER_UI_ENABLED": "false"}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, start_new_session=True
        )
        try:
            yield _address(server)
        except _NotStartedError as error:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise FightposeError(
                f"no temporary Prefect server could be started ({lines[-1]}); start one with `prefect server start` "
                "and set PREFECT_API_URL to its address"
            ) from error
        finally:
            _end(server)


class _NotStartedError(Exception):
    """The server process ended or fell silent before it answered."""


def _address(server: subprocess.Popen[str]) -> str:
    """Wait until the server answers and return the address of its API."""
    import httpx

    # It prints its port once it listens; an empty line means that it ended.
    port = server.stdout.readline().strip() if server.stdout else ""
    address = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + START_SECONDS
    while port and server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health", timeout=START_SECONDS).is_success:
                return address
        except httpx.TransportError:
            time.sleep(0.1)
    raise _NotStartedError


def _end(server: subprocess.Popen[str]) -> None:
    """End the server process, by force if it does not go."""
    server.terminate()
    try:
        server.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    if server.stdout:
        server.stdout.close()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _serve() -> None:
    """Serve Prefect's API on a free port of 127.0.0.1 until the parent ends this process or dies."""
    collect_garbage_between_queries()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()

    import uvicorn
    from prefect.server.api.server import create_app

    # Ephemeral: only the services that a single run needs; no scheduler, no look-out for late runs.
    app = create_app(ephemeral=True, final=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run(sockets=[listener])


if __name__ == "__main__":
    _serve()
