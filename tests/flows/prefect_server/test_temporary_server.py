"""The server of a local run: closed to others, gone with its parent, and with it all that was written there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from flows.prefect_server.access import Access

ROOT = Path(__file__).parents[3]

PARENT = """
import json, os, sys, time
from flows.prefect_server.temporary_server import temporary_server
with temporary_server() as access:
    print(json.dumps([access.address, access.secret]), flush=True)
    sys.stdin.readline()
"""
"""Holds a server until its input ends."""

GONE_SECONDS = 120
"""How long the end may take on a machine that is busy with other tests; idle it takes one second."""


def start(folder: Path) -> tuple[subprocess.Popen[str], Access]:
    """Start a process that holds a temporary server, with folders of its own, and wait until the server answers."""
    for name in ("tmp", "home"):
        (folder / name).mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder / "tmp"),
        "PREFECT_HOME": str(folder / "home"),
        "FIGHTPOSE_CACHE": str(folder / "cache"),
        # For another server of the user: neither may be used here.
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'home' / 'prefect.db'}",
        "PREFECT_SERVER_API_AUTH_STRING": "known:to-others",
    }
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    return parent, Access(*json.loads(parent.stdout.readline()))


def ask(access: Access, method: str, path: str, body: Any = None) -> httpx.Response:
    """Send a request with the server's secret."""
    user, _, password = (access.secret or "").partition(":")
    return httpx.request(method, access.address + path, json=body, auth=(user, password), timeout=60)


@pytest.mark.prefect
def test_a_temporary_server_is_closed_ends_with_its_parent_and_keeps_nothing(tmp_path: Path):
    """`kill -9` of a run: no server a moment later, no folder; the next run knows nothing of the earlier one."""
    users_own = tmp_path / "home" / "prefect.db"
    users_own.parent.mkdir()
    users_own.write_bytes(b"a database of another version")
    parent, access = start(tmp_path)
    (server,) = psutil.Process(parent.pid).children()
    try:
        # As any page and program would: without the secret, under a foreign name, for a foreign page.
        asked = f"{access.address}/variables/filter"
        assert httpx.post(asked, json={}).status_code == 401
        assert httpx.post(asked, json={}, auth=("known", "to-others")).status_code == 401
        assert httpx.post(asked, json={}, headers={"Host": "evil.example"}).status_code == 400
        assert httpx.post(asked, json={}, headers={"Origin": "http://evil.example"}).status_code == 403
        assert (access.secret or "").partition(":")[2] not in " ".join(server.cmdline())
        assert ask(access, "POST", "/variables/", {"name": "planted", "value": "1"}).status_code == 201
        (folder,) = (tmp_path / "tmp").glob("fightpose-server-*")
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        # Leaving the block closes the pipes and waits for the end.
        with parent:
            parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + GONE_SECONDS
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the server outlives the run"
        time.sleep(0.1)
    assert not folder.exists()
    # The second one starts on a copy of the first one's database as it was before anybody wrote to it.
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".db"]
    parent, access = start(tmp_path)
    try:
        assert ask(access, "POST", "/variables/filter", {}).json() == []
        # It can do what a run needs.
        assert ask(access, "POST", "/flows/", {"name": "made"}).status_code == 201
    finally:
        parent.communicate()
    assert list((tmp_path / "tmp").glob("fightpose-server-*")) == []
    assert users_own.read_bytes() == b"a database of another version"
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["prefect.db"]
