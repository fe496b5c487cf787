"""Worker processes for one stage of a run.

Problem: a crash, a hang or a leak in an encoder or a runtime must cost one clip and not the run, and `kill -9` of the
run must leave nothing behind that goes on writing. Solution: processes of our own that watch their parent and hold the
output folder's lock with it. No pool of the standard library does that: its workers live on when their parent is
killed, and its semaphores stay in /dev/shm.

`WorkerPool.call` may be used from many threads; each waits for a free worker. A worker that dies, falls silent or
exceeds the clip's time is ended and replaced at the next call.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Pipe
from multiprocessing.reduction import send_handle
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.core import progress
from tasks.core.errors import FightposeError
from tasks.mapping.run_lock import held_locks

logger = logging.getLogger(__name__)

START_SECONDS = 180.0
"""How long a worker may take to start: a second on an idle machine, minutes on one that is far overloaded."""

SILENCE_SECONDS = 300.0
"""A worker that says nothing for so long hangs; while it works it reports frames several times a second."""

POLL_SECONDS = 0.2
"""How often a caller that waits for its worker looks whether it is still wanted and in time."""


class WorkerDiedError(OSError):
    """A worker process ended in the middle of its work; the same work may pass at the next try."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        name = f"exit code {self.code}"
        # A process that a signal ended has the signal's number as its exit code, negated.
        if -self.code in list(signal.Signals):
            name = signal.Signals(-self.code).name
        return f"a worker process died ({name})"


class WorkerHangsError(FightposeError):
    """A worker said nothing for `SILENCE_SECONDS` and was ended."""


class OutOfTimeError(FightposeError):
    """The work took longer than it may, and was ended."""


class StoppedError(FightposeError):
    """The pool was closed while work was under way."""


