"""The labelled fight clips: their labels, and cached poses as `Poses`.

The figures by which they are judged are those of `tasks.tuning.figures`; they follow the rules of the labels' own
scorer and give equal numbers, and work on arrays, so that a tracker or a ranking is judged without annotation files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.records import Poses, Tracks
from tasks.tuning.figures import ClipScore, Label, dense_boxes, score_clip, totals, track_roles

__all__ = [
    "ClipScore",
    "Label",
    "by_area",
    "dense_boxes",
    "load_labels",
    "load_poses",
    "score_clip",
    "totals",
    "track_roles",
]


def load_labels(path: Path) -> dict[str, Label]:
    """Read a labels file; the frames of each clip ascend."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: Label(name, clip["source"], {int(f): people for f, people in sorted(clip["frames"].items(), key=_frame)})
        for name, clip in data.items()
    }


def _frame(item: tuple[str, Any]) -> int:
    """Frame index of a (key, people) item; keys sort as numbers, not as text."""
    return int(item[0])


def load_poses(path: Path) -> Poses:
    """Read cached detections: npz with `rows` (N, 57), `frames`, `wh` and `fps`, or a file of `Poses.save`.

    A row holds the frame, the box (xyxy, pixels), its score, and x, y, score of 17 joints.
    """
    with np.load(path, allow_pickle=False) as data:
        # Poses of a run are in their own form.
        if "rows" not in data:
            return Poses.load(path)
        rows = data["rows"].astype(np.float32).reshape(-1, 57)
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        joints = rows[:, 6:].reshape(-1, 17, 3)
        width, height = (int(v) for v in data["wh"])
        return Poses(
            rows[:, 0].astype(np.int32),
            rows[:, 1:5],
            rows[:, 5],
            joints[..., :2],
            joints[..., 2],
            int(data["frames"]),
            width,
            height,
            float(data["fps"]),
        )


def by_area(tracks: Tracks, min_length: int = 10) -> npt.NDArray[np.integer[Any]]:
    """Return the IDs of the tracks of at least `min_length` frames, largest mean box first: the plain rule."""
    size = tracks.poses.bbox[:, 2:] - tracks.poses.bbox[:, :2]
    count = np.bincount(tracks.track_id)
    area = np.bincount(tracks.track_id, weights=size[:, 0] * size[:, 1]) / np.maximum(count, 1)
    ids = np.flatnonzero(count >= min_length)
    return ids[np.argsort(-area[ids], kind="stable")]
