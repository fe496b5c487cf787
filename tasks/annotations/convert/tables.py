"""Poses as rows of a table, for spreadsheets, notebooks and tracking benchmarks: CSV, Parquet and MOT text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import Annotation
from tasks.core.skeleton import KEYPOINTS
from tasks.core.storage import atomic_path, write_text
from tasks.core.text import csv_cell

if TYPE_CHECKING:
    # Costs a second to import; only the functions that make tables do.
    import pandas as pd


def boxes_of(annotation: Annotation) -> npt.NDArray[np.float32]:
    """Return the boxes of an annotation, or where it has none the extents of its visible joints.

    Returns
    -------
    numpy.ndarray
        (M, T, 4) float32, x1, y1, x2, y2 in pixels; zeros where a person is missing.
    """
    if "bbox" in annotation:
        return np.asarray(annotation["bbox"], np.float32)
    keypoints, seen = annotation["keypoint"], annotation["keypoint_score"] > 0
    # Missing joints are put infinitely far off, so that they never set an edge; without any joint the box is infinite.
    low = np.where(seen[..., None], keypoints, np.inf).min(axis=2)
    high = np.where(seen[..., None], keypoints, -np.inf).max(axis=2)
    boxes = np.concatenate([low, high], axis=-1)
    return np.where(np.isfinite(boxes), boxes, 0).astype(np.float32)


def ids_of(annotation: Annotation) -> list[int]:
    """Return the track IDs of an annotation, or where it has none the ranks from 1."""
    count = len(annotation["keypoint"])
    return [int(number) for number in annotation.get("track_ids", range(1, count + 1))]


def pose_table(annotation: Annotation) -> pd.DataFrame:
    """Return the poses as a table: a row for each person and frame in which the person is.

    Columns: frame_dir (bytes that are no UTF-8 escaped), frame (from 0), rank (from 1), track_id, filled, x1, y1, x2,
    y2 in pixels, and for each joint `<name>_x`, `<name>_y`, `<name>_score`. Rows are sorted by frame and rank.
    """
    import pandas as pd

    # Frames first, so that rows come out sorted by frame and then rank.
    frames, people = np.nonzero(annotation["keypoint_score"].any(-1).T)
    keypoints = annotation["keypoint"][people, frames]
    scores = annotation["keypoint_score"][people, frames]
    # Other programs do not say what was filled in: nothing counts as filled then.
    filled = annotation.get("filled", np.zeros(annotation["keypoint"].shape[:2], np.bool_))
    table = {
        # A name that is no UTF-8 holds lone surrogates, which neither files nor Arrow's strings can hold.
        "frame_dir": annotation["frame_dir"].encode("utf-8", "backslashreplace").decode("utf-8"),
        "frame": frames,
        "rank": people + 1,
        "track_id": np.array(ids_of(annotation))[people],
        "filled": filled[people, frames],
        **dict(zip(("x1", "y1", "x2", "y2"), boxes_of(annotation)[people, frames].T, strict=True)),
    }
    for joint, name in enumerate(KEYPOINTS):
        table |= {
            f"{name}_x": keypoints[:, joint, 0],
            f"{name}_y": keypoints[:, joint, 1],
            f"{name}_score": scores[:, joint],
        }
    return pd.DataFrame(table)


def write_csv(path: Path, annotation: Annotation) -> None:
    """Write the table of poses as CSV, in UTF-8."""
    # Three digits: a thousandth of a pixel.
    table = pose_table(annotation)
    # The identifier may come from a foreign file.
    table["frame_dir"] = table["frame_dir"].map(csv_cell)
    write_text(path, table.to_csv(index=False, float_format="%.3f"))


def write_parquet(path: Path, annotation: Annotation) -> None:
    """Write the table of poses as Parquet; pandas needs the package pyarrow for it."""
    table = pose_table(annotation)
    with atomic_path(path) as partial:
        table.to_parquet(partial, index=False)


def write_mot(path: Path, annotation: Annotation) -> None:
    """Write the boxes as MOT text."""
    write_text(path, mot_text(annotation))


def mot_text(annotation: Annotation) -> str:
    """Return the boxes in the text format of the MOT challenge.

    A line `frame,id,left,top,width,height,confidence,-1,-1,-1` for each person and frame, frames from 1; the confidence
    is the mean score of the visible joints.
    """
    frames, people = np.nonzero(annotation["keypoint_score"].any(-1).T)
    boxes, ids, scores = boxes_of(annotation), ids_of(annotation), annotation["keypoint_score"]
    lines = []
    for frame, person in zip(frames.tolist(), people.tolist(), strict=True):
        x1, y1, x2, y2 = boxes[person, frame].tolist()
        # Missing joints score 0 and would lower the mean.
        visible = scores[person, frame][scores[person, frame] > 0]
        # MOT counts frames from 1; the -1 are for places in the world, which are not known.
        lines.append(
            f"{frame + 1},{ids[person]},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{visible.mean():.4f},-1,-1,-1\n"
        )
    return "".join(lines)
