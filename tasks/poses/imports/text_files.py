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
    numbered: list[tuple[int, list[float]]] = []
    for path in files:
        found = re.search(r"_(\d+)$", path.stem)
        if found is None:
            raise ValueError(f"{path.name} does not end in a frame number, as ultralytics writes it")
        for line in path.read_text(encoding="utf-8").splitlines():
            numbered.append((int(found[1]) - 1, [float(part) for part in line.split()]))
    # Its tracker, asked for no scores (save_conf), writes the ID in that column: whole numbers from 1 on.
    last = [values[-1] for _, values in numbered if len(values) == 5 + 51 + 1]
    ids_alone = bool(last) and all(value >= 1 and value == int(value) for value in last)
    return [_yolo_row(values, frame, width, height, ids_alone) for frame, values in numbered]


def _yolo_row(values: list[float], frame: int, width: int, height: int, ids_alone: bool) -> Row:
    """Return one person of a label file: class, centre and size of the box, joints, then score, ID, both or none."""
    joints = np.array(values[5 : 5 + 51], np.float32)
    rest = values[5 + 51 :]
    if len(joints) != 51 or len(rest) > 2:
        raise ValueError(
            f"a row has {len(values)} columns, not 56 (17 joints with scores), 57 with score or 58 with ID"
        )
    # Shares of the frame become pixels; the score is multiplied by 1.
    joints = joints.reshape(NUM_KEYPOINTS, 3) * np.array([width, height, 1], np.float32)
    x, y, w, h = np.array(values[1:5]) * (width, height, width, height)
    score: float | None = None
    if rest and not (ids_alone and len(rest) == 1):
        score = rest.pop(0)
    track = int(rest[0]) if rest else None
    return Row(frame, joints, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], score, track)


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


LARGEST_METRES = 50.0
"""Metres: no marker in a room is farther from the origin. Pixels reach further in any picture worth tracking."""


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
        names = [name for name in lines[3].split("\t")[2:] if name.strip()]
        places = joints_by_name(names)
        first = None
        for line in (one for one in lines[5:] if one.strip()):
            parts = line.split("\t")
            number, seconds = int(float(parts[0])), float(parts[1])
            # Rows count from 0 or 1 and from the start of what was tracked; the time of the first one places them all.
            first = round(seconds * _rate(lines, path)) - number if first is None else first
            markers = _markers(parts[2:], len(names))
            there = np.asarray(np.isfinite(markers[:, :2]).all(axis=1) & markers[:, :2].any(axis=1))[places]
            # TRC has no scores: a joint is there or not.
            joints = np.column_stack([np.where(there[:, None], markers[places, :2], 0), there]).astype(np.float32)
            rows.append(Row(number + first, joints, None, None, person))
    # Sports2D writes "m" as the unit of its files in pixels too: the values tell.
    if rows and max(float(np.abs(row.joints[:, :2]).max()) for row in rows) < LARGEST_METRES:
        raise ValueError(f"{files[0].name} is in metres; give the file in pixels (Sports2D: *_px_*.trc)")
    return rows


def _rate(lines: list[str], path: Path) -> float:
    """Return the rows per second that a TRC file states: the second value of its third line.

    Raises
    ------
    ValueError
        If the file states none.
    """
    parts = lines[2].split("\t")
    try:
        return float(parts[1])
    except (IndexError, ValueError):
        raise ValueError(f"{path.name} states no rate: the second value of line 3") from None


def _markers(parts: list[str], count: int) -> np.ndarray:
    """Return the markers of a row (markers, 3): x, y and z, NaN where a cell is empty or the row ends early."""
    values = [float(part) if part.strip() else np.nan for part in parts[: 3 * count]]
    return np.array(values + [np.nan] * (3 * count - len(values)), np.float32).reshape(-1, 3)
