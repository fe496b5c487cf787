"""The environment of everything that has to do with Prefect: its settings, and the proxies of the machine.

Prefect's client, its websockets and our own requests read `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` and so on. A proxy does
not know the 127.0.0.1 of this machine: requests to a server here wait for minutes and fail. So loopback is always asked
directly. And httpx builds all proxies when a client is made, used or not, so that one value that it cannot read breaks
every request: such values are taken out.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import MutableMapping
from urllib.parse import urlsplit

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
    # A shard waits in the queue until a GPU is free, which may take minutes and is no reason for an alarm ("Late").
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "3600",
    # The logs of the pure steps belong to the run that called them.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks",
    # The same loggers speak outside runs too (the self-check, worker start-up).
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
"""Settings of Prefect for this program; what the user has set wins."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The names of this machine that a server of ours may be reached by."""

READABLE_SCHEMES = ("", "http", "https")
"""Proxies that httpx speaks to by itself; SOCKS needs a package that is not among our requirements."""

_BRACKETED = re.compile(r"\[(?P<address>[^\]]+)\](:\d+)?")
"""An IPv6 address as it is written in a URL; httpx wants it bare in NO_PROXY and raises at brackets."""


def ask_loopback_directly(environment: MutableMapping[str, str] | None = None) -> list[str]:
    """Change proxy variables so that loopback is asked directly and httpx can read what is left.

    Child processes inherit the result. Has to be called before the first client is made.

    Parameters
    ----------
    environment
        The variables; those of this process if None.

    Returns
    -------
    list[str]
        Names of the variables that were removed because httpx cannot use their value.
    """
    variables = os.environ if environment is None else environment
    removed = [name for name, value in variables.items() if _is_proxy(name) and not _is_readable(value)]
    for name in removed:
        # The value may hold a password: only the name is logged.
        logger.warning("%s is ignored: only http:// and https:// proxies can be used", name)
        del variables[name]
    # urllib prefers the lower case form, other programs know only one of the two: both get the same value.
    exceptions = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
    variables["no_proxy"] = variables["NO_PROXY"] = ",".join(_with_loopback(exceptions))
    return removed


def _is_proxy(name: str) -> bool:
    """Tell whether a variable names a proxy, as urllib decides it."""
    return name.lower().endswith("_proxy") and name.lower() != "no_proxy"


def _is_readable(value: str) -> bool:
    """Tell whether httpx can make a proxy of a value."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        # A port that is no number raises only when it is read.
        return parts.scheme.lower() in READABLE_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _with_loopback(exceptions: str) -> list[str]:
    """Return the entries of NO_PROXY in a form that httpx reads, those of loopback added."""
    entries = [entry.strip() for entry in exceptions.split(",") if entry.strip()]
    entries = [match["address"] if (match := _BRACKETED.fullmatch(entry)) else entry for entry in entries]
    return [*dict.fromkeys([*entries, *LOOPBACK])]
