"""Whether two ways of running a model find the same people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tasks.core.geometry import box_area, oks
from tasks.core.records import FloatArray
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.poses.detections import Detections

SAME_COUNT, SAME_OKS = 0.99, 0.99
"""Two ways find the same people if so many frames hold equally many, and those agree so well on average."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How the people of one way of running a model compare with those of another.

    Attributes
    ----------
    frames, people
        How many frames were compared, and how many people the first way saw.
    same_count
        Share of frames with the same number of people.
    oks
        Mean object keypoint similarity of people that belong together; NaN where there are none.
    """

    frames: int
    people: int
    same_count: float
    oks: float

    @property
    def holds(self) -> bool:
        """Whether both find the same people."""
        return self.same_count >= SAME_COUNT and self.oks >= SAME_OKS

    def __str__(self) -> str:
        return (
            f"{self.people} people in {self.frames} frames: the same number in {self.same_count:.1%} of the frames, "
            f"mean OKS {self.oks:.3f}"
        )


def likeness(reference: Sequence[Detections], other: Sequence[Detections]) -> Likeness:
    """Compare what two ways find in the same frames, thresholds and NMS done.

    People are compared as sets: those pairs of a frame belong together that give the highest similarity in sum.
    """
    same = [len(first) == len(second) for first, second in zip(reference, other, strict=True)]
    values: list[FloatArray] = []
    for first, second in zip(reference, other, strict=True):
        agree = _oks(first, second)
        # One to one: otherwise two people of one way could be compared with the same one of the other.
        values.append(agree[linear_sum_assignment(agree, maximize=True)])
    matched = np.concatenate([np.zeros(0, np.float32), *values])
    people = sum(map(len, reference))
    # Without a pair OKS is NaN, which fails the comparison in `holds`.
    return Likeness(len(same), people, float(np.mean(same)), float(matched.mean()) if len(matched) else float("nan"))


def _oks(first: Detections, second: Detections) -> FloatArray:
    """Return COCO's OKS of all pairs, (N, K), all joints counted; the area is that of the first one's box."""
    # Joints that score low count, too: both ways run the same network, and must agree there.
    everyone = np.ones(NUM_KEYPOINTS, np.float32)
    return oks(first.keypoints[:, None], everyone, second.keypoints[None], everyone, box_area(first.bbox)[:, None])
