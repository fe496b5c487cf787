"""What the gallery of the review page knows about each clip, without opening an annotation.

`<output root>/.fightpose/review/index.json` holds one row per clip with the size and time of change of the annotation
it was made from. Opening an output root costs one `stat` per clip; only rows whose annotation changed are made again
(`read_rows`), which a page need not wait for.

A row is a plain dict:

    id, clip, status           see `clip_id`; annotated, failed, unreadable, or unread while its row is not made yet
    label, frames, fps, width, height, people, gap, quality, seen, filled    as in `tasks.report.tables`
    top                        [[track ID, composite score], ...] of everyone in the annotation
    uncertain                  names in `tasks.report.tables.UNCERTAIN`
    suspects, likely           number of places where an ID may have gone to another person, and the highest probability
    poster                     frame for the thumbnail: the middle of the first two people's busiest window
    review                     `review_key` of the corrections that the annotation holds, "" for an automatic one
    reason, info               of a failure, or why the annotation is unreadable
    split                      name of the split, "" where the clip is in none
    stat                       [size, mtime_ns] of the annotation
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tasks.annotations.dataset import read_split
from tasks.annotations.format import Annotation, AnnotationError, only_annotation
from tasks.annotations.validate import require_valid
from tasks.clips.discovery import Clip
from tasks.clips.failures import current_failures
from tasks.clips.manifest import read_manifests
from tasks.core.storage import atomic_path, key_of
from tasks.core.text import field_text
from tasks.mapping.merged import DATASET_NAME
from tasks.mapping.receipts import WORK_FOLDER
from tasks.report.tables import clip_row, poster_frame
from tasks.review.id_switches import find_suspects

Row = dict[str, Any]

INDEX_VERSION = 2
"""Raise it when rows change: older ones are then made again."""

_TAKEN = ("status", "label", "frames", "fps", "width", "height", "people", "gap", "quality", "seen", "filled")

_THREADS = 8

BATCH = 200
"""Rows between two saves of the index."""


def clip_id(frame_dir: str) -> str:
    """Return the name of a clip in addresses: a hash, so that no file name is ever part of one."""
    return hashlib.sha256(frame_dir.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def review_key(changes: Any) -> str:
    """Return a short name of corrections as an annotation has them; "" of none."""
    return key_of(changes) if changes else ""


def review_folder(output_root: Path) -> Path:
    """Return the folder of everything that the review page makes for itself; it can be deleted at any time."""
    return output_root / WORK_FOLDER / "review"


def open_index(output_root: Path) -> tuple[dict[str, Row], dict[str, Clip]]:
    """Return a row for every clip, and the clips, both by `clip_id`, without reading any annotation.

    Rows that are not up to date have the status `unread`.
    """
    known = _load(output_root)
    failures = {failure.frame_dir: failure for failure in current_failures(output_root)}
    clips = {clip_id(clip.frame_dir): clip for clip in read_manifests(output_root)}
    # By clip, since a split is a list of names.
    split = {name: part for part, names in read_split(output_root / DATASET_NAME).items() for name in names}
    stats = _stats(list(clips.values()))
    rows: dict[str, Row] = {}
    for key, clip in clips.items():
        # A recorded failure goes before a saved row: an annotation that is there is of an earlier run.
        failure = failures.get(clip.frame_dir)
        row: Row = {"id": key, "clip": clip.frame_dir, "status": "unread", "stat": stats[clip.frame_dir]}
        if failure is not None:
            row |= {"status": "failed", "reason": str(failure.reason), "info": failure.info, "label": clip.label}
        elif stats[clip.frame_dir] is None:
            row |= {"status": "failed", "reason": "NOT_ANNOTATED", "info": "no run has reached this clip yet"}
            row["label"] = clip.label
        elif (old := known.get(key)) is not None and old.get("stat") == stats[clip.frame_dir]:
            row = old
        # Splits change without the annotation, so that a saved row may name an old one.
        row["split"] = split.get(clip.frame_dir, "")
        rows[key] = row
    return rows, clips


def unread(rows: dict[str, Row]) -> list[str]:
    """Return the identifiers of rows that still have to be made."""
    return [key for key, row in rows.items() if row["status"] == "unread"]


def read_rows(
    output_root: Path,
    rows: dict[str, Row],
    clips: dict[str, Clip],
    wanted: Sequence[str] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Make the rows that are missing from their annotations, in place, and save the index as it grows.

    Parameters
    ----------
    output_root
        The output root.
    rows, clips
        Of `open_index`.
    wanted
        Which rows to make; by default all that are unread.
    stopped
        Asked after every clip: True ends the work, and what was read is saved.
    """
    made = 0
    for key in unread(rows) if wanted is None else wanted:
        if stopped():
            break
        # A whole new dict takes the place of the old one: readers in other threads never see half a row.
        rows[key] = _row(key, clips[key], rows[key].get("split", ""))
        made += 1
        if made % BATCH == 0:
            save_index(output_root, rows.values())
    if made:
        save_index(output_root, rows.values())


