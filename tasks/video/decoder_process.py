"""The helper process of `tasks.video.decoder`: decodes what it is told to, under a limit on its memory."""

from __future__ import annotations

import json
import logging
import mmap
import os
import resource
import signal
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.errors import ClipError, FailureReason
from tasks.core.parent import end_with_parent
from tasks.core.records import VideoInfo
from tasks.video.reading import decode_frames, read_header


def main() -> None:
    """Serve requests until the other side is gone; the arguments: descriptors of channel and memory, the parent."""
    # Ctrl-C in a terminal, its closing, and a service that is stopped reach the whole group. Whether the step under way
    # is finished is the parent's decision, with which this process ends.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Its ID is handed over: a parent that was killed while this process imported its modules is not asked for any more.
    connection, memory, parent = Connection(int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    end_with_parent(parent)
    logging.getLogger("tasks").addHandler(_ToParent(connection))
    try:
        while True:
            request = _receive(connection)
            if "free" in request:
                # A slot of a clip that ended with an error before it was asked for.
                continue
            try:
                _limit_memory(request["bytes"])
                _send(connection, _answer(request, connection, memory))
            except ClipError as error:
                _send(connection, {"clip_error": [error.reason, error.info]})
            except MemoryError:
                _send(connection, {"no_memory": True})
            except (EOFError, ConnectionError):
                raise
            except OSError as error:
                _send(connection, {"os_error": [error.errno, error.strerror or str(error), request["path"]]})
            except Exception as error:
                line = " ".join(f"{type(error).__name__}: {error}".split())
                _send(connection, {"clip_error": [FailureReason.PROCESSING_ERROR, line]})
    except (EOFError, ConnectionError):
        # At once: the interpreter's own end would wait for what native code still does.
        os._exit(0)


def _answer(request: dict[str, Any], connection: Connection, memory: int) -> dict[str, Any]:
    """Carry out one request and return the last message of its answer."""
    path = Path(request["path"])
    if request["do"] == "header":
        return {"video": asdict(read_header(path, request["allow_truncated"])) | {"path": None}}
    video = VideoInfo(**request["video"] | {"path": path})
    height, width, count = video.height, video.width, request["slots"]
    slots = np.frombuffer(mmap.mmap(memory, count * height * width * 3), np.uint8).reshape(count, height, width, 3)
    free = list(range(count))
    for frame in decode_frames(video):
        # When all are in use, one is waited for and whatever else has been freed is taken as well.
        if not free:
            free.append(_receive(connection)["free"])
            while connection.poll():
                free.append(_receive(connection)["free"])
        slot = free.pop()
        slots[slot] = frame.image
        _send(connection, {"slot": slot, "time": frame.time})
    # Slots that are given back after this are passed over by `main`; those that are never given back keep their frames.
    return {"end": True}


def _limit_memory(allowance: int) -> None:
    """Let this process grow by so many bytes of address space from now on.

    From now on, because the libraries take half a gigabyte of address space, nearly none of it memory, and
    because earlier clips leave something behind.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) if _HAS_PROC else 0
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = pages * mmap.PAGESIZE + allowance
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


_HAS_PROC = Path("/proc/self/statm").exists()


def _receive(connection: Connection) -> dict[str, Any]:
    """Return the next message."""
    return dict(json.loads(connection.recv_bytes()))


def _send(connection: Connection, message: dict[str, Any]) -> None:
    """Send a message."""
    connection.send_bytes(json.dumps(message).encode("ascii"))


class _ToParent(logging.Handler):
    """Sends warnings to the parent, whose log is the one that people read."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        _send(self._connection, {"log": record.getMessage()[:2000]})
