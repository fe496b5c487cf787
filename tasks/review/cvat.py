"""Corrections that were made in CVAT, as lines of the review's log.

The file is what CVAT exports as `CVAT for video 1.1` after an export of this program was corrected there
(`tasks.annotations.convert.cvat`). People are known by their attribute `track_id`. Taken over are roles, another order
of ranks, people who were deleted, tracks that were merged, tracks that were split, and joints that were moved, placed
or taken away. People and poses that were drawn in CVAT have no counterpart here and are counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import Annotation
from tasks.clips.names import ClipTable, Row
from tasks.core.errors import FightposeError
from tasks.core.skeleton import KEYPOINTS
from tasks.review.log import (
    Change,
    DropPerson,
    MergeTracks,
    MovedJoint,
    MoveJoints,
    Role,
    SetOrder,
    SetRole,
    SplitTrack,
)

SAME_PX = 1.0
"""Places are written with two digits; a joint that is farther off was moved."""

Floats = npt.NDArray[np.float32]


@dataclass(slots=True)
class CvatTrack:
    """One track of the file.

    Attributes
    ----------
    attributes
        Name to value, as the first skeleton of the track states them.
    frames
        Frame to places (17, 2), NaN where a joint is outside.
    """

    attributes: dict[str, str] = field(default_factory=dict)
    frames: dict[int, Floats] = field(default_factory=dict)

    @property
    def number(self) -> int | None:
        """The track ID that this program gave, None for a person who was drawn in CVAT."""
        text = self.attributes.get("track_id", "")
        return int(text) if text.isdecimal() else None


@dataclass(frozen=True, slots=True)
class CvatFile:
    """What a file says: names by which its clip may be known, and its tracks."""

    names: list[str]
    tracks: list[CvatTrack]


def read_cvat(path: Path) -> CvatFile:
    """Read an XML file of CVAT.

    Raises
    ------
    FightposeError
        If it cannot be read, is something else, or declares entities, which can blow a small file up.
    """
    try:
        text = path.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise FightposeError(f"{path}: declares entities, as no export of CVAT does; it was not read")
        root = ElementTree.fromstring(text)  # noqa: S314 - without entities there is nothing to expand
        tracks = [_track(one) for one in root.findall("track") if one.find("skeleton") is not None]
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        raise FightposeError(f"{path}: is not an export of CVAT for video with skeletons ({error})") from error
    if root.tag != "annotations" or not tracks:
        raise FightposeError(f"{path}: has no tracks of skeletons; export the task as 'CVAT for video 1.1'")
    named = (root.findtext("meta/task/name"), root.findtext("meta/task/source"), root.findtext("meta/source"))
    return CvatFile([path.with_suffix("").as_posix(), *filter(None, named)], tracks)


def clip_of(file: CvatFile, path: Path, clips: Sequence[str]) -> str:
    """Return the clip that a file is about: by its own path, the task's name, or the name of the task's video.

    Raises
    ------
    FightposeError
        If none of them names a clip.
    """
    for name in file.names:
        table = ClipTable(path, [Row(1, name, name)])
        found = [clip for clip in clips if table.find(clip)]
        # A name that fits several clips settles nothing; a later name may tell them apart.
        if len(found) == 1:
            return found[0]
    raise FightposeError(f"{path}: cannot be told to which clip it belongs ({', '.join(file.names)}); give --clip")


def changes_of(annotation: Annotation, tracks: Sequence[CvatTrack]) -> tuple[list[Change], list[str]]:
    """Return the corrections that tracks of CVAT amount to, and what could not be taken over, in words.

    Parameters
    ----------
    annotation
        The automatic annotation of the clip.
    tracks
        Of the file.
    """
    ids = annotation["track_ids"].tolist()
    by_id: dict[int, list[CvatTrack]] = defaultdict(list)
    for track in tracks:
        if track.number is not None and track.number in ids:
            by_id[track.number].append(track)
    notes = []
    if strangers := sum(track.number not in ids for track in tracks):
        notes.append(f"{strangers} people drawn in CVAT are not taken over")
    gone = [number for number in ids if number not in by_id]
    into = {number: _merged_into(annotation, ids.index(number), by_id) for number in gone}
    # Joints first: they are moved under the IDs of the automatic people, whatever becomes of those.
    changes, drawn = _joints(annotation, by_id, into)
    if drawn:
        notes.append(f"{drawn} poses drawn in CVAT, in frames without the person, are not taken over")
    # Merges next: a person who is part of another is no longer there to be dropped.
    for number, other in into.items():
        changes.append(MergeTracks(into=other, other=number) if other is not None else DropPerson(track_id=number))
    # Later parts of a split track need IDs that nobody in the clip has.
    free = max(ids) + 1
    for number, parts in by_id.items():
        # The part that begins first keeps the ID.
        parts.sort(key=lambda part: min(part.frames, default=0))
        for later in parts[1:]:
            # A split needs a frame before it, hence 1 at least.
            changes.append(SplitTrack(track_id=number, frame=max(min(later.frames, default=1), 1), new_id=free))
            changes += _role(free, later)
            free += 1
        changes += _role(number, parts[0])
    ranks = {number: int(parts[0].attributes.get("rank", "0") or 0) for number, parts in by_id.items()}
    # An order is a correction only where it differs from the run's.
    if [*sorted(ranks, key=ranks.__getitem__)] != [number for number in ids if number in ranks]:
        changes.append(SetOrder(track_ids=tuple(sorted(ranks, key=ranks.__getitem__))))
    return changes, notes


def _joints(
    annotation: Annotation, by_id: Mapping[int, Iterable[CvatTrack]], into: Mapping[int, int | None]
) -> tuple[list[Change], int]:
    """Return the joints that were moved as corrections, and how many poses are in frames without their person.

    Parameters
    ----------
    annotation
        The automatic annotation.
    by_id
        Tracks of the file by the ID of their person.
    into
        People without a track of their own to the one they were merged into, None for those who were dropped.
    """
    ids = annotation["track_ids"].tolist()
    present = annotation["keypoint_score"].any(-1)
    changes: list[Change] = []
    drawn = 0
    for number, parts in by_id.items():
        people = [ids.index(one) for one in (number, *(gone for gone, kept in into.items() if kept == number))]
        found: dict[int, dict[int, tuple[MovedJoint, ...]]] = {}
        for part in parts:
            # The video in CVAT may be longer than the annotation.
            for frame, places in part.frames.items():
                here = [person for person in people if frame < present.shape[1] and present[person, frame]]
                drawn += not here
                # In frames that merged people share, CVAT shows one of their poses: that with the fewest differences.
                moved = {person: _moved(annotation, person, frame, places) for person in here}
                nearest = min(moved, key=lambda person: len(moved[person]), default=None)
                if nearest is not None and moved[nearest]:
                    found.setdefault(nearest, {})[frame] = moved[nearest]
        changes += [MoveJoints(track_id=ids[person], frames=frames) for person, frames in found.items()]
    return changes, drawn


def _track(element: ElementTree.Element) -> CvatTrack:
    """Return a track with the place of every joint in every frame that the file states."""
    track = CvatTrack()
    for skeleton in element.findall("skeleton"):
        places = np.full((len(KEYPOINTS), 2), np.nan, np.float32)
        for points in skeleton.findall("points"):
            if points.attrib["label"] in KEYPOINTS and points.attrib.get("outside") != "1":
                x, y = points.attrib["points"].split(",")
                places[KEYPOINTS.index(points.attrib["label"])] = float(x), float(y)
        stated = {one.attrib["name"]: one.text or "" for one in skeleton.findall("attribute")}
        # They are the same for a whole track, except where tracks were merged: the first part is the one that stays.
        track.attributes = stated | track.attributes
        # A skeleton whose joints are all outside says that the person is away.
        if np.isfinite(places).any():
            track.frames[int(skeleton.attrib["frame"])] = places
    return track


def _role(number: int, track: CvatTrack) -> list[Change]:
    """Return the role that a track was given, nothing where it is still unmarked."""
    role = track.attributes.get("role", "")
    return [SetRole(track_id=number, role=Role(role))] if role in set(Role) else []


def _merged_into(annotation: Annotation, person: int, by_id: dict[int, list[CvatTrack]]) -> int | None:
    """Return the person whose track in CVAT has the poses of another one, who has no track any more; else None."""
    scores, keypoints = annotation["keypoint_score"][person], annotation["keypoint"][person]
    frames = np.flatnonzero(scores.any(-1)).tolist()
    for number, parts in by_id.items():
        same = 0
        for frame in frames:
            places = next((part.frames[frame] for part in parts if frame in part.frames), None)
            same += places is not None and not _differ(places, keypoints[frame], scores[frame]).any()
        # More than half, not all: in frames that both people were in, one pose is left.
        if same * 2 > len(frames):
            return number
    return None


def _moved(annotation: Annotation, person: int, frame: int, places: Floats) -> tuple[MovedJoint, ...]:
    """Return the joints of a person in a frame that are elsewhere than in the annotation."""
    scores, keypoints = annotation["keypoint_score"][person, frame], annotation["keypoint"][person, frame]
    return tuple(
        MovedJoint(
            name=KEYPOINTS[joint], place=None if np.isnan(places[joint]).any() else tuple(places[joint].tolist())
        )
        for joint in np.flatnonzero(_differ(places, keypoints, scores)).tolist()
    )


def _differ(places: Floats, keypoints: Floats, scores: Floats) -> npt.NDArray[np.bool_]:
    """Return which joints (17,) are in another place, or are there in one of the two only."""
    there, known = np.isfinite(places).all(axis=1), scores > 0
    # NaN (outside) becomes 0 only to be compared without a warning: `there` leaves it out.
    far = np.abs(np.nan_to_num(places) - keypoints).max(axis=1) > SAME_PX
    return np.asarray((there != known) | (there & known & far))
