"""The program that serves Prefect's API and UI: `python -m flows.prefect_server.serve`.

It is Prefect's own application. In place of `prefect server start` it

- starts only with a secret (see `flows.prefect_server.access`),
- answers only under its own names and to pages of its own address,
- ends when its parent does, however the parent ends (`kill -9` included),
- can run on a database of its own that ends with it (`--temporary`), a copy of one that was migrated before.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import os
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.prefect_server.access import SERVER_SECRET
from flows.prefect_server.environment import ENVIRONMENT
from tasks.core.parent import end_with_parent

COMMAND = (sys.executable, "-m", "flows.prefect_server.serve")
"""Starts this program; its secret comes in the environment."""

HOSTS = "FIGHTPOSE_SERVER_HOSTS"
"""Environment variable: further host names, separated by commas, under which the server answers."""

KEEP_DAYS = "FIGHTPOSE_KEEP_DAYS"
"""Environment variable: how many days ended runs are kept on the server."""

DEFAULT_KEEP_DAYS = 30

EVENT_DAYS = 3
"""Days that events are kept: they are four fifths of the database, and the automations look back minutes."""

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")

END_SECONDS = 5
"""How long requests under way may take once the server got the signal to end."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the process gets a signal to end or its parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m flows.prefect_server.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free; it is printed")
    parser.add_argument("--temporary", action="store_true", help="on a database that ends with this process")
    # Asked of the system only where nobody says it: a parent that is killed during the imports of this process, which
    # take seconds, would not be noticed.
    parser.add_argument("--parent", type=int, default=os.getppid(), help="ID of the process with which the server ends")
    options = parser.parse_args(arguments)
    if not os.environ.get(SERVER_SECRET):
        parser.error(f"set {SERVER_SECRET} to user:password: without it everybody could execute commands here")
    # Uvicorn closes everything first and then raises the signal again: it must not end the process before the folder of
    # a temporary database is removed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    end_with_parent(options.parent, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with ExitStack() as stack:
        listener = stack.enter_context(_listening(options.host, options.port))
        port = listener.getsockname()[1]
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        os.environ.update(server_settings(options.host, port))
        template = None
        if options.temporary:
            # A database in a folder of its own: whatever a run leaves there is gone afterwards.
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fightpose-server-")))
            template = _use_database_of_its_own(home)
        _serve(listener, options.host, ephemeral=options.temporary, template=template)


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens: clients wait for the server from here on instead of being refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # The port of a server that has just ended can be taken again at once.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(128)
    return listener


