"""Files that are either complete or absent, and the keys under which finished work is found again.

Every output is written under a temporary name in its own folder and renamed when it is complete: `kill -9` at any
moment leaves no half file under a final name. Locks need no clean-up: the system frees them when their holder ends.
They hold across machines on file systems that carry `flock` to their server (NFS 4, most cluster file systems).
"""

import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.core.errors import FightposeError

WORK_FOLDER = ".fightpose"
"""Folder below an output root for what is not an output: poses, receipts, records, locks."""

PARTIAL_MARK = ".partial-"
"""Part of the name of every temporary file, so that sweeps and file listings can tell them."""

LEFT_OVER_SECONDS = 24 * 3600
"""A temporary file that nobody has written to for so long was left by a process that was killed."""

POLL_SECONDS = 0.05
"""Pause between two tries to take a lock that somebody else holds."""

CUT_OFF = b"\x18\n"
"""Ends a line of a log whose writer died half way: ASCII's "cancel", which JSON and names in our logs never hold."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends without an error.

    The temporary name keeps the ending, because video writers choose the container by it. The data is synced to disk
    before the rename, so that a power cut cannot leave an empty file under the final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not derived from the stem: a stem near the file system's limit of 255 bytes leaves no room for a suffix.
    partial = path.with_name(f"{PARTIAL_MARK}{uuid.uuid4().hex}{path.suffix}")
    try:
        yield partial
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sweep_partials(folder: Path) -> int:
    """Remove the temporary files that killed processes left below a folder, and return how many those were.

    Only names that `atomic_path` gives, and only files untouched for `LEFT_OVER_SECONDS`: other processes may be
    writing. What cannot be removed stays.
    """
    swept = 0
    for path in folder.rglob(f"{PARTIAL_MARK}*"):
        with suppress(OSError):
            # Only names of our own form, and old ones: another run may still write the rest.
            ours = re.match(r"[0-9a-f]{32}(\.|$)", path.name.removeprefix(PARTIAL_MARK))
            if ours and path.is_file() and time.time() - path.stat().st_mtime > LEFT_OVER_SECONDS:
                path.unlink()
                swept += 1
    return swept


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with non-ASCII names readable."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def file_system_time(folder: Path) -> float:
    """Return the time, seconds since 1970, that the file system of a folder gives to what is written now.

    On shared storage it is the server's and the same for all machines, whose own clocks may differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as stream:
        stream.write(b".")
        # A write that is still buffered here has not reached the file system, which sets the time.
        stream.flush()
        return os.fstat(stream.fileno()).st_mtime


def file_sha256(path: Path) -> str:
    """Return the hex sha256 of a file's bytes, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_sha256(path: Path) -> str:
    """Return the hash of a large file that hardly ever changes, read once per process unless its size or time does."""
    status = path.stat()
    return _sha256_of_version(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _sha256_of_version(path: Path, _size: int, _changed: int) -> str:
    """Return the hash of a file as it was at a size and a time."""
    return file_sha256(path)


def key_of(*parts: Any) -> str:
    """Return a hex key of JSON-able parts: equal parts give equal keys on every machine and Python version."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def require_writable(folder: Path) -> None:
    """Create a folder and prove that a file can be written in it, before any work is done.

    Raises
    ------
    FightposeError
        If the folder cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Written for trial, as permission bits do not tell read-only mounts and full disks.
        probe = folder / f"{PARTIAL_MARK}{uuid.uuid4().hex}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise FightposeError(
            f"cannot write to the output folder {folder}: {error.strerror or error}; "
            "choose another --output-root or fix its permissions"
        ) from error


def require_output_root(folder: Path) -> Path:
    """Return an output folder of an earlier run.

    Raises
    ------
    FightposeError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise FightposeError(f"there is no output folder {folder}; name the --output-root of an earlier run")
    return folder


def append_line(path: Path, line: str) -> None:
    """Append one line to a log, whole and on the disk, also while other threads, processes and machines append.

    A last line without its end stays in the file: whole where somebody wrote it by hand, and marked as cut off by
    `CUT_OFF` where `complete_lines` finds that it is no JSON.

    Raises
    ------
    FightposeError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # Released by the close below, or by the system when the process dies.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A single write: readers, who take no lock, see all of the line or nothing.
            os.write(descriptor, _end_of(descriptor) + line.encode() + b"\n")
            # On the disk before the caller says that it is saved.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FightposeError(
            f"cannot write {path}: {error.strerror or error}; free disk space or fix its permissions"
        ) from error


def _end_of(descriptor: int) -> bytes:
    """Return what ends the last line of a log: nothing where it is ended or the log is empty."""
    size = os.fstat(descriptor).st_size
    # The last byte alone as a rule: reading all of a log for every line of it would take longer and longer.
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return b""
    last = os.pread(descriptor, size, 0).rpartition(b"\n")[2]
    # Logs of text have no form that a line could lack.
    return CUT_OFF if last.startswith(b"{") and not _is_json(last) else b"\n"


def _is_json(line: bytes) -> bool:
    """Tell whether a line is a JSON value of its own."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def complete_lines(raw: bytes) -> list[tuple[int, bytes]]:
    """Return the lines of a log with their numbers, without empty ones and those whose writer died half way.

    The last line may lack its end: it counts if it is whole, as when an editor wrote it.
    """
    *ended, last = raw.split(b"\n")
    lines = [(number, line) for number, line in enumerate(ended, start=1) if not line.endswith(CUT_OFF[:1])]
    if _is_json(last):
        lines.append((len(ended) + 1, last))
    return [(number, line) for number, line in lines if line.strip()]


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock file for the length of the block; other threads and processes wait. The file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        # Released when the file is closed, or by the system when the process dies.
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


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
    lock = path.with_name(f"{PARTIAL_MARK}{key_of(path.name)}.lock")
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
            _wait_for(descriptor, check)
            if is_named(descriptor, lock):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The holder before removed the file between our open and our lock: the next one has a file of its own.
        os.close(descriptor)


def _wait_for(descriptor: int, check: Callable[[], None]) -> None:
    """Wait for a lock. A file system without locks gives none: the work may then be done twice, not wrongly."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            check()
            time.sleep(POLL_SECONDS)
        except OSError:
            return


def is_named(descriptor: int, lock: Path) -> bool:
    """Tell whether an open file is the one that its name leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False
