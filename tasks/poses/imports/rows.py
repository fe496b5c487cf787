"""What every reader makes: one row per person and frame, in the clip's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.core.records import Poses
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.poses.imports.joints import coco_joints

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """One person in one frame as a file states it.

    Attributes
    ----------
    frame
        From 0.
    joints
        (J, 3) x, y in pixels and score; J joints of any known skeleton.
    box
        x1, y1, x2, y2 in pixels; None where the file has none: the extent of the joints is taken then.
    score
        Of the person; None for the mean of the joint scores.
    track_id
        None where the file follows nobody.
    """

    frame: int
    joints: Floats
    box: Sequence[float] | None = None
    score: float | None = None
    track_id: int | None = None


def poses_of(
    rows: Sequence[Row], frames: int, width: int, height: int, fps: float
) -> tuple[Poses, npt.NDArray[np.int32] | None]:
    """Return rows as the record of a clip, and the track ID of each of its rows; None if the file follows nobody.

    Scores above 1 (heat maps, sums) are cut to 1; people without a single joint are left out.

    Raises
    ------
    ValueError
        If a row is beyond the clip's frames, a value is not finite, or a skeleton is not known.
    """
    joints = [coco_joints(np.asarray(row.joints, np.float32)) for row in rows]
    seen = [index for index, one in enumerate(joints) if (one[:, 2] > 0).any()]
    # Stable: within a frame people stay in the order of the file.
    order = sorted(seen, key=lambda index: rows[index].frame)
    if order and not 0 <= rows[order[0]].frame <= rows[order[-1]].frame < frames:
        last = rows[order[-1]].frame
        raise ValueError(f"it has poses up to frame {last}, counted from 0, but the clip has {frames} frames")
    keypoints = np.array([joints[index] for index in order], np.float32).reshape(-1, NUM_KEYPOINTS, 3)
    scores = keypoints[..., 2].clip(0, 1)
    places = np.where(scores[..., None] > 0, keypoints[..., :2], 0)
    boxes = np.array([rows[i].box or _extent(joints[i]) for i in order], np.float32).reshape(-1, 4)
    person = [rows[i].score if rows[i].score is not None else float(scores[n].mean()) for n, i in enumerate(order)]
    frame = np.array([rows[index].frame for index in order], np.int32)
    score = np.clip(np.array(person, np.float32), 0, 1)
    poses = Poses(frame, boxes, score, places, scores, frames, width, height, fps)
    known = [rows[index].track_id for index in order]
    ids = [number for number in known if number is not None]
    if not ids or len(ids) < len(known):
        return poses, None
    # One person cannot be in a frame twice: such a file numbers detections and not people.
    twice = np.unique(np.column_stack([frame, ids]), axis=0, return_counts=True)
    if (twice[1] > 1).any():
        first_frame, number_twice = twice[0][twice[1] > 1][0].tolist()
        raise ValueError(f"track ID {number_twice} is twice in frame {first_frame}")
    # IDs of other programs start anywhere; ours start at 1, in the same order.
    return poses, (np.unique(np.array(ids), return_inverse=True)[1] + 1).astype(np.int32)


def _extent(joints: Floats) -> list[float]:
    """Return the box around the joints that are there."""
    there = joints[joints[:, 2] > 0, :2]
    return [*there.min(axis=0).tolist(), *there.max(axis=0).tolist()]