class WorkerPool:
    """Processes that call one function, started when they are needed.

    Parameters
    ----------
    target
        `module:function`, called in the workers with the payload, and with one descriptor per descriptor sent.
    size
        Most processes.
    environment
        Added to their environment.

    Examples
    --------
    >>> with WorkerPool("flows.engine.stages:finish", 2) as pool:  # doctest: +SKIP
    ...     summary = pool.call(work, seconds_left=limits.seconds_left)
    """

    def __init__(self, target: str, size: int, environment: dict[str, str] | None = None) -> None:
        self._target = target
        self._environment = environment or {}
        self._free = threading.Semaphore(size)
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def call(
        self, payload: Any, seconds_left: Callable[[], float] = lambda: float("inf"), descriptors: Sequence[int] = ()
    ) -> Any:
        """Have a worker do the work, and return its result or raise its error.

        Parameters
        ----------
        payload
            Pickled and sent.
        seconds_left
            Time that is left for the work, asked again and again; the wait for a free worker counts as well.
        descriptors
            Open files that the worker gets duplicates of.

        Raises
        ------
        WorkerDiedError, WorkerHangsError, OutOfTimeError
            What became of the worker; the pool goes on with another.
        StoppedError
            If the pool was closed.
        """
        # In short waits: a stopped run or a clip that is out of time must not wait for a worker.
        while not self._free.acquire(timeout=POLL_SECONDS):
            self._check(seconds_left)
        worker: _Worker | None = None
        try:
            self._check(seconds_left)
            worker = self._take()
            result = worker.do(payload, descriptors, lambda: self._check(seconds_left))
        except _AnsweredError as answered:
            # The work failed and not the worker, which has answered and can take the next clip.
            self._idle.append(worker) if worker is not None else None
            worker = None
            raise answered.error from None
        except BaseException:
            # Its answer may still be under way, and the next caller would take it for its own: never used again.
            if worker is not None:
                self._drop(worker)
            raise
        else:
            self._idle.append(worker)
            return result
        finally:
            self._free.release()

    def close(self) -> None:
        """End all workers at once; calls under way end with a StoppedError."""
        # Before the workers end: callers that lose theirs look here for the reason.
        self._stopped.set()
        with self._lock:
            workers, self._all = list(self._all), set()
        for worker in workers:
            worker.close()
        self._idle.clear()

    def processes(self) -> list[int]:
        """Return the process IDs of the workers that were started and not ended."""
        with self._lock:
            return [worker.pid for worker in self._all]

    def _take(self) -> _Worker:
        """Return an idle worker that lives, or start one."""
        while True:
            try:
                # Without the lock: taking from a list is one step, and who finds it empty starts a worker.
                worker = self._idle.pop()
            except IndexError:
                worker = _Worker(self._target, self._environment)
                with self._lock:
                    self._all.add(worker)
                return worker
            if worker.lives():
                return worker
            # Killed while it was idle: no clip's fault.
            self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        """End a worker for good."""
        with self._lock:
            self._all.discard(worker)
        worker.close()

    def _check(self, seconds_left: Callable[[], float]) -> None:
        """Raise if the pool was closed or the time is up."""
        if self._stopped.is_set():
            raise StoppedError("the run was stopped")
        if seconds_left() <= 0:
            raise OutOfTimeError("out of time")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """One worker process and the socket that leads to it."""

    def __init__(self, target: str, environment: dict[str, str]) -> None:
        self._connection, theirs = Pipe()
        self._ready = False
        self._closing = threading.Lock()
        # The locks of the output folder: free only when the last process that may write there has ended.
        locks = held_locks()
        # Our copy is closed after the start: while one is open here, a worker's end would not read as end of file.
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [
                    sys.executable,
                    "-c",
                    "from flows.engine.worker_process import main; main()",
                    str(os.getpid()),
                    str(theirs.fileno()),
                    target,
                ],
                pass_fds=(theirs.fileno(), *locks),
                env=os.environ | {"PYTHONPATH": _module_path()} | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Native libraries write what no log would take; a worker's own errors come by the socket.
                stderr=subprocess.DEVNULL,
            )
        self.pid = self._process.pid

    def lives(self) -> bool:
        """Tell whether the process is there."""
        return self._process.poll() is None

    def do(self, payload: Any, descriptors: Sequence[int], check: Callable[[], None]) -> Any:
        """Send work, pass on what the worker says meanwhile, and return its result; see `WorkerPool.call`."""
        try:
            if not self._ready:
                # Once per process, with a limit of its own: a worker reports nothing while it imports its modules.
                self._receive(START_SECONDS, check)
                self._ready = True
            self._connection.send((payload, len(descriptors)))
            # After the message that says how many there are: they travel as messages of their own.
            for descriptor in descriptors:
                send_handle(self._connection, descriptor, self.pid)
            kind, value = self._receive(SILENCE_SECONDS, check)
        except (EOFError, ConnectionError) as error:
            check()
            # The check came first: a worker that was ended by the pool itself did not die of its clip.
            raise WorkerDiedError(self._exit_code()) from error
        if kind == "error":
            raise _AnsweredError(value)
        return value

    def _receive(self, patience: float, check: Callable[[], None]) -> tuple[str, Any]:
        """Return the next message that is neither progress nor a line for the log."""
        silent_at = time.monotonic() + patience
        while True:
            # Silence counts from the last message: a long clip that reports its frames does not hang.
            while not self._connection.poll(POLL_SECONDS):
                check()
                if time.monotonic() >= silent_at:
                    raise WorkerHangsError(f"a worker process said nothing for {patience:.0f} s")
            kind, value = self._connection.recv()
            silent_at = time.monotonic() + patience
            if kind == "progress":
                progress.report(value)
            elif kind == "log":
                name, level, text = value
                # In the caller's thread: by its context a line reaches the log of the right Prefect task. It is the
                # message and not a part of one: the lines of a traceback stay lines.
                logging.getLogger(name).log(level, text)
            else:
                return str(kind), value

    def _exit_code(self) -> int:
        """Return the exit code of a process that has just closed its socket (negative: the signal)."""
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return 0

    def close(self) -> None:
        """End the process; again does nothing."""
        with self._closing:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            # The socket of a call under way is left open: its thread reads the end of file, and closes nothing twice.


class _AnsweredError(Exception):
    """Carries the error with which a worker answered; the worker is fit for more work."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _module_path() -> str:
    """Return a PYTHONPATH by which a worker finds our modules where this process does."""
    # Our own folder first; each path once, in the order in which this process searches them.
    root = str(Path(__file__).parents[2])
    return os.pathsep.join(dict.fromkeys([root, *(path for path in sys.path if path)]))
