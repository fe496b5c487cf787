"""One run at a time on an output folder.

The lock belongs to the process that holds it: the system frees it when the process ends, however it ends, so that no
kill leaves a folder locked. It holds across machines on file systems that carry `flock` to their server (NFS 4, most
cluster file systems).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.errors import FightposeError
from tasks.mapping.receipts import WORK_FOLDER

logger = logging.getLogger(__name__)

LOCK_NAME = "run.lock"


@contextmanager
def sole_run(output_root: Path) -> Iterator[None]:
    """Hold an output folder for the length of the block.

    Raises
    ------
    FightposeError
        If another run holds it: two runs would annotate the same clips twice and merge each other's half.
    """
    path = output_root / WORK_FOLDER / LOCK_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, output_root)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, output_root: Path) -> None:
    """Lock the file and write into it who holds it, or refuse."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "unknown"
        raise FightposeError(
            f"another run is writing to {output_root} ({holder}); wait until it ends, or choose another output folder"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise
        logger.warning("%s has no file locks: make sure that no other run writes there", output_root)
        return
    holder = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{holder}\n".encode(), 0)
