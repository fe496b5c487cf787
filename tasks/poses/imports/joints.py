"""Other skeletons as COCO's 17 joints.

A skeleton is known by its number of joints, or by their names. Sources: the joint lists of OpenPose (BODY_25, COCO_18),
Halpe (26 and 136) and COCO-WholeBody (133); the last three begin with COCO's 17.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.core.skeleton import KEYPOINTS, NUM_KEYPOINTS

Floats = npt.NDArray[np.float32]

# Which of a skeleton's joints is each of COCO's, by number of joints.
_FIRST = tuple(range(NUM_KEYPOINTS))
_BY_COUNT = {
    17: _FIRST,
    26: _FIRST,
    133: _FIRST,
    136: _FIRST,
    18: (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10),
    25: (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11),
}


def coco_joints(joints: Floats) -> Floats:
    """Return (..., 17, 3) x, y and score of any known skeleton's joints (..., J, 3).

    Raises
    ------
    ValueError
        If no skeleton of so many joints is known.
    """
    count = joints.shape[-2]
    if count not in _BY_COUNT:
        raise ValueError(
            f"a skeleton of {count} joints is not known; COCO's 17, OpenPose's 18 and 25, Halpe's 26 and 136 and "
            "COCO-WholeBody's 133 are"
        )
    return joints[..., _BY_COUNT[count], :]


def joints_by_name(names: Sequence[str]) -> list[int]:
    """Return where each of COCO's joints is in a list of names such as `RShoulder` or `right_shoulder`.

    Raises
    ------
    ValueError
        If one is missing, with its name.
    """
    known = {_plain(name): index for index, name in enumerate(names)}
    missing = [joint for joint in KEYPOINTS if not {_plain(joint), _short(joint)} & known.keys()]
    if missing:
        raise ValueError(f"it has no joint {', '.join(missing)}; there are {', '.join(names)}")
    # The 0 is never taken: joints that are missing were refused above.
    return [known.get(_plain(joint), known.get(_short(joint), 0)) for joint in KEYPOINTS]


def _plain(name: str) -> str:
    """Return a name without case and separators."""
    return "".join(char for char in name.lower() if char.isalnum())


def _short(joint: str) -> str:
    """Return COCO's name of a joint as OpenPose, Halpe and OpenSim write it: `lshoulder` for `left_shoulder`."""
    side, _, part = joint.partition("_")
    return f"{side[0]}{part}" if part else joint
