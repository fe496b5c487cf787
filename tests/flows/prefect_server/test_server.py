"""The user's Prefect server: away, of another version, something else; always one line, and nothing half-done."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import prefect
import pytest

from flows.prefect_server.server import require_reachable
from tasks.core.errors import FightposeError
from tests.command_line import run_alone
from tests.video_factory import plain_frames, write_video


class Answers(BaseHTTPRequestHandler):
    """Gives the same answer to every request."""

    text = '"3.8.8"'

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(type(self).text.encode())

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    """Give the address of something that answers as `Answers.text` says."""
    listener = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listener.server_address[1]}/api"
    listener.shutdown()
    listener.server_close()


def nobody() -> str:
    """Return an address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"2.20.4"', "is version 2.20.4, this program uses"),
        ('"3.7.1"', "start a server of that version"),
        ("<html>", "does not answer .JSONDecodeError.; start it with `fightpose up`"),
    ],
)
def test_a_server_of_another_version_or_kind_is_told(server, monkeypatch, text, line):
    """An older server would fail later, at the first request that it does not know."""
    monkeypatch.setattr(Answers, "text", text)
    with pytest.raises(FightposeError, match=line):
        require_reachable(server)


def test_a_server_of_this_version_is_taken(server, monkeypatch):
    """Its patch number may differ."""
    monkeypatch.setattr(Answers, "text", f'"{".".join(prefect.__version__.split(".")[:2])}.99"')
    require_reachable(server)


@pytest.mark.parametrize("mode", ["single", "pool"])
def test_a_server_that_is_away_is_one_line_and_nothing_is_half_done(tmp_path: Path, mode: str):
    """In every mode; the output folder stays empty."""
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4", plain_frames(4))
    out = tmp_path / "out"
    command = ["annotate", tmp_path / "in", "--output-root", out, "--mode", mode]
    done = run_alone(*command, PREFECT_API_URL=nobody())
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: the Prefect server at http://127.0.0.1:")
    assert "start it with `fightpose up`" in line
    assert "Traceback" not in done.stderr
    assert list(out.rglob("*")) == []


def test_mode_pool_without_a_server_says_what_to_start(tmp_path: Path):
    """A temporary server has no workers."""
    (tmp_path / "in").mkdir()
    command = ["annotate", tmp_path / "in", "--output-root", tmp_path / "out", "--mode", "pool"]
    done = run_alone(*command, PREFECT_HOME=tmp_path / "home", PREFECT_API_URL=None)
    assert done.returncode == 2
    assert "start `fightpose up`" in done.stderr
    assert list((tmp_path / "out").rglob("*")) == []
