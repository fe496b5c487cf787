"""Places in a clip where a track ID may have gone to another person.

Three signs, all from the boxes of the annotated people. Sizes are square roots of box areas:

- swap: from one frame to the next two people move so that exchanging them would make both motions far shorter:
  exchanged < 0.6 of the sum of both motions, which is at least half a size;
- jump: a person's box moves by more than 0.8 sizes per frame of the gap, or its size changes by more than half;
- broken: a track ends, and within half a second another begins less than one size away from where it ended.

They are hints for the eye: quick motion at low frame rates jumps, too. What decides is the probability that a person
loses its identity (`tasks.tracking.identity`). Wherever it is high there is one entry for a contact: the person who is
likeliest to be lost and up to three others whose boxes overlap its own, of whom any may be lost,

    likely = 1 - product over these people of (1 - risk of the person there)

An entry takes kind and frame of a sign that is near and about one of its people, else its kind is "alike". Signs that
are near no contact come as they are. The likeliest entries come first.
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

LIKELY = 0.2
"""Probability of a single person from which on there is an entry: about that share of them is real."""

OTHERS = 3
"""Others in a contact: those whose boxes overlap the person's own most."""

LOOKS_PER_SECOND = 10
"""How often it is looked who overlaps whom: nobody leaves a contact within a tenth of a second."""

CONTACT_SECONDS = 0.75
"""Time before and after an entry in which its people have no other one: whoever looks at it sees that much."""

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
    # A sign concerns each of its people: the one who is likelier to be lost decides.
    found = [replace(s, likely=max(float(risk[row[i], s.frame]) for i in s.track_ids)) for s in found]
    contacts = _contacts(boxes, risk, ids, fps)
    reach = round(BROKEN_SECONDS * fps)
    found = [_with_sign(one, found, reach) for one in contacts] + [
        sign for sign in found if not any(_is_about(sign, one, reach) for one in contacts)
    ]
    return sorted(found, key=lambda suspect: (-suspect.likely, suspect.frame, suspect.track_ids))[:MOST_SUSPECTS]


def _is_about(sign: Suspect, contact: Suspect, reach: int) -> bool:
    """Tell whether a sign is within `reach` frames of a contact and concerns one of its people."""
    return abs(sign.frame - contact.frame) <= reach and bool(set(sign.track_ids) & set(contact.track_ids))


def _with_sign(contact: Suspect, signs: list[Suspect], reach: int) -> Suspect:
    """Return a contact with kind and frame of the likeliest sign that is about it, its people first; else as it is."""
    about = [sign for sign in signs if _is_about(sign, contact, reach)]
    if not about:
        return contact
    # A change of places says most; of the other kinds the likeliest.
    best = max(about, key=lambda sign: (sign.kind == "swap", sign.likely))
    others = tuple(i for i in contact.track_ids if i not in best.track_ids)
    return replace(contact, kind=best.kind, frame=best.frame, track_ids=(*best.track_ids, *others))


def _risk(annotation: Annotation, seen: npt.NDArray[np.bool_]) -> Floats:
    """Return the probability of each person and frame that an identity is lost, (M, T), 0 where nobody is seen."""
    known = annotation.get("identity_confidence")
    # Annotations of earlier versions have none, and other people's lack more than that.
    if known is None or known.shape != seen.shape:
        if not {"keypoint", "filled"} <= annotation.keys():
            return np.zeros(seen.shape)
        known = confidence_of(annotation)
    return np.where(seen, 1 - np.asarray(known, np.float64), 0.0)


def _contacts(boxes: Floats, risk: Floats, ids: list[int], fps: float) -> list[Suspect]:
    """Return the contacts in which somebody is likely to be lost, the likeliest first; each moment of a person once."""
    frames = np.arange(0, risk.shape[1], max(1, round(fps / LOOKS_PER_SECOND)))
    if not frames.size or not risk.size:
        return []
    partners, near = _partners(boxes[:, frames].astype(np.float32))
    # A copy, in which the surroundings of every entry become 0.
    left = risk[:, frames].copy()
    found: list[Suspect] = []
    reach = CONTACT_SECONDS * fps
    while len(found) < MOST_SUSPECTS:
        # (M, F, K): what is left of the risk of each person's partners; those without overlap count nothing.
        others = np.where(near, left[partners, np.arange(len(frames))[None, :, None]], 0)
        likely = np.where(left >= LIKELY, 1 - (1 - left) * np.prod(1 - others, axis=2), 0)
        person, at = np.unravel_index(int(likely.argmax()), likely.shape)
        if likely[person, at] <= 0:
            break
        people = [int(person), *partners[person, at][near[person, at]].tolist()]
        found.append(Suspect("alike", int(frames[at]), tuple(ids[i] for i in people), float(likely[person, at])))
        # One entry for all of them: who looks at one of them sees the others.
        left[np.ix_(people, np.flatnonzero(np.abs(frames - frames[at]) <= reach))] = 0
    return found


def _partners(boxes: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return who overlaps each person most in each frame, (M, F, K), and whether they overlap at all."""
    people, frames = boxes.shape[:2]
    count = min(OTHERS, people - 1)
    partners = np.zeros((people, frames, count), np.intp)
    near = np.zeros((people, frames, count), np.bool_)
    for person in range(people):
        # One person at a time: all pairs of a long clip at once would take gigabytes.
        overlap = iou(boxes[person][None], boxes)
        # Everybody overlaps best with themselves.
        overlap[person] = 0
        partners[person] = np.argsort(-overlap, axis=0, kind="stable")[:count].T
        near[person] = np.take_along_axis(overlap, partners[person].T, axis=0).T > 0
    return partners, near


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
