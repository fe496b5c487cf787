"""Files that are either complete or absent, and the keys under which finished work is found again.

Every output is written under a temporary name in its own folder and renamed when it is complete: `kill -9` at any
moment leaves no half file under a final name.
"""

import hashlib
import json
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
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
