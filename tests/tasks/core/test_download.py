"""Downloads against a server on this machine that misbehaves as real ones do."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.core import download as module
from tasks.core.download import download
from tasks.core.errors import FightposeError

CONTENT = bytes(range(256)) * 4096


class Server:
    """A file server on 127.0.0.1 whose faults a test sets, and that notes what it was asked."""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        self.statuses: list[int] = []
        self.cut_after: list[int] = []
        self.honours_range = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one request."""

            def do_GET(self) -> None:
                """Send the content, or the fault that is next."""
                asked = self.headers.get("Range")
                outer.ranges.append(asked)
                if outer.statuses:
                    self.send_error(outer.statuses.pop(0))
                    return
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and outer.honours_range else 0
                if start >= len(CONTENT):
                    self.send_error(416)
                    return
                body = CONTENT[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: outer.cut_after.pop(0)] if outer.cut_after else body)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/model.zip"

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Give a server, and no pause between attempts."""
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.0)
    # A proxy of the machine must not stand between this process and itself.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


def test_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    """Into a folder that did not exist, with progress up to the end."""
    seen: list[tuple[int, int]] = []
    path = tmp_path / "new" / "model.zip"
    download(server.url, path, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [entry.name for entry in path.parent.iterdir()] == ["model.zip"]


def test_broken_transfer_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    """A line that drops twice costs no byte twice."""
    server.cut_after = [1000, 2000]
    path = tmp_path / "model.zip"
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=3000-"]


def test_next_call_goes_on_after_all_attempts_failed(server: Server, tmp_path: Path) -> None:
    """What has arrived is kept, under a name that is not the file's."""
    server.cut_after = [100] * module.ATTEMPTS
    path = tmp_path / "model.zip"
    with pytest.raises(FightposeError, match=r"closed after \d+ of .*5 attempts"):
        download(server.url, path)
    assert not path.exists()
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=500-"


def test_server_that_cannot_continue_sends_all_again(server: Server, tmp_path: Path) -> None:
    """Appending its whole answer would give a file that is too long."""
    server.cut_after = [1000]
    server.honours_range = False
    path = tmp_path / "model.zip"
    download(server.url, path)
    assert path.read_bytes() == CONTENT


def test_left_over_part_that_is_too_long_is_thrown_away(server: Server, tmp_path: Path) -> None:
    """It belongs to another version of the file."""
    path = tmp_path / "model.zip"
    path.with_name(f"{module.PARTIAL_MARK}{path.name}").write_bytes(b"x" * (len(CONTENT) + 1))
    download(server.url, path)
    assert path.read_bytes() == CONTENT


def test_overloaded_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    """503 and 429 pass."""
    server.statuses = [503, 429]
    path = tmp_path / "model.zip"
    download(server.url, path)
    assert path.read_bytes() == CONTENT


def test_missing_file_is_told_at_once(server: Server, tmp_path: Path) -> None:
    """No use in asking five times."""
    server.statuses = [404]
    with pytest.raises(FightposeError, match="HTTP 404"):
        download(server.url, tmp_path / "model.zip")
    assert len(server.ranges) == 1
    assert list(tmp_path.iterdir()) == []


def test_server_that_is_not_there_gives_one_error(server: Server, tmp_path: Path) -> None:
    """No network, mostly."""
    server.close()
    with pytest.raises(FightposeError, match=r"5 attempts\); check the network or proxy"):
        download(server.url, tmp_path / "model.zip")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "model.zip"])
def test_other_schemes_are_refused(url: str, tmp_path: Path) -> None:
    """The library would open local files as well."""
    with pytest.raises(FightposeError, match="no http address"):
        download(url, tmp_path / "x")
