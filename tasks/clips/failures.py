"""The failure log: why a clip has no annotation, in the earlier scripts' text format and as JSON lines.

`enhanced_failed_videos.txt` has a line `[YYYY-mm-dd HH:MM:SS] path | reason[ | info]` per failure, local time.
Backslash, `|` and everything unprintable in a path or info are written as Python escapes, so that no file name can
break a line or forge one. `failed_videos.jsonl` is the log that programs read.

Several processes append to both: each line is one write, under a lock, to a file opened for appending. The logs are
never rewritten; whether a failure still counts follows from what came after it (see `current_failures`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.clips.output_names import ANNOTATION_POSTFIX
from tasks.core.errors import FailureReason, FightposeError
from tasks.core.storage import append_line, complete_lines
from tasks.core.text import field_text
from tasks.language import translated

TEXT_LOG = "enhanced_failed_videos.txt"
JSON_LOG = "failed_videos.jsonl"

_RESOLVED = "RESOLVED"
"""Stands in place of a reason in the line by which a later success takes a failure back."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One line of the failure log.

    Attributes
    ----------
    time
        Seconds since 1970.
    path
        The clip, as text: it may hold bytes that are no UTF-8 and may be gone by now.
    frame_dir
        The clip's identifier within the output root (`tasks.clips.discovery.Clip.frame_dir`).
    reason
        Why it failed.
    info
        What was wrong and what to do, possibly empty.
    annotation
        Time of change (ns, the file system's) of the annotation that stood there when the clip failed, 0 for none.
    """

    time: float
    path: str
    frame_dir: str
    reason: FailureReason
    info: str
    annotation: int = 0


def log_failure(output_root: Path, path: Path | str, frame_dir: str, reason: FailureReason, info: str = "") -> Failure:
    """Append one failure to both logs and return it.

    Raises
    ------
    FightposeError
        If a log cannot be written.
    """
    standing = _annotation_time(output_root, frame_dir)
    failure = Failure(time.time(), str(path), frame_dir, FailureReason(reason), info, standing)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(failure.time))
    # The text log is for people, in their language; programs read the other one.
    parts = [field_text(failure.path), str(failure.reason), *([field_text(translated(info))] if info else [])]
    append_line(output_root / JSON_LOG, _json_line(asdict(failure)))
    append_line(output_root / TEXT_LOG, f"[{stamp}] {' | '.join(parts)}")
    return failure


def resolve_failures(output_root: Path, frame_dirs: Iterable[str]) -> list[str]:
    """Record that clips which failed before have succeeded now, and return which of the given ones those are.

    Costs one reading of the log whatever the number of clips. The text log keeps its history as it is.
    """
    failed = _standing(output_root)
    resolved = sorted(set(frame_dirs) & failed.keys())
    for frame_dir in resolved:
        append_line(
            output_root / JSON_LOG,
            _json_line({"time": time.time(), "frame_dir": frame_dir, "reason": _RESOLVED}),
        )
    return resolved


def keep_failure(output_root: Path, failure: Failure) -> None:
    """Record that a failure still counts though the clip's annotation was rewritten, from corrections, by now.

    The annotation is still that of a run before the one that failed. The text log has the failure already.
    """
    now = _annotation_time(output_root, failure.frame_dir)
    if now != failure.annotation:
        append_line(output_root / JSON_LOG, _json_line(asdict(replace(failure, annotation=now))))


def read_failures(output_root: Path) -> list[Failure]:
    """Return every failure in the order in which they were logged, those taken back later included.

    One that was kept (`keep_failure`) is there once more.
    Lines that are no failure (a write cut off by a full disk) are passed over; without a log there are none.
    """
    return [entry for entry in _read(output_root) if isinstance(entry, Failure)]


def current_failures(output_root: Path) -> list[Failure]:
    """Return the failures that still count, the last one of each clip, in the order of their identifiers.

    A failure is over when `resolve_failures` took it back, or when the clip has another annotation than at that time (a
    run that was killed before it could take the failure back). The two times of change are of the same file system;
    clocks of machines are not compared.
    """
    standing = _standing(output_root)
    return [
        failure
        for _, failure in sorted(standing.items())
        if _annotation_time(output_root, failure.frame_dir) in (0, failure.annotation)
    ]


def _standing(output_root: Path) -> dict[str, Failure]:
    """Return the last failure of each clip that no later line takes back."""
    standing: dict[str, Failure] = {}
    for entry in _read(output_root):
        if isinstance(entry, Failure):
            standing[entry.frame_dir] = entry
        else:
            standing.pop(entry, None)
    return standing


def _read(output_root: Path) -> list[Failure | str]:
    """Return the log's entries: a failure, or the identifier of a clip whose failure is over."""
    try:
        raw = (output_root / JSON_LOG).read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FightposeError(f"cannot read {output_root / JSON_LOG}: {error.strerror or error}") from error
    entries = (_parsed(line) for _, line in complete_lines(raw))
    return [entry for entry in entries if entry is not None]


def _parsed(line: bytes) -> Failure | str | None:
    """Return the entry of one line, None where it is none."""
    try:
        fields: dict[str, Any] = json.loads(line)
        if fields["reason"] == _RESOLVED:
            return str(fields["frame_dir"])
        when = float(fields["time"])
        if not math.isfinite(when):
            return None
        return Failure(
            when,
            str(fields["path"]),
            str(fields["frame_dir"]),
            FailureReason(fields["reason"]),
            str(fields["info"]),
            int(fields.get("annotation", 0)),
        )
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        # An overflow: JSON's `Infinity` as the time of an annotation.
        return None


def _annotation_time(output_root: Path, frame_dir: str) -> int:
    """Return the time of change of a clip's annotation, nanoseconds, 0 where there is none."""
    # The log is data: an identifier that leads out of the output root must not make us look there.
    if PurePosixPath(frame_dir).is_absolute() or ".." in PurePosixPath(frame_dir).parts or "\0" in frame_dir:
        return 0
    try:
        return (output_root / f"{frame_dir}{ANNOTATION_POSTFIX}.pkl").stat().st_mtime_ns
    except OSError:
        return 0


def _json_line(fields: dict[str, Any]) -> str:
    """Return one line of JSON; ASCII only, since a file name may hold bytes that are no UTF-8."""
    return json.dumps(fields, ensure_ascii=True)
