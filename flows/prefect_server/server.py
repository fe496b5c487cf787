"""The Prefect API that a run on this machine talks to.

If the user has a server (`PREFECT_API_URL` or a profile names it) it is used. Otherwise a temporary one is started
for the length of the run; its records go to the user's own Prefect database, where a later server shows them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flows.prefect_server.temporary_server import temporary_server
from tasks.core.errors import FightposeError

logger = logging.getLogger(__name__)

ENVIRONMENT = {
    # Quiet and offline: nothing is sent anywhere.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # By default every task event is its own transaction; on SQLite they queue up until a clip waits seconds for them.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # The service looks at every unfinished child run of every parent, one by one: at every 20 s (the default) that is
    # half of the server's work with 50 clips in flight. `flows.runs.pool.cancel_children` cancels them at once anyway.
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "300",
    # The logs of the pure steps belong to the run that called them.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks",
    # The same loggers speak outside runs too (the self-check, worker start-up).
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
"""Settings of Prefect for this program; what the user has set wins."""

DRAIN_SECONDS = 10


def prepare_environment(console_level: str = "INFO") -> None:
    """Set Prefect's environment; has to be called before Prefect is imported.

    Parameters
    ----------
    console_level
        Least level of Prefect's log lines on the console. All lines go to the API whatever it is.
    """
    for name, value in {**ENVIRONMENT, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": console_level}.items():
        os.environ.setdefault(name, value)


@contextmanager
def prefect_api() -> Iterator[str]:
    """Give the address of a Prefect API that answers, for the length of the block.

    Raises
    ------
    FightposeError
        If the user's server does not answer, or a temporary one cannot be started.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # A run in this process ends with it: heartbeats would only make each clip wait a second for their thread.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        address = PREFECT_API_URL.value()
        if address:
            require_reachable(address)
            yield address
            return
        with temporary_server() as address, temporary_settings({PREFECT_API_URL: address}):
            # Worker processes find the server by their environment.
            os.environ["PREFECT_API_URL"] = address
            try:
                yield address
            finally:
                # Also after Ctrl-C: Prefect would go on for a minute to tell a server that is gone.
                _drain()
                del os.environ["PREFECT_API_URL"]


def _drain() -> None:
    """Let the server write what this process still has to tell: logs, and the states of the last tasks."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=DRAIN_SECONDS)
    EventsWorker.drain_all(timeout=DRAIN_SECONDS)
    # The server's recorder writes once a second; there is no call that waits for it.
    time.sleep(1.5)


def require_named_server() -> None:
    """Make sure that a server is named whose workers can take runs; a temporary one has none.

    Raises
    ------
    FightposeError
        If none is.
    """
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise FightposeError(
            "mode pool needs a Prefect server with workers: start `fightpose up`, set PREFECT_API_URL to the address "
            "that it prints, and run this again"
        )


def require_reachable(address: str) -> None:
    """Make sure that the user's Prefect server answers, and that it is of this program's version.

    Raises
    ------
    FightposeError
        If it does not, or is not.
    """
    import httpx
    import prefect

    try:
        answer = httpx.get(f"{address.rstrip('/')}/admin/version", timeout=10)
        answer.raise_for_status()
        version = str(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        raise FightposeError(
            f"the Prefect server at {address} does not answer ({type(error).__name__}); start it with "
            "`prefect server start`, or unset PREFECT_API_URL to use a temporary one"
        ) from error
    # Prefect's server reads older clients of its own minor version and no newer ones.
    if version.split(".")[:2] != prefect.__version__.split(".")[:2]:
        raise FightposeError(
            f"the Prefect server at {address} is version {version}, this program uses {prefect.__version__}; start a "
            f"server of that version (`pip install prefect=={prefect.__version__}`), or unset PREFECT_API_URL"
        )
