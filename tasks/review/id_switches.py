"""Places in a clip where a track ID may have gone to another person.

Three signs, all from the boxes of the annotated people. Sizes are square roots of box areas:

- swap: from one frame to the next two people move so that exchanging them would make both motions far shorter:
  exchanged < 0.6 of the sum of both motions, which is at least half a size;
- jump: a person's box moves by more than 0.8 sizes per frame of the gap, or its size changes by more than half;
- broken: a track ends, and within half a second another begins less than one size away from where it ended.

They are hints for the eye: quick motion at low frame rates jumps, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import Annotation, in_display

SWAP_SHARE = 0.6
SWAP_LEAST = 0.5
JUMP_SIZES = 0.8
SIZE_CHANGE = 1.5
BROKEN_SECONDS = 0.5
BROKEN_SIZES = 1.0

MOST_SUSPECTS = 50
"""More than this in one clip tell nothing new; the earliest are kept."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Suspect:
    """One place to look at.

    Attributes
    ----------
    kind
        "swap", "jump" or "broken".
    frame
        First frame after the supposed switch.
    track_ids
        Who is concerned.
    """

    kind: str
    frame: int
    track_ids: tuple[int, ...]


def find_suspects(annotation: Annotation) -> list[Suspect]:
    """Return the places where an ID may have gone to another person, by frame.

    Parameters
    ----------
    annotation
        Of this program; an annotation without boxes or IDs has none.
    """
    if "bbox" not in annotation or "track_ids" not in annotation:
        return []
    boxes = np.asarray(in_display(annotation)["bbox"], np.float64)
    seen = np.asarray(annotation["keypoint_score"]).max(axis=2, initial=0.0) > 0
    ids = [int(track_id) for track_id in annotation["track_ids"]]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    # At least a pixel: a box without area would make every motion endless.
    size = np.maximum(np.sqrt(np.prod(np.clip(boxes[..., 2:] - boxes[..., :2], 0, None), axis=-1)), 1.0)
    found = _swaps(centre, size, seen, ids)
    # What is explained by an exchange is not a jump of each of the two as well.
    explained = {(track_id, suspect.frame) for suspect in found for track_id in suspect.track_ids}
    for person, track_id in enumerate(ids):
        frames = _jumps(centre[person], size[person], np.flatnonzero(seen[person]))
        found += [Suspect("jump", frame, (track_id,)) for frame in frames if (track_id, frame) not in explained]
    found += _broken(centre, size, seen, ids, float(annotation.get("fps") or 25.0))
    return sorted(found, key=lambda suspect: (suspect.frame, suspect.track_ids))[:MOST_SUSPECTS]


def _swaps(centre: Floats, size: Floats, seen: npt.NDArray[np.bool_], ids: list[int]) -> list[Suspect]:
    """Return the frames at which two people seem to have changed places."""
    found = []
    for a, b in combinations(range(len(ids)), 2):
        both = seen[a] & seen[b]
        frames = np.flatnonzero(both[1:] & both[:-1]) + 1
        kept = _distance(centre[a], centre[a], frames) + _distance(centre[b], centre[b], frames)
        changed = _distance(centre[a], centre[b], frames) + _distance(centre[b], centre[a], frames)
        scale = (size[a, frames] + size[b, frames]) / 2
        wrong = (changed < SWAP_SHARE * kept) & (kept > SWAP_LEAST * scale)
        found += [Suspect("swap", int(frame), (ids[a], ids[b])) for frame in frames[wrong]]
    return found


def _distance(now: Floats, before: Floats, frames: npt.NDArray[np.intp]) -> Floats:
    """Return how far one path's places are from another's one frame earlier, (K,) pixels."""
    distance: Floats = np.linalg.norm(now[frames] - before[frames - 1], axis=1)
    return distance


def _jumps(centre: Floats, size: Floats, frames: npt.NDArray[np.intp]) -> list[int]:
    """Return the frames at which one person's box is too far from, or of another size than, where it was last."""
    if len(frames) < 2:
        return []
    now, before = frames[1:], frames[:-1]
    scale = (size[now] + size[before]) / 2
    distance = np.linalg.norm(centre[now] - centre[before], axis=1) / scale
    change = np.maximum(size[now], size[before]) / np.minimum(size[now], size[before])
    far = distance > JUMP_SIZES * (now - before)
    # After a gap a person may well have come nearer to the camera.
    other = (change > SIZE_CHANGE) & (now - before == 1)
    return [int(frame) for frame in now[far | other]]


def _broken(centre: Floats, size: Floats, seen: npt.NDArray[np.bool_], ids: list[int], fps: float) -> list[Suspect]:
    """Return where one person's track ends and another's begins nearby."""
    ends = [np.flatnonzero(row)[[0, -1]] if row.any() else None for row in seen]
    found = []
    for a, b in permutations(range(len(ids)), 2):
        first, second = ends[a], ends[b]
        if first is None or second is None:
            continue
        last, start = int(first[1]), int(second[0])
        near = np.linalg.norm(centre[b, start] - centre[a, last]) < BROKEN_SIZES * size[a, last]
        if 0 < start - last <= BROKEN_SECONDS * fps and near:
            found.append(Suspect("broken", start, (ids[a], ids[b])))
    return found
