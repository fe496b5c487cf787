"""Proxies of the environment: loopback is asked directly whatever they say, and no value breaks the client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from flows.prefect_server.environment import LOOPBACK, ask_loopback_directly

PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class Yes(BaseHTTPRequestHandler):
    """Answers every request."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    """Give the port of a server on 127.0.0.1."""
    listener = HTTPServer(("127.0.0.1", 0), Yes)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield listener.server_address[1]
    listener.shutdown()
    listener.server_close()


@pytest.fixture
def nobody() -> str:
    """Give the address of a proxy that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value", ["http://{}", "{}", "socks5://{}", "socks5h://u:p@{}", "ftp://{}", "[::1", "http://a:b"]
)
@pytest.mark.parametrize("exceptions", [None, "example.com, [::1]:80 ,[fe80::1]", "*"])
def test_a_server_on_this_machine_is_asked_directly(monkeypatch, port, nobody, variable, value, exceptions):
    """By httpx as Prefect uses it; every kind of proxy, every spelling of its exceptions."""
    for name in (*PROXIES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value.format(nobody))
    if exceptions is not None:
        monkeypatch.setenv("NO_PROXY", exceptions)
    ask_loopback_directly()
    # Unverified: loading certificates, which plain HTTP does not need, takes longer than all of the rest.
    with httpx.Client(verify=False, timeout=60) as client:  # noqa: S501
        for host in ("127.0.0.1", "localhost"):
            assert client.get(f"http://{host}:{port}/").status_code == 204


def test_other_exceptions_and_usable_proxies_stay():
    """A proxy that can be used is still used for other machines."""
    environment = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "corp.example, [::1]", "NO_PROXY": "ignored"}
    assert ask_loopback_directly(environment) == []
    assert environment["HTTPS_PROXY"] == "http://proxy:3128"
    assert environment["no_proxy"] == environment["NO_PROXY"] == "corp.example,::1,127.0.0.1,localhost"


def test_a_proxy_that_cannot_be_used_is_reported_by_name_without_its_password(caplog):
    """Once; its value may hold a password."""
    environment = {"ALL_PROXY": "socks5://user:password@proxy:1080"}
    assert ask_loopback_directly(environment) == ["ALL_PROXY"]
    assert "ALL_PROXY" not in environment
    assert "ALL_PROXY is ignored" in caplog.text
    assert "password" not in caplog.text
    assert environment["NO_PROXY"].split(",") == [*LOOPBACK]
