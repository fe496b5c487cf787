"""A server that `fightpose up` started: who gets in, and what a page in the user's browser can do there (nothing)."""

from __future__ import annotations

import base64
import json
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.integration.test_up import Up

pytestmark = pytest.mark.integration

FOREIGN_PAGE = "http://evil.example"
FOREIGN_HOST = "evil.example"

PATIENCE_SECONDS = 180.0


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Give a running `fightpose up` with server, deployments and workers."""
    started = Up(tmp_path_factory.mktemp("up"))
    try:
        started.wait_for("Ready.")
        yield started
        started.end(15)
    finally:
        for process in started.family():
            process.kill()


@pytest.fixture(scope="module")
def secret(up: Up) -> str:
    """Give the string that `up` printed to log in with."""
    found = re.search(r"Log in with: (\S+)", up.said())
    assert found, up.said()
    return found[1]


@pytest.fixture
def root(up: Up) -> str:
    """Give the address of the UI."""
    return f"http://127.0.0.1:{up.port}"


def basic(secret: str) -> dict[str, str]:
    """Return the header that logs a request in."""
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


REQUESTS = [
    ("GET", "/api/admin/version", None),
    ("GET", "/api/admin/settings", None),
    ("POST", "/api/flow_runs/filter", {}),
    ("POST", "/api/deployments/filter", {}),
    ("POST", "/api/work_pools/filter", {}),
    ("POST", "/api/flows/", {"name": "planted"}),
    ("POST", "/api/variables/", {"name": "planted", "value": "1"}),
    ("DELETE", "/api/work_pools/gpu", None),
]
"""What reads, writes and deletes; the last ones would leave something behind."""


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
@pytest.mark.parametrize("headers", [{}, basic("fightpose:wrong"), {"Authorization": "Bearer x"}])
def test_nothing_is_answered_without_the_secret(root, method, path, body, headers):
    """A program of another user of this machine, or a page that sends a form."""
    answer = httpx.request(method, root + path, json=body, headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"exception_message": "Unauthorized"}


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_a_page_of_another_address_gets_nothing_even_if_it_knew_the_secret(root, secret, method, path, body):
    """With the content type that needs no permission beforehand as well."""
    for kind in ("application/json", "text/plain"):
        headers = {**basic(secret), "Origin": FOREIGN_PAGE, "Content-Type": kind}
        answer = httpx.request(method, root + path, content=json.dumps(body), headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_a_page_of_another_address_is_not_permitted_to_ask(root):
    """The browser asks first (CORS preflight) and is refused; a page of the UI's own address is not."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    for origin in (FOREIGN_PAGE, "null", "http://127.0.0.1:1", root.replace("http", "https")):
        refused = httpx.options(f"{root}/api/flow_runs/filter", headers={**asked, "Origin": origin})
        assert refused.status_code in (400, 403)
        assert "access-control-allow-origin" not in refused.headers
    for origin in (root, root.replace("127.0.0.1", "localhost")):
        granted = httpx.options(f"{root}/api/flow_runs/filter", headers={**asked, "Origin": origin})
        assert granted.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("path", ["/", "/api/health", "/api/admin/version", "/ui-settings"])
def test_a_foreign_name_for_this_machine_gets_nothing(root, secret, path):
    """A name that was made to resolve to 127.0.0.1 makes the page one of the server's own address (DNS rebinding)."""
    port = root.rpartition(":")[2]
    for host in (FOREIGN_HOST, f"{FOREIGN_HOST}:{port}", f"127.0.0.1.{FOREIGN_HOST}"):
        answer = httpx.get(root + path, headers={**basic(secret), "Host": host})
        assert answer.status_code == 400
        assert answer.text == "Invalid host header"
    assert httpx.get(f"http://localhost:{port}/api/health").json() is True


@pytest.mark.parametrize("path", ["/api/events/in", "/api/events/out", "/api/logs/out"])
def test_websockets_ask_for_the_secret_as_well(root, secret, path):
    """Events in can start automations; events and logs out tell what runs do."""
    url = root.replace("http", "ws") + path
    # Programs that do not speak Prefect's protocol are not let in at all.
    with pytest.raises((ConnectionClosed, InvalidStatus)), connect(url) as socket:
        socket.recv(timeout=60)
    for token in (None, "", "fightpose:wrong"):
        with connect(url, subprotocols=["prefect"]) as socket:  # type: ignore[list-item]
            socket.send(json.dumps({"type": "auth", "token": token}))
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=60)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
    with connect(url, subprotocols=["prefect"]) as socket:  # type: ignore[list-item]
        socket.send(json.dumps({"type": "auth", "token": secret}))
        assert json.loads(socket.recv(timeout=60)) == {"type": "auth_success"}
    for headers in ({"Origin": FOREIGN_PAGE}, {"Host": FOREIGN_HOST}):
        with pytest.raises(InvalidStatus), connect(url, subprotocols=["prefect"], additional_headers=headers):  # type: ignore[list-item]
            pass


def annotate_video(root: str, secret: str) -> dict[str, Any]:
    """Return the deployment that runs one clip."""
    answer = httpx.get(f"{root}/api/deployments/name/annotate-video/annotate-video", headers=basic(secret))
    return dict(answer.raise_for_status().json())


def ready_pools(root: str, secret: str) -> set[str]:
    """Return the pools that have a worker."""
    pools = httpx.post(f"{root}/api/work_pools/filter", json={}, headers=basic(secret)).json()
    return {pool["name"] for pool in pools if pool["status"] == "READY"}


def test_with_the_secret_all_works(root, secret):
    """Deployments and pools are there, the workers have said that they are, and a run can be created."""
    deployment = annotate_video(root, secret)
    # A worker says that it is there some seconds after its process has started; more on a busy machine.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not {"gpu", "cpu"} <= ready_pools(root, secret):
        assert time.monotonic() < deadline, ready_pools(root, secret)
        time.sleep(0.5)
    wanted = {
        "parameters": {"video": "/nowhere/a.mp4", "output_root": "/nowhere/out"},
        "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}},
    }
    made = httpx.post(f"{root}/api/deployments/{deployment['id']}/create_flow_run", json=wanted, headers=basic(secret))
    assert made.status_code == 201, made.text


@pytest.mark.parametrize("variables", [{"command": "touch /planted"}, {"entrypoint": "x"}, {"Command": "x"}])
def test_a_run_cannot_name_the_command_that_the_worker_executes(root, secret, variables):
    """By its job variables, which override those of the pool; with the secret, too."""
    deployment = annotate_video(root, secret)
    wanted = {"parameters": {"video": "/nowhere/a.mp4", "output_root": "/nowhere/out"}, "job_variables": variables}
    made = httpx.post(f"{root}/api/deployments/{deployment['id']}/create_flow_run", json=wanted, headers=basic(secret))
    assert 400 <= made.status_code < 500, made.text
    assert "was unexpected" in made.text


def test_no_other_user_of_the_machine_can_read_the_secret(up, secret):
    """It is in no argument of a process, and in files of ours only."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if secret.partition(":")[2] in line]
    state = Path(up.home) / "fightpose-up"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for name in ("secret", "environment"):
        assert secret.partition(":")[2] in (state / name).read_text()
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600
    # Logs are shown around when something goes wrong.
    for log in state.glob("*.log"):
        assert secret.partition(":")[2] not in log.read_text(errors="replace")
