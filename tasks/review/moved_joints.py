"""Joints that people moved by hand, put into an annotation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import Annotation
from tasks.annotations.validate import FRAME_TOLERANCE
from tasks.core.skeleton import KEYPOINTS
from tasks.review.log import MovedJoint, MoveJoints


class Moves:
    """The joints of a clip that were moved, by the automatic person whose pose they belong to.

    Parameters
    ----------
    shape
        Height and width of the annotation's frame: joints are in its stored pixels.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._size = shape[::-1]
        # Automatic person and frame to the joints; of several about one joint the last one counts.
        self._joints: dict[tuple[int, int], list[MovedJoint]] = {}

    def note(self, change: MoveJoints, pieces: Sequence[tuple[int, npt.NDArray[np.bool_]]]) -> str | None:
        """Note a correction; return what in it does not fit, None where everything does.

        Parameters
        ----------
        change
            The correction.
        pieces
            Of its person: automatic person and the frames (T,) that come from it; the first with a frame counts there.
        """
        absent = outside = 0
        for frame, joints in change.frames.items():
            source = next((source for source, mask in pieces if frame < len(mask) and mask[frame]), None)
            inside = [joint for joint in joints if joint.place is None or self._in_reach(joint.place)]
            outside += len(joints) - len(inside)
            if source is None:
                absent += 1
            else:
                self._joints.setdefault((source, frame), []).extend(inside)
        if absent:
            return f"joints: person {change.track_id} is not in {absent} of these frames"
        return f"joints: {outside} of person {change.track_id} are far outside the frame" if outside else None

    def applied_to(self, annotation: Annotation) -> Annotation:
        """Return an annotation with these joints; the same one if there are none.

        A joint that was put somewhere is as sure as the surest one of its person in that frame: scores of a hand and of
        a model are not comparable, and a value beyond the model's range would stand out in training. Boxes grow as far
        as the joints need.
        """
        if not self._joints:
            return annotation
        # Only what changes is copied: the other arrays are shared with the annotation that was given.
        changed = annotation | {name: annotation[name].copy() for name in ("keypoint", "keypoint_score", "bbox")}
        for (person, frame), joints in self._joints.items():
            scores = changed["keypoint_score"][person, frame]
            sure = float(scores.max())
            for joint in joints:
                number = KEYPOINTS.index(joint.name)
                # The contract: what is missing has score 0 and lies at 0, 0.
                changed["keypoint"][person, frame, number] = joint.place or (0, 0)
                scores[number] = sure if joint.place else 0
            _grow(changed["bbox"][person, frame], changed["keypoint"][person, frame][scores > 0])
        return changed

    def _in_reach(self, place: tuple[float, float]) -> bool:
        """Tell whether an annotation can hold a joint here: it takes none far outside the frame."""
        low, high = -FRAME_TOLERANCE, 1 + FRAME_TOLERANCE
        return all(low * side <= at <= high * side for at, side in zip(place, self._size, strict=True))


def _grow(box: npt.NDArray[np.float32], joints: npt.NDArray[np.float32]) -> None:
    """Extend a box (x1, y1, x2, y2) in place so that joints (K, 2) are in it."""
    # An export of CVAT leaves each person a joint in each frame, but a log may be written by hand.
    if len(joints):
        box[:2] = np.minimum(box[:2], joints.min(axis=0))
        box[2:] = np.maximum(box[2:], joints.max(axis=0))
