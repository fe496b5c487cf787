"""Joints that people moved by hand, put into an annotation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tasks.annotations.format import Annotation
from tasks.annotations.validate import FRAME_TOLERANCE
from tasks.core.skeleton import KEYPOINTS
from tasks.review.log import MovedJoint

Places = Mapping[tuple[int, int], Iterable[MovedJoint]]
"""Automatic person and frame to the joints that are elsewhere there."""


def with_moved(annotation: Annotation, places: Places) -> Annotation:
    """Return an annotation with joints in the places that people gave them; the same one if there are none.

    A joint that was put somewhere is as sure as the surest one of its person in that frame: scores of a hand and of a
    model are not comparable, and a value beyond the model's range would stand out in training. Boxes grow as far as the
    joints need.

    Parameters
    ----------
    annotation
        Left as it is.
    places
        In stored pixels, as annotations have them.
    """
    if not places:
        return annotation
    # Only what changes is copied: the other arrays are shared with the annotation that was given.
    changed = annotation | {name: annotation[name].copy() for name in ("keypoint", "keypoint_score", "bbox")}
    for (person, frame), joints in places.items():
        scores = changed["keypoint_score"][person, frame]
        sure = float(scores.max())
        for joint in joints:
            number = KEYPOINTS.index(joint.name)
            # The contract: what is missing has score 0 and lies at 0, 0.
            changed["keypoint"][person, frame, number] = joint.place or (0, 0)
            scores[number] = sure if joint.place else 0
        _grow(changed["bbox"][person, frame], changed["keypoint"][person, frame][scores > 0])
    return changed


def in_reach(place: tuple[float, float], size: tuple[int, int]) -> bool:
    """Tell whether an annotation can hold a joint here: not far outside the frame (width, height)."""
    return all(
        -FRAME_TOLERANCE * side <= at <= (1 + FRAME_TOLERANCE) * side for at, side in zip(place, size, strict=True)
    )


def _grow(box: np.ndarray, joints: np.ndarray) -> None:
    """Extend a box (x1, y1, x2, y2) in place so that joints (K, 2) are in it."""
    # A person keeps a joint in each frame (`CvatTrack`), but a log may be written by hand.
    if len(joints):
        box[:2] = np.minimum(box[:2], joints.min(axis=0))
        box[2:] = np.maximum(box[2:], joints.max(axis=0))
