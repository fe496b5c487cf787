"""Places in a clip where a track ID may have gone to another person.

Three signs, all from the boxes of the annotated people. Sizes are square roots of box areas:

- swap: from one frame to the next two people move so that exchanging them would make both motions far shorter:
  exchanged < 0.6 of the sum of both motions, which is at least half a size;
- jump: a person's box moves by more than 0.8 sizes per frame of the gap, or its size changes by more than half;
- broken: a track ends, and within half a second another begins less than one size away from where it ended.

They are hints for the eye: quick motion at low frame rates jumps, too. A fourth kind, alike, comes from the probability
that a person loses its identity (`tasks.tracking.identity`): the moments at which it is highest and none of the three
signs is near. All are ordered by that probability, the likeliest first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations, permutations

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import Annotation, confidence_of, in_display
from tasks.core.geometry import iou

SWAP_SHARE = 0.6
SWAP_LEAST = 0.5
JUMP_SIZES = 0.8
SIZE_CHANGE = 1.5
BROKEN_SECONDS = 0.5
BROKEN_SIZES = 1.0

LIKELY = 0.35
"""Probability from which on a moment is listed that shows none of the three signs: four in ten of these are real."""

MOST_SUSPECTS = 50
"""More than this in one clip tell nothing new; the likeliest are kept."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Suspect:
    """One place to look at.

    Attributes
    ----------
    kind
        "swap", "jump", "broken" or "alike".
    frame
        First frame after the supposed switch.
    track_ids
        The people concerned.
    likely
        Probability that an identity is lost around the frame.
    """

    kind: str
    frame: int
    track_ids: tuple[int, ...]
    likely: float = field(default=0.0, compare=False)


def find_suspects(annotation: Annotation) -> list[Suspect]:
    """Return the places where an ID may have gone to another person, the likeliest first.

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
    # Frames per second; without a rate, what is usual for cameras.
    fps = float(annotation.get("fps") or 25.0)
    found += _broken(centre, size, seen, ids, fps)
    risk = _risk(annotation, seen)
    row = {track_id: person for person, track_id in enumerate(ids)}
    # A place concerns each of its people: the one who is likelier to be lost decides.
    found = [replace(s, likely=max(float(risk[row[i], s.frame]) for i in s.track_ids)) for s in found]
    found += _alike(boxes, risk, ids, found, round(BROKEN_SECONDS * fps))
    return sorted(found, key=lambda suspect: (-suspect.likely, suspect.frame, suspect.track_ids))[:MOST_SUSPECTS]


def _risk(annotation: Annotation, seen: npt.NDArray[np.bool_]) -> Floats:
    """Return the probability of each person and frame that an identity is lost, (M, T), 0 where nobody is seen."""
    known = annotation.get("identity_confidence")
    # Annotations of earlier versions have none, and other people's lack more than that.
    if known is None or known.shape != seen.shape:
        if not {"keypoint", "filled"} <= annotation.keys():
            return np.zeros(seen.shape)
        known = confidence_of(annotation)
    return np.where(seen, 1 - np.asarray(known, np.float64), 0.0)


def _alike(boxes: Floats, risk: Floats, ids: list[int], found: list[Suspect], reach: int) -> list[Suspect]:
    """Return the moments of the highest probability of each person, but none within `reach` frames of another sign."""
    more: list[Suspect] = []
    # A copy, in which the surroundings of every listed place become 0.
    left = risk.copy()
    for suspect in found:
        for track_id in suspect.track_ids:
            left[ids.index(track_id), max(suspect.frame - reach, 0) : suspect.frame + reach + 1] = 0
    while left.size and len(more) < MOST_SUSPECTS:
        person, frame = np.unravel_index(int(left.argmax()), left.shape)
        likely = float(left[person, frame])
        if likely < LIKELY:
            break
        overlap = iou(boxes[person, frame].astype(np.float32), boxes[:, frame].astype(np.float32))
        # Everybody overlaps best with themselves.
        overlap[person] = 0
        other = int(overlap.argmax())
        people = (int(person), other) if overlap[other] > 0 else (int(person),)
        more.append(Suspect("alike", int(frame), tuple(ids[i] for i in people), likely))
        # One entry for both: who looks at one of them sees the other.
        for i in people:
            left[i, max(int(frame) - 2 * reach, 0) : int(frame) + 2 * reach + 1] = 0
    return more


def _swaps(centre: Floats, size: Floats, seen: npt.NDArray[np.bool_], ids: list[int]) -> list[Suspect]:
    """Return the frames at which two people seem to have changed places."""
    found = []
    for a, b in combinations(range(len(ids)), 2):
        both = seen[a] & seen[b]
        # Both in two successive frames: after a gap motion says little about who is who.
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
    # Somebody who was away for some frames may have gone as many times as far.
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
