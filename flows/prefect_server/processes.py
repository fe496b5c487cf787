"""Processes that `fightpose up` starts, watches and ends: the server, the workers, and what they leave behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

MARK = "FIGHTPOSE_UP"
"""Environment variable by which every process is known that descends from one `up`, adopted orphans too."""

END_SECONDS = 20
"""How long a process may take to end before it is killed; a worker passes the end on to its runs."""


class Worker:
    """A Prefect worker of one pool.

    Parameters
    ----------
    pool
        The pool whose runs it takes.
    log
        Where its output goes.
    environment
        Its environment.
    """

    def __init__(self, pool: str, log: Path, environment: dict[str, str]) -> None:
        name = f"{socket.gethostname()}-{pool}"
        self._command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
        self._log = log
        # Runs are imported from here, installed or not; asked for every 5 s instead of 15.
        path = os.pathsep.join([str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")])
        self._environment = {"PREFECT_WORKER_QUERY_SECONDS": "5", **environment, "PYTHONPATH": path}
        # The pool's command is `python`: this one, whether its environment is activated or not.
        here = str(Path(sys.executable).parent)
        self._environment["PATH"] = os.pathsep.join([here, environment.get("PATH", os.defpath)])
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start the process."""
        self._process = self._stack.enter_context(running(self._command, self._log, self._environment))

    def died(self) -> bool:
        """Tell whether the process has ended."""
        return self._process is not None and self._process.poll() is not None

    def runs(self) -> list[psutil.Process]:
        """Return the processes of its runs."""
        try:
            return psutil.Process(self._process.pid).children() if self._process is not None else []
        except psutil.NoSuchProcess:
            return []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process for the length of the block, and tell it to end before it goes on."""
        if self._process is None or self.died():
            yield
            return
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of the block, its output in a file."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def no_survivors(mark: str) -> Iterator[None]:
    """End after the block every process that carries the mark: runs whose worker was killed are adopted by init."""
    try:
        yield
    finally:
        left = [process for process in psutil.process_iter() if _carries(process, mark)]
        for process in left:
            process.terminate()
        for process in psutil.wait_procs(left, timeout=END_SECONDS)[1]:
            process.kill()


def is_running(process: psutil.Process) -> bool:
    """Tell whether a process still does something: one that ended stays until its frozen worker hears of it."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _carries(process: psutil.Process, mark: str) -> bool:
    """Tell whether another process descends from this `up`."""
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        # Another user's, or gone.
        return False
