"""Corrected annotations, made from the automatic ones and what people said.

Each corrected person is a list of pieces: which automatic person, in which frames. Merging joins the pieces of two,
splitting shares the frames out, so that every correction can be undone without having lost anything. The automatic
values stay in the corrected annotation under `automatic`, and what was applied under `review`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import Annotation
from tasks.review.log import (
    Change,
    DropPerson,
    MergeTracks,
    Role,
    SetExcluded,
    SetLabel,
    SetOrder,
    SetRole,
    SplitTrack,
    WriteNote,
)

Mask = npt.NDArray[np.bool_]

# Fighters come before people of whom nothing was said, and bystanders after them.
_PLACE = {Role.FIGHTER: 0, None: 1, Role.UNSURE: 1, Role.BYSTANDER: 2}

_PER_FRAME = ("keypoint", "keypoint_score", "bbox", "filled")
_BREAKDOWNS = ("score_breakdown", "region_breakdown")


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of the corrections of one clip.

    Attributes
    ----------
    annotation
        The corrected annotation; None where nobody is left in it.
    excluded
        Whether the clip stays out of the data set: it was excluded, or nobody is left.
    note
        The last remark.
    misfits
        Corrections that do not fit the people there are, in words: they were passed over.
    """

    annotation: Annotation | None
    excluded: bool
    note: str
    misfits: list[str]


@dataclass(slots=True)
class _Person:
    """A person while corrections are applied: ID, pieces (automatic person, frames), and role."""

    track_id: int
    pieces: list[tuple[int, Mask]]
    role: Role | None = None

    def frames(self) -> Mask:
        """Return the frames (T,) in which the person has a pose."""
        return np.any([mask for _, mask in self.pieces], axis=0)


class _Review:
    """The state that the corrections of one clip change one after the other."""

    def __init__(self, annotation: Annotation) -> None:
        present = annotation["keypoint_score"].max(axis=2) > 0
        ids = annotation["track_ids"].tolist()
        self.people = {track_id: _Person(track_id, [(i, present[i])]) for i, track_id in enumerate(ids)}
        self.order: tuple[int, ...] = ()
        self.label = int(annotation["label"])
        self.excluded = False
        self.note = ""
        # Whom a merged track's ID stands for now, for `best_partner`.
        self.merged: dict[int, int] = {}

    def apply(self, change: Change) -> str | None:
        """Apply one correction; return why it does not fit, None where it does."""
        match change:
            case SetLabel():
                self.label = change.label
            case SetExcluded():
                self.excluded = change.excluded
            case WriteNote():
                self.note = change.text
            case SetOrder():
                self.order = change.track_ids
            case SetRole() | DropPerson() | MergeTracks() | SplitTrack():
                return self._apply_to_person(change)
        return None

    def _apply_to_person(self, change: SetRole | DropPerson | MergeTracks | SplitTrack) -> str | None:
        """Apply a correction that names people, if they are there."""
        named = (change.into, change.other) if isinstance(change, MergeTracks) else (change.track_id,)
        for track_id in named:
            if track_id not in self.people:
                return f"{change.kind}: there is no person {track_id}"
        match change:
            case SetRole():
                self.people[change.track_id].role = change.role
            case DropPerson():
                del self.people[change.track_id]
            case MergeTracks():
                return self._merge(change)
            case SplitTrack():
                return self._split(change)
        return None

    def _merge(self, change: MergeTracks) -> str | None:
        """Give one person's pieces to another."""
        if change.into == change.other:
            return f"merge: {change.into} is one person already"
        other = self.people.pop(change.other)
        self.people[change.into].pieces += other.pieces
        self.merged[change.other] = change.into
        return None

    def _split(self, change: SplitTrack) -> str | None:
        """Give a person's frames from one on to a new person, who takes the next place."""
        if change.new_id in self.people:
            return f"split: the ID {change.new_id} is taken"
        person = self.people[change.track_id]
        late = np.arange(len(person.pieces[0][1])) >= change.frame
        frames = person.frames()
        if not (frames & late).any() or not (frames & ~late).any():
            return f"split: person {change.track_id} is not on both sides of frame {change.frame}"
        new = _Person(change.new_id, [(source, mask & late) for source, mask in person.pieces], person.role)
        person.pieces = [(source, mask & ~late) for source, mask in person.pieces]
        ordered = list(self.people.values())
        ordered.insert(ordered.index(person) + 1, new)
        self.people = {each.track_id: each for each in ordered}
        return None

    def ranked(self) -> list[_Person]:
        """Return the people in rank order: as ordered by hand, then by role, then as they were."""
        by_role = sorted(self.people.values(), key=lambda person: _PLACE[person.role])
        first = [self.people[track_id] for track_id in self.order if track_id in self.people]
        return first + [person for person in by_role if person.track_id not in self.order]