def server_settings(host: str, port: int) -> dict[str, str]:
    """Return Prefect's settings for a server at an address; what the user has set wins.

    Retention is Prefect's own: its vacuum service deletes runs, with all that belongs to them, and events by age.
    """
    days = timedelta(days=float(os.environ.get(KEEP_DAYS) or DEFAULT_KEEP_DAYS))
    second = timedelta(seconds=1)
    settings = {
        **ENVIRONMENT,
        # The UI is asked for under either name, and asks the API under one of them.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(f"http://{name}:{port}" for name in _names(host)),
        "PREFECT_SERVER_API_HOST": host,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(days // second),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{min(days, timedelta(days=EVENT_DAYS)) // second}S",
    }
    return {name: os.environ.get(name, value) for name, value in settings.items()}


def _names(host: str) -> list[str]:
    """Return the names under which a server that listens on an address is asked for."""
    configured = [name.strip() for name in os.environ.get(HOSTS, "").split(",") if name.strip()]
    return [*dict.fromkeys([host, *LOOPBACK_HOSTS, *configured])]


def allowed_hosts(host: str) -> list[str]:
    """Return the host names that the server answers to.

    On loopback only its own: a foreign name that was made to resolve to 127.0.0.1 (DNS rebinding) is refused. On a
    network the names that others know it by cannot be guessed: all, unless `FIGHTPOSE_SERVER_HOSTS` lists them.
    """
    open_to_network = host not in LOOPBACK_HOSTS and not os.environ.get(HOSTS)
    return ["*"] if open_to_network else _names(host)


def _write_lock_first() -> None:
    """Have SQLite's transactions take the write lock when they begin, and wait for it there.

    Prefect's own begin as readers. One that has read and then wants to write fails at once where another wrote in the
    meantime: SQLite does not wait then, since what was read is out of date. The server answers 503, which Prefect's
    programs try again and its UI does not: of the runs that are started from the form beside two idle workers, one in
    ten was lost. Transactions that only read use no `begin_transaction`.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction

    def begin_for_update(self: Any, session: Any, with_for_update: bool = True) -> Any:
        """Begin a transaction that will write, whatever the caller says."""
        return begin(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_for_update  # type: ignore[method-assign]


class OwnPagesOnly:
    """Middleware that refuses requests which a browser sends for a page of another address.

    CORS only keeps such a page from reading the answer, and does not exist for websockets.

    Parameters
    ----------
    app
        The application behind it.
    origins
        Addresses of the pages whose requests are let through; `*` for all.
    """

    def __init__(self, app: Any, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = set(origins)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        answer = self._app
        if scope["type"] in ("http", "websocket") and "*" not in self._origins:
            # Programs send no Origin; browsers send it with every request that changes something.
            origin = Headers(scope=scope).get("origin")
            if origin is not None and origin not in self._origins:
                answer = PlainTextResponse("This server answers to pages of its own address only.", 403)
        await answer(scope, receive, send)


def _serve(listener: socket.socket, host: str, *, ephemeral: bool, template: Path | None) -> None:
    """Serve Prefect's application on a socket until SIGTERM or SIGINT."""
    # Millions of objects are made while it starts and nearly all of them stay: running garbage
    # collection over them again and again is 6 % of the start.
    gc.disable()
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from flows.prefect_server.late_reports import turn_away_late_reports

    _write_lock_first()
    turn_away_late_reports()
    settings = get_current_settings().server
    # Ephemeral: only the services that a single run needs; no scheduler, no look-out for late runs.
    app = create_app(ephemeral=ephemeral, final=not ephemeral)
    origins = [origin.strip() for origin in settings.api.cors_allowed_origins.split(",")]
    # Around the application and not in it: the server's automations ask the application itself, in this process and
    # under a name that nobody else may use, and were refused with status 400. The host is looked at first.
    guarded = TrustedHostMiddleware(
        OwnPagesOnly(app, origins=origins), allowed_hosts=allowed_hosts(host), www_redirect=False
    )

    class Server(uvicorn.Server):
        """Keeps a copy of the database once it is migrated, before anybody has written to it."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Run the application's own start, which migrates the database, then begin to answer."""
            await super().startup(sockets)
            gc.freeze()
            gc.enable()
            if template is not None:
                _keep(template)

    config = uvicorn.Config(
        guarded,
        lifespan="on",
        log_level="error" if ephemeral else str(settings.logging_level).lower(),
        timeout_keep_alive=settings.api.keepalive_timeout,
        timeout_graceful_shutdown=END_SECONDS,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
    )
    Server(config).run(sockets=[listener])


def template_path() -> Path:
    """Return where a migrated, empty database of this version of Prefect is kept."""
    from tasks.core.download import cache_folder

    return cache_folder() / f"prefect-server-{importlib.metadata.version('prefect')}.db"


def _use_database_of_its_own(home: Path) -> Path | None:
    """Give Prefect a folder of its own, with a migrated database if one is kept.

    Migrating an empty database takes 40 % of a server's start.

    Returns
    -------
    Path | None
        Where a copy is to be kept once the database is migrated; None if there is one.
    """
    os.environ["PREFECT_HOME"] = str(home)
    os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{home / 'prefect.db'}"
    template = template_path()
    try:
        shutil.copyfile(template, home / "prefect.db")
        with sqlite3.connect(home / "prefect.db") as database:
            database.execute("SELECT version_num FROM alembic_version").fetchone()
    except (OSError, sqlite3.Error):
        # None yet, or one that cannot be read: made in the usual way, and kept for the next time.
        (home / "prefect.db").unlink(missing_ok=True)
        return template
    os.environ["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
    os.environ["PREFECT_SERVER_REGISTER_BLOCKS_ON_START"] = "false"
    return None


def _keep(template: Path) -> None:
    """Keep a copy of the database; a cache that cannot be written costs the next start some seconds, nothing else."""
    try:
        template.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=template.parent) as folder:
            copy = Path(folder) / template.name
            # Not a copy of the file: its latest pages are in the write-ahead log beside it.
            with sqlite3.connect(Path(os.environ["PREFECT_HOME"]) / "prefect.db") as database:
                database.execute("VACUUM INTO ?", (str(copy),))
            copy.replace(template)
    except (OSError, sqlite3.Error):
        return


if __name__ == "__main__":
    main()
