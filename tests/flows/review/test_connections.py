"""Connections to the review page that never send a whole request, and requests for websockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.review import connections
from flows.review.app import AuthenticationMiddleware
from flows.review.connections import ImpatientProtocol

HALF_REQUESTS = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
    "half a second request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP",
}

LOOK_SECONDS = 0.5


async def page(scope, receive, send) -> None:
    """Answer with the length of the body, once it is there."""
    body = await Request(scope, receive).body()
    answer: Response = PlainTextResponse(str(len(body)))
    await answer(scope, receive, send)


@contextmanager
def served(app: Any = page) -> Iterator[int]:
    """Serve an application as the review page is served, and give its port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    config = uvicorn.Config(app, http=ImpatientProtocol, log_level="error", lifespan="off", timeout_keep_alive=60)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def closes(connection: socket.socket) -> bool:
    """Tell whether the other side closes a connection, whatever it sends before."""
    connection.settimeout(120)
    try:
        while connection.recv(1000):
            pass
    except ConnectionResetError:
        return True
    return True


@pytest.mark.parametrize("sent", HALF_REQUESTS.values(), ids=HALF_REQUESTS.keys())
def test_a_request_that_never_gets_complete_is_closed(monkeypatch, sent):
    """Wherever it stops; each of many connections."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", LOOK_SECONDS)
    with served() as port:
        opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for connection in opened:
            connection.sendall(sent)
        for connection in opened:
            assert closes(connection)
            connection.close()
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "0"


def test_a_request_in_several_parts_is_answered():
    """A slow sender is not a silent one."""
    with served() as port, socket.create_connection(("127.0.0.1", port)) as connection:
        whole = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 6\r\n\r\nabcdef"
        for start in range(0, len(whole), 20):
            connection.sendall(whole[start : start + 20])
            time.sleep(0.02)
        connection.settimeout(120)
        answer = b""
        while part := connection.recv(1000):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"6")


def test_an_answer_that_takes_longer_than_the_patience_is_sent(monkeypatch):
    """Videos do; the request is complete by then."""

    async def slow(scope, receive, send) -> None:
        """Answer late."""
        await Request(scope, receive).body()
        await asyncio.sleep(5 * LOOK_SECONDS)
        await PlainTextResponse("late")(scope, receive, send)

    monkeypatch.setattr(connections, "REQUEST_SECONDS", LOOK_SECONDS)
    with served(slow) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=120).text == "late"


def test_a_request_for_a_websocket_is_refused_and_no_error_of_the_server(caplog):
    """There are none; 403, and no traceback in the terminal."""
    with served(AuthenticationMiddleware(page, "token", "127.0.0.1")) as port:
        with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{port}/api/clips"):
            pass
        assert refused.value.response.status_code == 403
    assert "Traceback" not in caplog.text
