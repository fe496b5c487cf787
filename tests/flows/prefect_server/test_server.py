"""The user's Prefect server: away, of another version, something else; always one line, and nothing half-done."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import prefect
import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

from flows.prefect_server import server as module
from flows.prefect_server.server import require_reachable
from tasks.core.errors import FightposeError
from tests.command_line import run_alone
from tests.video_factory import plain_frames, write_video


class Answers(BaseHTTPRequestHandler):
    """Gives the same answer to every request."""

    text = '"3.9.1"'
    status = 200
    headers_seen: ClassVar[list[Any]] = []

    def do_GET(self) -> None:
        """Answer."""
        self.headers_seen.append(self.headers)
        self.send_response(type(self).status)
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


@pytest.mark.parametrize(
    ("file", "text", "may"),
    [
        ("home/profiles.toml", 'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://server/api"\n', True),
        ("home/profiles.toml", 'active = "a"\n[profiles.a]\nPREFECT_LOGGING_LEVEL = "DEBUG"\n', False),
        ("prefect.toml", '[api]\nurl = "http://server/api"\n', True),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://server/api"\n', True),
        ("pyproject.toml", '[project]\nname = "x"\ndependencies = ["prefect"]\n', False),
        (".env", "PREFECT_API_URL=http://server/api\n", True),
    ],
)
def test_a_server_is_started_early_only_where_no_settings_of_prefect_can_name_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, may: bool
):
    """Known without importing Prefect; in the end Prefect's own answer counts."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    assert not module.may_name_server()
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert module.may_name_server() is may
    monkeypatch.setenv("PREFECT_API_URL", "http://server/api")
    assert module.may_name_server()


@pytest.mark.parametrize(
    ("status", "said"), [(401, "asks for a log-in: set PREFECT_API_AUTH_STRING"), (500, "does not answer")]
)
def test_a_server_that_wants_another_secret_is_told_from_one_that_is_broken(server, monkeypatch, status, said):
    """With what to do; the secret that was sent is not repeated."""
    monkeypatch.setattr(Answers, "status", status)
    with temporary_settings({PREFECT_API_AUTH_STRING: "me:wrong"}), pytest.raises(FightposeError, match=said) as error:
        require_reachable(server)
    assert "wrong" not in str(error.value)
    assert Answers.headers_seen[-1].get("Authorization") == "Basic bWU6d3Jvbmc="


def test_a_server_on_this_machine_is_never_asked_through_a_proxy(server, monkeypatch):
    """Whatever the environment says, and whatever it leaves out of NO_PROXY."""
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, nobody().removesuffix("/api"))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setattr(Answers, "text", f'"{prefect.__version__}"')
    require_reachable(server)


@pytest.mark.prefect
def test_requests_that_write_at_the_same_time_wait_for_each_other(prefect_server):
    """A page of the UI does not ask again after a 503, as Prefect's programs do."""
    user, password = str(PREFECT_API_AUTH_STRING.value()).split(":", 1)
    # A connection for each request: one that is kept may be closed by a busy server just as it is used again.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=prefect_server, auth=(user, password), timeout=120, limits=limits) as api:
        flow = api.post("/flows/", json={"name": "empty"}).json()["id"]
        deployment = api.post("/deployments/", json={"name": "empty", "flow_id": flow}).json()["id"]

        def start(_: int) -> int:
            """Start a run, which reads the deployment before it writes."""
            return api.post(f"/deployments/{deployment}/create_flow_run", json={"parameters": {}}).status_code

        with ThreadPoolExecutor(8) as pool:
            answers = Counter(pool.map(start, range(100)))
        api.delete(f"/deployments/{deployment}")
        api.delete(f"/flows/{flow}")
    # Readers that come to write lose 86 of the 100. On a machine that also runs the rest of the tests up to five still
    # met a lock that was not given back in time.
    assert set(answers) <= {201, 503}
    assert answers[201] >= 80