def refresh_index(output_root: Path) -> None:
    """Bring the index of an output root up to date, so that the review page opens with everything known."""
    rows, clips = open_index(output_root)
    read_rows(output_root, rows, clips)


def save_index(output_root: Path, rows: Iterable[Row]) -> None:
    """Write the rows that were made from annotations."""
    # Failures are read from their own log each time, since they change without the annotation.
    kept = [row for row in list(rows) if row["status"] in ("annotated", "unreadable")]
    text = json.dumps({"version": INDEX_VERSION, "rows": kept}, ensure_ascii=True, separators=(",", ":"))
    with atomic_path(review_folder(output_root) / "index.json") as partial:
        partial.write_text(text, encoding="ascii")


def _load(output_root: Path) -> dict[str, Row]:
    """Return the saved rows by identifier; none where the file is absent, damaged or of another version."""
    try:
        value = json.loads((review_folder(output_root) / "index.json").read_bytes())
        if value["version"] != INDEX_VERSION:
            return {}
        return {str(row["id"]): row for row in value["rows"] if "clip" in row and "status" in row}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


def _stats(clips: list[Clip]) -> dict[str, list[int] | None]:
    """Return `_stat` of every clip by identifier, several at a time: on network storage each is a round trip."""
    # In pieces: a task of its own for each would cost more than the call.
    pieces = [clips[start::_THREADS] for start in range(_THREADS)]
    with ThreadPoolExecutor(_THREADS) as pool:
        done = pool.map(lambda piece: [(clip.frame_dir, _stat(clip)) for clip in piece], pieces)
        return {name: stat for found in done for name, stat in found}


def _stat(clip: Clip) -> list[int] | None:
    """Return what tells a changed annotation from an unchanged one, None where there is none."""
    try:
        status = os.stat(clip.annotation_path)  # noqa: PTH116 - thousands of times; `Path.stat` is slower
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _row(key: str, clip: Clip, split: str) -> Row:
    """Make the row of one clip from its annotation; a file that cannot be read costs only itself."""
    row: Row = {"id": key, "clip": clip.frame_dir, "split": split, "stat": _stat(clip), "label": clip.label}
    try:
        annotation = only_annotation(clip.annotation_path)
        require_valid(annotation, clip.annotation_path)
        return row | summary_of(annotation)
    except (AnnotationError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return row | {"status": "unreadable", "info": field_text(str(error))}


def summary_of(annotation: Annotation) -> Row:
    """Return what a row takes from an annotation.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the annotation lacks what every one has.
    """
    table, suspects = clip_row(annotation), find_suspects(annotation)
    ids = np.asarray(annotation.get("track_ids", [])).tolist()
    # Four digits tell all ranks apart that anybody looks at, and keep the file small.
    scores = np.asarray(annotation.get("composite_scores", []), np.float64).round(4).tolist()
    numbers = {name: round(v, 4) if isinstance(v := table[name], float) else v for name in _TAKEN}
    return numbers | {
        "top": [list(pair) for pair in zip(ids, scores, strict=False)],
        "uncertain": table["uncertain"].split(),
        "suspects": len(suspects),
        "likely": round(max((suspect.likely for suspect in suspects), default=0.0), 3),
        "poster": poster_frame(annotation),
        "review": review_key(annotation["review"]["changes"]) if "review" in annotation else "",
    }