def apply_changes(annotation: Annotation, changes: Iterable[Change]) -> Applied:
    """Return an annotation with corrections applied, in the order in which they were made.

    Parameters
    ----------
    annotation
        An automatic annotation as `tasks.annotations.format.build_annotation` makes it; left as it is.
    changes
        The corrections that stand (`tasks.review.log.standing_changes`).

    Returns
    -------
    Applied
        The corrected annotation keeps the contract. Its `composite_scores` are the automatic ones of the people in it,
        sorted, since they have to fall with the rank; which score the ranking gave to whom stands in `automatic`.
    """
    changes = list(changes)
    review = _Review(annotation)
    misfits = [problem for change in changes if (problem := review.apply(change)) is not None]
    people = review.ranked()
    if not people:
        return Applied(None, True, review.note, misfits)
    corrected = {key: value for key, value in annotation.items() if key not in ("review", "automatic")}
    corrected |= _arrays(annotation, people, review.merged)
    corrected["label"] = review.label
    corrected["automatic"] = {
        "label": int(annotation["label"]),
        "track_ids": annotation["track_ids"].copy(),
        "composite_scores": annotation["composite_scores"].copy(),
    }
    corrected["review"] = {
        "changes": [change.model_dump(mode="json") for change in changes],
        "roles": {str(person.track_id): str(person.role) for person in people if person.role},
        "excluded": review.excluded,
        "note": review.note,
    }
    return Applied(corrected, review.excluded, review.note, misfits)


def automatic_roles(annotation: Annotation, changes: Iterable[Change]) -> list[str]:
    """Return what corrections say about each automatic person, in rank order.

    A person who was shared out takes the role of whoever got most of its frames.

    Returns
    -------
    list of str
        A role of `Role`; "unknown" where nothing was said; "nobody" where the person was dropped.
    """
    review = _Review(annotation)
    for change in changes:
        review.apply(change)
    roles = []
    for index in range(len(annotation["track_ids"])):
        shares = [
            (int(mask.sum()), str(person.role or "unknown"))
            for person in review.people.values()
            for source, mask in person.pieces
            if source == index
        ]
        roles.append(max(shares)[1] if shares else "nobody")
    return roles


def _arrays(annotation: Annotation, people: list[_Person], merged: dict[int, int]) -> dict[str, Any]:
    """Return the arrays over people, laid out anew."""
    # A person's single values are those of the first piece: the one whose ID it keeps.
    first = np.array([person.pieces[0][0] for person in people])
    arrays: dict[str, Any] = {}
    for key in _PER_FRAME:
        arrays[key] = np.zeros((len(people), *annotation[key].shape[1:]), annotation[key].dtype)
        for target, person in zip(arrays[key], people, strict=True):
            # Backwards, so that where two pieces share a frame the first one stands.
            for source, mask in reversed(person.pieces):
                target[mask] = annotation[key][source][mask]
    for key in _BREAKDOWNS:
        arrays[key] = {name: values[first] for name, values in annotation[key].items()}
    frames = np.array([person.frames() for person in people])
    ids = [person.track_id for person in people]
    arrays["track_ids"] = np.array(ids, annotation["track_ids"].dtype)
    arrays["composite_scores"] = -np.sort(-annotation["composite_scores"][first])
    arrays["track_length"] = frames.sum(axis=1).astype(annotation["track_length"].dtype)
    # What the ranking measured stays as it is for people who are as they were.
    present = annotation["keypoint_score"].max(axis=2) > 0
    same = (frames == present[first]).all(axis=1) & (np.array([len(person.pieces) for person in people]) == 1)
    quality = _quality(arrays["keypoint_score"], frames & ~arrays["filled"])
    arrays["track_quality"] = np.where(same, annotation["track_quality"][first], quality)
    partners = [_partner(int(annotation["best_partner"][i]), merged, set(ids)) for i in first]
    arrays["best_partner"] = np.array(partners, annotation["best_partner"].dtype)
    windows = _window_scores(annotation, people, frames)
    arrays["window_scores"] = np.where(same[:, None], annotation["window_scores"][first], windows)
    return arrays


def _quality(scores: npt.NDArray[np.float32], seen: Mask) -> npt.NDArray[np.float32]:
    """Return each person's mean joint score over the frames in which they were seen, 0 where they never were."""
    counts = np.maximum(seen.sum(axis=1), 1)
    sums = np.where(seen, scores.mean(axis=2), 0).sum(axis=1)
    return (sums / counts).astype(np.float32)


def _partner(track_id: int, merged: dict[int, int], known: set[int]) -> int:
    """Return whom a partner's ID stands for now, 0 where nobody."""
    # As often as there were merges: an ID that was freed and given again may lead in a circle.
    for _ in merged:
        if track_id not in known:
            track_id = merged.get(track_id, track_id)
    return track_id if track_id in known else 0


def _window_scores(annotation: Annotation, people: list[_Person], frames: Mask) -> npt.NDArray[np.float32]:
    """Return the involvement per window: the highest of the pieces', 0 where the person has no frame."""
    edges, scores = annotation["window_frames"], annotation["window_scores"]
    result = np.zeros((len(people), scores.shape[1]), np.float32)
    for row, person in enumerate(people):
        highest = scores[[source for source, _ in person.pieces]].max(axis=0, initial=0.0)
        for window, (start, end) in enumerate(pairwise(edges.tolist())):
            if frames[row, start:end].any():
                result[row, window] = highest[window]
    return result
