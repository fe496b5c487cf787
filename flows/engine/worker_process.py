"""A worker process of `flows.engine.workers`: does what it is sent until its parent is gone.

It starts without Prefect, which takes seconds to import, and talks to its parent alone: pickles over a socket pair that
nobody else can reach.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tasks.core import progress
from tasks.core.errors import FightposeError
from tasks.core.parent import end_with_parent
from tasks.core.text import keep_logs_printable

PROGRESS_SECONDS = 0.2
"""Least time between two messages of progress; a display shows no more."""


def main() -> None:
    """Serve requests; the arguments are the parent's process ID, the socket's descriptor and the function to call."""
    # Ctrl-C in a terminal, its closing, and a service that is stopped reach the whole process group. Whether the clip
    # under way is finished is the parent's decision.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent, connection, target = int(sys.argv[1]), Connection(int(sys.argv[2])), sys.argv[3]
    # Whatever it does: half files carry temporary names.
    end_with_parent(parent)
    # Steps that run here send frames, lines for the log and results from several threads.
    lock = threading.Lock()

    def send(kind: str, value: Any) -> None:
        """Send one message."""
        with lock:
            connection.send((kind, value))

    # A traceback is sent as lines, which the parent logs as they are.
    keep_logs_printable()
    logging.getLogger().addHandler(_ToParent(send))
    # Lines for debugging stay here: each would be a message over the socket.
    for name in ("flows", "tasks"):
        logging.getLogger(name).setLevel(logging.INFO)
    progress.listen(_sender(send))
    try:
        module, _, name = target.partition(":")
        do: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
        # After the import, for which the parent has a limit of its own (`START_SECONDS`).
        send("ready", None)
        while True:
            request, handles = connection.recv()
            # A file of the parent comes beside the pickle, by its descriptor.
            descriptors = [_received(connection) for _ in range(handles)]
            # The parent sends no other request before the answer: one clip at a time.
            _answer(do, request, descriptors, send)
    except (EOFError, ConnectionError):
        # The parent is gone. Not by way of the interpreter's own end: that waits for threads which still encode, for
        # seconds, and meanwhile this process holds the lock of the output folder.
        os._exit(1)


def _answer(do: Callable[..., Any], request: Any, descriptors: list[int], send: Callable[[str, Any], None]) -> None:
    """Do one request and send its result, or the error that it ended with."""
    try:
        send("done", do(request, *descriptors))
    except (EOFError, ConnectionError):
        raise
    except (FightposeError, OSError) as error:
        # Both survive the pickling, and the parent treats them by their kind.
        send("error", error)
    except Exception as error:
        # Not foreseen. Its own class may not survive the way to the parent; its words do.
        logging.getLogger(__name__).error("unexpected error in a worker process", exc_info=error)
        send("error", RuntimeError(" ".join(f"{type(error).__name__}: {error}".split())))
    finally:
        # Left open, they would hold a clip's frames in memory as long as this process lives.
        for descriptor in descriptors:
            os.close(descriptor)


def _received(connection: Connection) -> int:
    """Return the descriptor that the parent sent."""
    from multiprocessing.reduction import recv_handle

    return int(recv_handle(connection))


def _sender(send: Callable[[str, Any], None]) -> Callable[[progress.Progress], None]:
    """Return a listener that passes progress on, seldom enough not to cost anything."""
    last: dict[str, tuple[str, float]] = {}

    def pass_on(event: progress.Progress) -> None:
        """Send the start of a step always, and what follows a few times a second."""
        step, moment = last.get(event.clip, ("", 0.0))
        now = time.monotonic()
        if event.step != step or now - moment >= PROGRESS_SECONDS:
            # A worker has one clip at a time: what is known of the last one would only pile up.
            last.clear()
            last[event.clip] = (event.step, now)
            send("progress", event)

    return pass_on


class _ToParent(logging.Handler):
    """Sends log records to the parent, whose log is the one that people read."""

    def __init__(self, send: Callable[[str, Any], None]) -> None:
        super().__init__(logging.INFO)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record as logger, level and text; a traceback is part of the text."""
        text = self.format(record) if record.exc_info else record.getMessage()
        self._send("log", (record.name, record.levelno, text))


if __name__ == "__main__":
    main()
