"""Text files of poses: YOLO labels of ultralytics, MOT rows with keypoints, and TRC files of Sports2D and OpenSim.

Sources: ultralytics' `save_txt` (a file for each frame, `<stem>_<frame from 1>.txt`, with class, box and joints in
shares of the frame, then score and track ID if asked for), the MOT challenge's ten columns with x, y and score of each
joint after them, and the TRC format (marker names in the fourth line, three columns for each marker).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.poses.imports.joints import joints_by_name
from tasks.poses.imports.rows import Row


def rows_of_yolo(files: Sequence[Path], width: int, height: int) -> list[Row]:
    """Return the people of a clip's label files.

    Raises
    ------
    ValueError
        If a file's name has no frame number, or a row has another number of columns.
    """
    rows = []
    for path in files:
        found = re.search(r"_(\d+)$", path.stem)
        if found is None:
            raise ValueError(f"{path.name} does not end in a frame number, as ultralytics writes it")
        for line in path.read_text(encoding="utf-8").splitlines():
            rows.append(_yolo_row([float(part) for part in line.split()], int(found[1]) - 1, width, height))
    return rows


def _yolo_row(values: list[float], frame: int, width: int, height: int) -> Row:
    """Return one person of a label file: class, centre and size of the box, joints, and what follows them."""
    joints = np.array(values[5 : 5 + 51], np.float32)
    rest = values[5 + 51 :]
    if len(joints) != 51 or len(rest) > 2:
        raise ValueError(
            f"a row has {len(values)} columns, not 56 (17 joints with scores), 57 with score or 58 with ID"
        )
    # Shares of the frame become pixels; the score is multiplied by 1.
    joints = joints.reshape(NUM_KEYPOINTS, 3) * np.array([width, height, 1], np.float32)
    x, y, w, h = np.array(values[1:5]) * (width, height, width, height)
    track = int(rest[1]) if len(rest) == 2 else None
    return Row(frame, joints, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], rest[0] if rest else None, track)


def rows_of_mot(text: str) -> list[Row]:
    """Return the people of MOT rows with keypoints; frames count from 1.

    Raises
    ------
    ValueError
        If a row has no keypoints: boxes alone are nobody's pose.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        values = [float(part) for part in line.replace(" ", "").rstrip(",").split(",")]
        if len(values) <= 10 or (len(values) - 10) % 3:
            raise ValueError(f"line {number} has {len(values)} columns, not 10 and three for each joint")
        # MOT: frame, ID, left, top, width, height, confidence, and three columns that poses do not use.
        x, y, w, h = values[2:6]
        joints = np.array(values[10:], np.float32).reshape(-1, 3)
        # -1 is the ID of detections that nobody followed.
        number_of = int(values[1]) if values[1] >= 0 else None
        rows.append(Row(int(values[0]) - 1, joints, [x, y, x + w, y + h], values[6], number_of))
    return rows


def rows_of_trc(files: Sequence[Path]) -> list[Row]:
    """Return the people of TRC files in pixels, one person to a file; a marker that is not there is empty or NaN.

    Raises
    ------
    ValueError
        If a file is not TRC, is in metres, or lacks a joint.
    """
    rows = []
    for person, path in enumerate(sorted(files), 1):
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) < 6 or not lines[0].startswith("PathFileType"):
            raise ValueError(f"{path.name} is not a TRC file")
        if re.search(r"(^|\t)m(\t|$)", lines[2]):
            raise ValueError(f"{path.name} is in metres; give the file in pixels (Sports2D: *_px_*.trc)")
        names = [name for name in lines[3].split("\t")[2:] if name.strip()]
        places = joints_by_name(names)
        for line in lines[5:]:
            if not line.strip():
                continue
            parts = line.split("\t")
            values = [float(part) if part.strip() else np.nan for part in parts[2 : 2 + 3 * len(names)]]
            values += [np.nan] * (3 * len(names) - len(values))
            markers = np.array(values, np.float32).reshape(-1, 3)[places]
            there = np.asarray(np.isfinite(markers[:, :2]).all(axis=1) & markers[:, :2].any(axis=1))
            # TRC has no scores: a joint is there or not.
            joints = np.column_stack([np.where(there[:, None], markers[:, :2], 0), there]).astype(np.float32)
            rows.append(Row(int(float(parts[0])), joints, None, None, person))
    # Frames count from 0 or 1, as the first of them says.
    first = 1 if rows and min(row.frame for row in rows) >= 1 else 0
    return [Row(row.frame - first, row.joints, None, None, row.track_id) for row in rows]
