"""The Prefect API that a run on this machine talks to.

If the user has a server (`PREFECT_API_URL` or a profile names it) it is used. Otherwise a temporary one is started
for the length of the run, with a database that ends with it: outputs and their receipts are what stays of a run.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows.prefect_server.access import ADDRESS, Access
from flows.prefect_server.environment import ENVIRONMENT, LOOPBACK, ask_loopback_directly
from flows.prefect_server.temporary_server import temporary_server
from tasks.core.errors import FightposeError

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 10


def prepare_environment(console_level: str = "INFO") -> None:
    """Set Prefect's environment; has to be called before Prefect is imported.

    Parameters
    ----------
    console_level
        Least level of Prefect's log lines on the console. All lines go to the API whatever it is.
    """
    ask_loopback_directly()
    for name, value in {**ENVIRONMENT, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": console_level}.items():
        os.environ.setdefault(name, value)


@contextmanager
def prefect_api(meanwhile: Callable[[], object] | None = None) -> Iterator[str]:
    """Give the address of a Prefect API that answers, for the length of the block.

    Parameters
    ----------
    meanwhile
        Is called while a temporary server starts: imports of Prefect, which take as long.

    Raises
    ------
    FightposeError
        If the user's server does not answer, or a temporary one cannot be started.
    """
    with ExitStack() as stack:
        access = None
        if not may_name_server():
            # Before Prefect is imported here: the two processes load it side by side.
            access = stack.enter_context(temporary_server(meanwhile))
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        # A run in this process ends with it: heartbeats would only make each clip wait a second for their thread.
        stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
        if address := PREFECT_API_URL.value():
            require_reachable(address)
            yield address
            return
        stack.enter_context(clients_use(access or stack.enter_context(temporary_server(meanwhile))))
        # Nobody can read them there, and each clip would wait for them. The console and the failure log stay.
        stack.enter_context(_without_logs_to_api())
        try:
            yield os.environ[ADDRESS]
        finally:
            # Also after Ctrl-C: Prefect would go on for a minute to tell a server that is gone.
            _drain()


def may_name_server() -> bool:
    """Tell whether the environment or one of Prefect's files may name a server; Prefect itself has the last word.

    Importing Prefect to ask it takes seconds, in which the temporary server could start.
    """
    if os.environ.get(ADDRESS):
        return True
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    # The places in which Prefect looks for settings, with what each calls the address.
    places = (
        (profiles, "PREFECT_API_URL"),
        (Path(".env"), "PREFECT_API_URL"),
        (Path("pyproject.toml"), "tool.prefect"),
    )
    return Path("prefect.toml").is_file() or any(word in _text(path) for path, word in places)


def _text(path: Path) -> str:
    """Return what a file holds; nothing where it is absent or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@contextmanager
def clients_use(access: Access) -> Iterator[None]:
    """Make Prefect's clients in this process, and in the processes that it starts, ask a server."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    settings = {PREFECT_API_URL: access.address, PREFECT_API_AUTH_STRING: access.secret}
    # Worker processes find the server by their environment.
    with temporary_settings(settings), _environment_with(access.for_clients()):
        yield


@contextmanager
def _without_logs_to_api() -> Iterator[None]:
    """Keep log lines from being sent to the server, by this process and by those that it starts."""
    from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    variables = {"PREFECT_LOGGING_TO_API_ENABLED": "false"}
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}), _environment_with(variables):
        yield


@contextmanager
def _environment_with(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of the block."""
    earlier = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in earlier.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _drain() -> None:
    """Let the server take what this process still has to tell; later nobody would be there to hear it."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=DRAIN_SECONDS)
    EventsWorker.drain_all(timeout=DRAIN_SECONDS)


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
            "mode pool needs a Prefect server with workers: start `fightpose up`, source the file that it names "
            "(it sets PREFECT_API_URL and PREFECT_API_AUTH_STRING), and run this again"
        )


def require_reachable(address: str) -> None:
    """Make sure that the user's Prefect server answers, lets us in, and is of this program's version.

    Raises
    ------
    FightposeError
        If it does not, or is not.
    """
    import httpx
    import prefect
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY

    headers = _credentials(PREFECT_API_AUTH_STRING.value(), PREFECT_API_KEY.value())
    # The environment's proxies are for other machines; a server on this one is asked directly.
    is_local = httpx.URL(address).host in LOOPBACK
    try:
        with httpx.Client(trust_env=not is_local, timeout=10, headers=headers) as client:
            answer = client.get(f"{address.rstrip('/')}/admin/version")
        if answer.status_code in (401, 403):
            raise FightposeError(
                f"the Prefect server at {address} asks for a log-in: set PREFECT_API_AUTH_STRING to its user:password "
                "(`fightpose up` names a file that sets it)"
            )
        answer.raise_for_status()
        version = str(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        raise FightposeError(
            f"the Prefect server at {address} does not answer ({type(error).__name__}); start it with "
            "`fightpose up`, or unset PREFECT_API_URL to use a temporary one"
        ) from error
    # Prefect's server reads older clients of its own minor version and no newer ones.
    if version.split(".")[:2] != prefect.__version__.split(".")[:2]:
        raise FightposeError(
            f"the Prefect server at {address} is version {version}, this program uses {prefect.__version__}; start a "
            f"server of that version (`pip install prefect=={prefect.__version__}`), or unset PREFECT_API_URL"
        )


def _credentials(secret: str | None, key: str | None) -> dict[str, str]:
    """Return the header that lets a client in, as Prefect's own clients send it."""
    if secret:
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    return {"Authorization": f"Bearer {key}"} if key else {}
