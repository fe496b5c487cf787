"""Locks between threads and processes that need no clean-up: the system frees them when their holder ends.

They hold across machines on file systems that carry `flock` to their server (NFS 4, most cluster file systems).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.storage import PARTIAL_MARK, key_of

POLL_SECONDS = 0.05
"""Pause between two tries to take a lock that somebody else holds."""


@contextmanager
def sole_maker(path: Path, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep others from making the same file for the length of the block; they wait.

    Who waited has to look again whether the file is there: it usually is.

    Parameters
    ----------
    path
        The file to be made. The lock is a file beside it, which is removed at the end; `sweep_partials` removes those
        of killed processes.
    check
        Called again and again while waiting; what it raises ends the wait.
    """
    lock = path.with_name(f"{PARTIAL_MARK}{key_of(path.name)[:32]}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(lock, check)
    try:
        yield
    finally:
        # Removed while it is held: who opened it before and gets it now sees that it has no name any more.
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(lock: Path, check: Callable[[], None]) -> int:
    """Return the descriptor of a lock file that this caller holds and that is the one under its name."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if _taken(descriptor, check) and _is_named(descriptor, lock):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The holder before removed the file between our open and our lock: the next one has a file of its own.
        os.close(descriptor)


def _taken(descriptor: int, check: Callable[[], None]) -> bool:
    """Wait for a lock. A file system without locks gives none: the work may then be done twice, not wrongly."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            check()
            time.sleep(POLL_SECONDS)
        except OSError:
            return True


def _is_named(descriptor: int, lock: Path) -> bool:
    """Tell whether an open file is the one that its name leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False
