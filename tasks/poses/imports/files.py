"""Which file holds the poses of a clip, and what is in it."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.clips.names import ClipTable
from tasks.clips.names import Row as TableRow
from tasks.core.errors import FightposeError
from tasks.core.records import MAX_STORED_BYTES, Poses
from tasks.poses.imports.json_files import rows_of_json
from tasks.poses.imports.rows import Row, poses_of
from tasks.poses.imports.text_files import rows_of_mot, rows_of_trc, rows_of_yolo

# What programs add to the clip's name: AlphaPose, MMPose and the rest use the bare stem or a folder of that name.
_ADDED = re.compile(r"(_(px_)?person\d+|_\d+|_keypoints|_poses?|alphapose-results)$", re.IGNORECASE)
# What readers raise at a file that is damaged or something else; damaged zips have types of their own.
_ERRORS = (
    OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError, EOFError,
    MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
ENDINGS = (".json", ".txt", ".trc", ".npz")


@dataclass(frozen=True, slots=True)
class Imported:
    """The poses of a clip as another program found them.

    Attributes
    ----------
    poses
        The record, rows sorted by frame.
    track_id
        (N,) from 1, if the program followed people; else None.
    """

    poses: Poses
    track_id: npt.NDArray[np.int32] | None


def find_pose_files(folder: Path, clips: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files that hold the poses of each clip, by identifier; clips without any are left out.

    A file belongs to a clip if its path, without what programs add to names (a frame number, `_person00`), or the
    folder it is in, names the clip (`tasks.clips.names`).

    Raises
    ------
    FightposeError
        If the folder has no such files, or a file could belong to several clips.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not files:
        raise FightposeError(f"{folder}: has no files of poses ({', '.join(ENDINGS)})")
    found: dict[str, list[Path]] = {}
    taken: dict[Path, str] = {}
    # By whole paths first; then, for clips without poses, by bare names: programs write into folders such as `labels`.
    for bare in (False, True):
        rest = [clip for clip in clips if clip not in found]
        table = _table(folder, [path for path in files if path not in taken], bare)
        for clip in rest:
            for row in table.find(clip):
                other = taken.setdefault(row.value, clip)
                if other != clip:
                    reason = f"could be of {other} and of {clip}; put it into folders as the clips are"
                    raise FightposeError(f"{row.value}: {reason}")
                found.setdefault(clip, []).append(row.value)
    return found


def _table(folder: Path, files: list[Path], bare: bool) -> ClipTable[Path]:
    """Return a table of what files could be called after: their paths and folders, or their bare names."""
    rows = []
    for number, path in enumerate(files):
        below = path.relative_to(folder).with_suffix("")
        names = {below.name} if bare else {below.as_posix(), below.parent.as_posix()}
        names |= {_ADDED.sub("", name) for name in names}
        rows += [TableRow(number, name, path) for name in names if name not in ("", ".")]
    return ClipTable(folder, rows)


def read_poses(files: list[Path], frames: int, width: int, height: int, fps: float) -> Imported:
    """Read the poses of a clip.

    Parameters
    ----------
    files
        One file, or a file for each frame (ultralytics) or person (TRC).
    frames, width, height, fps
        Of the clip.

    Raises
    ------
    FightposeError
        If a file cannot be read, its layout or skeleton is not known, or it does not fit the clip.
    """
    path = files[0]
    try:
        rows = _rows(files, width, height)
        return Imported(*poses_of(rows, frames, width, height, fps))
    except _ERRORS as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise FightposeError(f"{path}: cannot be read as poses: {reason}") from error


def _rows(files: list[Path], width: int, height: int) -> list[Row]:
    """Return the people of a clip's files, by their ending and content."""
    path, ending = files[0], files[0].suffix.lower()
    if ending == ".trc":
        return rows_of_trc(files)
    if ending == ".txt" and "," not in path.read_text(encoding="utf-8")[:1000]:
        return rows_of_yolo(files, width, height)
    if len(files) > 1:
        raise ValueError(f"there are {len(files)} files for one clip, such as {files[1]}")
    if ending == ".txt":
        return rows_of_mot(path.read_text(encoding="utf-8"))
    if ending == ".npz":
        return _rows_of_arrays(path)
    return rows_of_json(json.loads(path.read_bytes()))


def _rows_of_arrays(path: Path) -> list[Row]:
    """Return the people of arrays `keypoints` (T, M, J, 2 or 3), `scores` (T, M, J) and `track_ids` (M,).

    Without `track_ids` a person's place along M means nothing. Scores come from the third coordinate where there is
    one, and without either a joint is there unless it is at 0, 0 or NaN.
    """
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
        # Before any array is read: a small archive may unpack to more than the memory.
        if sum(member.file_size for member in data.zip.infolist()) > MAX_STORED_BYTES:
            raise ValueError(f"unpacks to more than {MAX_STORED_BYTES} bytes")
        keypoints = np.asarray(data["keypoints"], np.float32)
        ids: Any = data["track_ids"].tolist() if "track_ids" in data else None
        stated: Any = np.asarray(data["scores"], np.float32) if "scores" in data else None
    if keypoints.ndim != 4 or keypoints.shape[-1] not in (2, 3):
        raise ValueError(f"keypoints has the shape {keypoints.shape}, not (frames, people, joints, 2 or 3)")
    there = np.isfinite(keypoints[..., :2]).all(-1) & keypoints[..., :2].any(-1)
    scores: Any = keypoints[..., 2] if keypoints.shape[-1] == 3 else there.astype(np.float32)
    scores = scores if stated is None else stated
    if scores.shape != keypoints.shape[:-1] or (ids is not None and len(ids) != keypoints.shape[1]):
        raise ValueError(
            f"scores has the shape {scores.shape}, for keypoints {keypoints.shape}; track_ids one per person"
        )
    # NaN is how some programs write a joint that is not there.
    scores = np.nan_to_num(scores)
    places = np.where(scores[..., None] > 0, keypoints[..., :2], 0)
    joints = np.concatenate([places, scores[..., None]], axis=-1)
    return [
        Row(frame, joints[frame, person], None, None, int(ids[person]) if ids is not None else None)
        for frame, person in zip(*np.nonzero((scores > 0).any(-1)), strict=True)
    ]
