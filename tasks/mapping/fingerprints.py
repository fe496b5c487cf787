"""What tells a file that changed from one that did not: its stamp during a run; its size, time and hash afterwards.

A stamp changes with any change of a file, but also with a changed mode or a new link to it; size and time of change
survive a copy (`cp -p`) and can be set at will; a hash identifies the content, and costs reading it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import ClipError, FailureReason
from tasks.core.storage import file_sha256


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What the file system says of a file at one moment; any change of the file changes one of these.

    Attributes
    ----------
    size
        Bytes.
    mtime_ns
        Time of change of the content, which `touch` and `cp -p` set at will.
    ctime_ns
        Time of change of anything, which nobody can set.
    inode
        Number of the file itself: another file moved to this name has another one.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def stamp_of(path: Path) -> FileStamp | None:
    """Return the state of a file, to be taken before its content is read for the first time; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileStamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def require_unchanged(path: Path, seen: FileStamp | None, sha256: str) -> FileStamp:
    """Return the state of an input after the last step, for its receipt; refuse one that was replaced on the way.

    Parameters
    ----------
    path
        The clip.
    seen
        Its state before it was hashed.
    sha256
        The hash from which everything was named.

    Raises
    ------
    ClipError
        If its content is another one by now: a receipt would vouch for a clip that was never annotated.
    """
    now = stamp_of(path)
    try:
        # A changed mode or link count changes the stamp as well, so only the content decides.
        if now is not None and (now == seen or file_sha256(path) == sha256):
            return now
    except OSError:
        pass
    info = "it was replaced, changed or removed while it was annotated; run annotate again when it is complete"
    raise ClipError(FailureReason.PROCESSING_ERROR, path, info)


def stat_of(path: Path) -> dict[str, int]:
    """Return what tells a changed file from an unchanged one without reading it."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def fingerprint(path: Path) -> dict[str, Any]:
    """Return size, time of change and hash of an output."""
    return {**stat_of(path), "sha256": file_sha256(path)}


def fits(entry: Any, path: Path) -> bool:
    """Tell whether an output is the one that a receipt's entry is about.

    A copied output root has other times of change; then the hash decides, where the entry has one.
    """
    if not isinstance(entry, dict):
        return False
    # Size and times are cheap; the hash is read only where they differ, as after a copy.
    now = stat_of(path)
    if {name: entry.get(name) for name in now} == now:
        return True
    return entry.get("size") == now["size"] and "sha256" in entry and entry["sha256"] == file_sha256(path)
