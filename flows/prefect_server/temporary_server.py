"""A Prefect server for the length of one run on this machine.

Prefect can start one by itself, but in the terminal's process group: Ctrl-C then ends the server before the runs that
still have to report to it, and they wait for it for minutes. This one runs in a session of its own, takes a free port
by itself, and ends when its parent does, however the parent ends (`kill -9` included). It asks for a random secret and
has a database that ends with it, so that nothing which another program sends there can do anything, now or later.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flows.prefect_server.access import Access, for_server, new_secret
from flows.prefect_server.environment import ENVIRONMENT
from flows.prefect_server.serve import COMMAND
from tasks.core.errors import FightposeError

START_SECONDS = 300
"""How long the server may take to answer: seconds on an idle machine, three minutes with five programs per core."""

END_SECONDS = 10
"""How long it may take to end before it is killed."""

AT_ONCE_SECONDS = 0.2
"""How long the end of a server is awaited that had not started yet."""


@contextmanager
def temporary_server(meanwhile: Callable[[], object] | None = None) -> Iterator[Access]:
    """Start the server, give the way to its API, and end it after the block.

    Parameters
    ----------
    meanwhile
        Is called while the server starts, which takes as long as loading Prefect here does.

    Raises
    ------
    FightposeError
        If it does not start.
    """
    secret = new_secret()
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(  # noqa: S603
            [*COMMAND, "--temporary", "--parent", str(os.getpid())],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=_environment(secret),
            start_new_session=True,
        )
        answers = False
        try:
            if meanwhile is not None:
                meanwhile()
            access = Access(_address(server), secret)
            answers = True
            yield access
        except _NotStartedError as error:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise FightposeError(
                f"no temporary Prefect server could be started ({lines[-1]}); start one with `fightpose up` "
                "and use the file that it names"
            ) from error
        finally:
            # One that still starts was interrupted by the user, who is not kept waiting: it ends as soon as it can.
            _end(server, END_SECONDS if answers else AT_ONCE_SECONDS)


class _NotStartedError(Exception):
    """The server process ended or fell silent before it answered."""


def _environment(secret: str) -> dict[str, str]:
    """Return the environment of the server: nothing that the user has set for another server applies to this one."""
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    # The user has no use for a UI that is gone in a minute.
    return {**foreign, **ENVIRONMENT, **for_server(secret), "PREFECT_SERVER_UI_ENABLED": "false"}


def _address(server: subprocess.Popen[str]) -> str:
    """Wait until the server answers and return the address of its API."""
    import httpx

    # It prints its port once it listens; an empty line means that it ended.
    port = server.stdout.readline().strip() if server.stdout else ""
    address = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + START_SECONDS
    # Whatever proxy the environment names cannot reach this machine's loopback.
    with httpx.Client(trust_env=False, timeout=START_SECONDS) as client:
        while port and server.poll() is None and time.monotonic() < deadline:
            try:
                # It listens already: the answer comes when the server has started, without asking twice.
                if client.get(f"{address}/health").is_success:
                    return address
            except httpx.TransportError:
                time.sleep(0.1)
    raise _NotStartedError


def _end(server: subprocess.Popen[str], patience: float) -> None:
    """End the server process, by force if it had its time and does not go.

    Parameters
    ----------
    server
        The process.
    patience
        Seconds to wait for its end; a server that was still starting is left to end by itself after them.
    """
    server.terminate()
    try:
        server.wait(patience)
    except subprocess.TimeoutExpired:
        if patience > AT_ONCE_SECONDS:
            server.kill()
            server.wait()
    if server.stdout:
        server.stdout.close()
