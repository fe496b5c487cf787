"""The program that serves Prefect's API: what it asks for, and the settings that it gives to Prefect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prefect.settings import Settings

from flows.prefect_server import serve
from flows.prefect_server.access import SERVER_SECRET
from flows.prefect_server.serve import HOSTS, KEEP_DAYS, OwnPagesOnly, allowed_hosts, main


def test_it_does_not_start_without_a_secret(monkeypatch, capsys):
    """Not even on loopback: every user of the machine could execute commands."""
    for value in (None, ""):
        monkeypatch.delenv(SERVER_SECRET, raising=False)
        if value is not None:
            monkeypatch.setenv(SERVER_SECRET, value)
        with pytest.raises(SystemExit) as ended:
            main([])
        assert ended.value.code == 2
        assert f"set {SERVER_SECRET} to user:password" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "further", "names"),
    [
        ("127.0.0.1", "", ["127.0.0.1", "localhost"]),
        ("localhost", "", ["localhost", "127.0.0.1"]),
        ("127.0.0.1", "me.lan, other", ["127.0.0.1", "localhost", "me.lan", "other"]),
        # On a network its names are not known, unless they are listed; then only those.
        ("0.0.0.0", "", ["*"]),  # noqa: S104
        ("0.0.0.0", "server", ["0.0.0.0", "127.0.0.1", "localhost", "server"]),  # noqa: S104
    ],
)
def test_the_names_that_it_answers_to(monkeypatch, host, further, names):
    """Loopback's own by default."""
    monkeypatch.setenv(HOSTS, further)
    assert allowed_hosts(host) == names


@pytest.mark.parametrize(("days", "runs", "events"), [(None, 30, 3), ("90", 90, 3), ("1", 1, 1), ("0.5", 0.5, 0.5)])
def test_prefect_understands_the_retention(monkeypatch, days, runs, events):
    """Read by Prefect's own settings: runs, with all that belongs to them, and events."""
    monkeypatch.delenv(KEEP_DAYS, raising=False)
    if days is not None:
        monkeypatch.setenv(KEEP_DAYS, days)
    for name, value in serve.server_settings("127.0.0.1", 4200).items():
        monkeypatch.setenv(name, value)
    server = Settings().server
    assert server.services.db_vacuum.enabled_vacuum_types >= {"events", "flow_runs"}
    assert server.services.db_vacuum.retention_period.total_seconds() == runs * 86_400
    assert server.events.retention_period.total_seconds() == events * 86_400
    assert server.api.cors_allowed_origins == "http://127.0.0.1:4200,http://localhost:4200"


def test_what_the_user_has_set_wins(monkeypatch):
    """A proxy in front has another address."""
    monkeypatch.setenv("PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS", "https://fights.example")
    assert (
        serve.server_settings("127.0.0.1", 4200)["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "https://fights.example"
    )


@pytest.mark.parametrize(
    ("origins", "origin", "let_through"),
    [
        (["http://a"], None, True),
        (["http://a"], "http://a", True),
        (["http://a"], "http://a.example", False),
        (["http://a"], "https://a", False),
        (["http://a"], "null", False),
        (["http://a"], "", False),
        (["*"], "http://b", True),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_only_pages_of_its_own_address_are_answered(kind, origins, origin, let_through):
    """Programs send no origin; browsers cannot leave it out."""
    reached: list[str] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Note that the request was let through."""
        reached.append(scope["type"])

    async def send(message: Any) -> None:
        """Note the answer."""
        sent.append(message)

    scope = {"type": kind, "headers": [] if origin is None else [(b"origin", origin.encode())]}
    asyncio.run(OwnPagesOnly(app, origins)(scope, None, send))
    assert bool(reached) is let_through
    assert bool(sent) is not let_through
    if sent:
        assert sent[0]["status"] == 403
