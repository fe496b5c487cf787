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
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.core.errors import FightposeError
from tasks.core.storage import is_named, require_writable
from tasks.mapping.receipts import WORK_FOLDER

logger = logging.getLogger(__name__)

LOCK_NAME = "run.lock"

PATIENCE_SECONDS = 3.0
"""How long a folder that is held is waited for: the worker processes of a run that was killed hold it for up to 2 s."""

_held: list[int] = []
"""Descriptors of the locks that this process holds."""


def held_locks() -> tuple[int, ...]:
    """Return the descriptors of the locks that this process holds.

    A process that writes outputs on its behalf inherits them: the lock is free when the last of them has ended, so that
    no run starts while one of a killed run still writes.
    """
    return tuple(_held)


class FolderHeldError(FightposeError):
    """Another run holds the output folder."""


@contextmanager
def sole_run(output_root: Path, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold an output folder for the length of the block.

    Parameters
    ----------
    output_root
        The folder.
    patience
        Seconds to wait for one that is held.

    Raises
    ------
    FolderHeldError
        If another run holds it: two runs would annotate the same clips twice and merge each other's half.
    FightposeError
        If it cannot be made or written.
    """
    is_new = not output_root.exists()
    require_writable(output_root)
    path = output_root / WORK_FOLDER / LOCK_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, output_root, patience)
        if not is_named(descriptor, path):
            # A run that was refused meanwhile has removed the file: who comes next would lock another one.
            raise FolderHeldError(f"another run on {output_root} has just ended; run this again")
        _held.append(descriptor)
        yield
    except BaseException:
        if is_new:
            _remove_if_unused(path)
        raise
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            # By name, and not by the close alone: a worker process that is just ending still has the file open.
            _unlock(descriptor)
        os.close(descriptor)


def _remove_if_unused(lock: Path) -> None:
    """Remove an output folder that a refused run made: with nothing in it but the lock."""
    with suppress(OSError):
        # Neither folder can be removed if anybody, another run included, has put something there.
        if [*lock.parent.iterdir()] == [lock] and [*lock.parent.parent.iterdir()] == [lock.parent]:
            lock.unlink()
            lock.parent.rmdir()
            lock.parent.parent.rmdir()


def _take(descriptor: int, output_root: Path, patience: float) -> None:
    """Lock the file and write into it who holds it, or refuse."""
    try:
        _lock_in_time(descriptor, patience)
    except BlockingIOError:
        # The file holds the name of its holder, for the message only: the lock itself is the kernel's.
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "unknown"
        raise FolderHeldError(
            f"another run is writing to {output_root} ({holder}); wait until it ends, or choose another output folder"
        ) from None
    except OSError as error:
        # These three say that the file system has no locks, as on some network shares; others are real errors.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise
        logger.warning("%s has no file locks: make sure that no other run writes there", output_root)
        return
    holder = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
    # Emptied first, as an earlier holder's line may be longer than this one.
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{holder}\n".encode(), 0)


def _lock_in_time(descriptor: int, patience: float) -> None:
    """Lock a file, waiting so many seconds for the end of another holder; else a BlockingIOError."""
    # flock has no time limit of its own, so it is tried every 0.1 seconds without waiting.
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def _unlock(descriptor: int) -> None:
    """Free a lock; a file system without locks has none to free."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
