"""Corrected annotations, made from the automatic ones and what people said.

Each corrected person is a list of pieces: which automatic person, in which frames. Merging joins the pieces of two,
splitting and swapping share the frames out, so that every correction can be undone without having lost anything. The
automatic values stay in the corrected annotation under `automatic`, and what was applied under `review`.

Corrections may also name people that the annotation leaves out (`tasks.annotations.other_tracks`). Such a person comes
into the annotation when it is called a fighter, put into the order, or joined to somebody who is in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import Annotation, confidence_of
from tasks.annotations.other_tracks import OtherTracks
from tasks.review.log import (
    Change,
    DropPerson,
    MergeTracks,
    MoveJoints,
    PersonChange,
    Role,
    SetExcluded,
    SetLabel,
    SetOrder,
    SetRole,
    SplitTrack,
    SwapTracks,
    WriteNote,
    named_people,
)
from tasks.review.moved_joints import Moves

Mask = npt.NDArray[np.bool_]

# Fighters come before unmarked people, and bystanders after them.
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
    left_out
        People that corrections name and who are still not in the annotation: the same keys as in an annotation, for
        those that have an array over people.
    """

    annotation: Annotation | None
    excluded: bool
    note: str
    misfits: list[str]
    left_out: Annotation = field(default_factory=dict)


@dataclass(slots=True)
class _Person:
    """A person while corrections are applied.

    Attributes
    ----------
    track_id
        The person's ID.
    pieces
        Automatic person and the frames (T,) that come from it; where two pieces share a frame, the first one counts.
    role
        What was said of the person.
    listed
        Whether the person is in the annotation.
    """

    track_id: int
    pieces: list[tuple[int, Mask]]
    role: Role | None = None
    listed: bool = True

    def frames(self) -> Mask:
        """Return the frames (T,) in which the person has a pose."""
        return np.any([mask for _, mask in self.pieces], axis=0)


class _Review:
    """The state that the corrections of one clip change one after the other."""

    def __init__(self, annotation: Annotation, listed: int) -> None:
        """Start from the automatic people; the first `listed` of them are in the annotation."""
        # (M, T): a frame in which no joint has a score is one without the person.
        present = annotation["keypoint_score"].max(axis=2) > 0
        ids = annotation["track_ids"].tolist()
        self.people = {
            track_id: _Person(track_id, [(i, present[i])], listed=i < listed) for i, track_id in enumerate(ids)
        }
        self.order: tuple[int, ...] = ()
        self.label = int(annotation["label"])
        self.excluded = False
        self.note = ""
        # The person that a merged track's ID means now, for `best_partner`.
        self.merged: dict[int, int] = {}
        self.moves = Moves(annotation["img_shape"])

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
                # People who are ranked by hand belong into the annotation, wherever they were before.
                for track_id in change.track_ids:
                    if track_id in self.people:
                        self.people[track_id].listed = True
            case PersonChange():
                return self._apply_to_person(change)
        return None

    def _apply_to_person(self, change: PersonChange) -> str | None:
        """Apply a correction that names people, if they are there."""
        for track_id in change.named():
            if track_id not in self.people:
                what = change.kind
                return f"{what}: there is no person {track_id}"
        match change:
            case SetRole():
                person = self.people[change.track_id]
                person.role = change.role
                # A bystander that the annotation leaves out is right to be left out.
                person.listed |= change.role is Role.FIGHTER
            case DropPerson():
                del self.people[change.track_id]
            case MergeTracks():
                return self._merge(change)
            case SplitTrack():
                return self._split(change)
            case SwapTracks():
                return self._swap(change)
            case MoveJoints():
                return self.moves.note(change, self.people[change.track_id].pieces)
        return None

    def _merge(self, change: MergeTracks) -> str | None:
        """Give one person's pieces to another."""
        if change.into == change.other:
            return f"merge: {change.into} is one person already"
        other, kept = self.people.pop(change.other), self.people[change.into]
        # At the end, so that the kept person's own poses count where both have one in a frame.
        kept.pieces += other.pieces
        kept.listed |= other.listed
        self.merged[change.other] = change.into
        return None

    def _split(self, change: SplitTrack) -> str | None:
        """Give a person's frames from one on to a new person, who takes the next place."""
        if change.new_id in self.people:
            return f"split: the ID {change.new_id} is taken"
        person = self.people[change.track_id]
        early, late = _cut(person, change.frame)
        # With an empty side there would be somebody who is never seen, or only another ID.
        if not _any_frame(early) or not _any_frame(late):
            return f"split: person {change.track_id} is not on both sides of frame {change.frame}"
        person.pieces = early
        new = _Person(change.new_id, late, person.role, person.listed)
        # The order of the dict is the rank where neither a hand nor a role decides.
        ordered = list(self.people.values())
        ordered.insert(ordered.index(person) + 1, new)
        self.people = {each.track_id: each for each in ordered}
        return None

    def _swap(self, change: SwapTracks) -> str | None:
        """Exchange what two people have from a frame on; ranks and roles stay with the IDs."""
        first, second = self.people[change.track_id], self.people[change.other]
        (early, late), (early_other, late_other) = _cut(first, change.frame), _cut(second, change.frame)
        # One of the two is enough on each side: IDs often change places where one comes and the other goes.
        if not _any_frame(late) and not _any_frame(late_other):
            return f"swap: neither {change.track_id} nor {change.other} is there from frame {change.frame} on"
        if not _any_frame(early) and not _any_frame(early_other):
            return f"swap: neither {change.track_id} nor {change.other} is there before frame {change.frame}"
        first.pieces, second.pieces = early + late_other, early_other + late
        return None

    def ranked(self) -> list[_Person]:
        """Return the people of the annotation in rank order: as ordered by hand, then by role, then as they were."""
        # A swap may have left somebody without any frame.
        there = {
            track_id: person for track_id, person in self.people.items() if person.listed and _any_frame(person.pieces)
        }
        # `sorted` is stable: within a role people stay as the run ranked them.
        by_role = sorted(there.values(), key=lambda person: _PLACE[person.role])
        first = [there[track_id] for track_id in self.order if track_id in there]
        return first + [person for person in by_role if person.track_id not in self.order]

    def left_out(self) -> list[_Person]:
        """Return the people who are not in the annotation, as they were."""
        return [person for person in self.people.values() if not person.listed and _any_frame(person.pieces)]


def _cut(person: _Person, frame: int) -> tuple[list[tuple[int, Mask]], list[tuple[int, Mask]]]:
    """Return a person's pieces before a frame, and from that frame on; pieces without a frame are left out."""
    late = np.arange(len(person.pieces[0][1])) >= frame if person.pieces else np.zeros(0, np.bool_)
    sides = [[(source, mask & side) for source, mask in person.pieces] for side in (~late, late)]
    # Somebody who has no frame on a side keeps an empty piece there: it says where the person's values come from.
    before, after = ([piece for piece in side if piece[1].any()] or side[:1] for side in sides)
    return before, after


def _any_frame(pieces: list[tuple[int, Mask]]) -> bool:
    """Tell whether there is a frame in any of the pieces."""
    return any(mask.any() for _, mask in pieces)


def apply_changes(annotation: Annotation, changes: Iterable[Change], others: OtherTracks | None = None) -> Applied:
    """Return an annotation with corrections applied, in the order in which they were made.

    Parameters
    ----------
    annotation
        An automatic annotation as `tasks.annotations.format.build_annotation` makes it; left as it is.
    changes
        The corrections that count (`tasks.review.log.standing_changes`).
    others
        The people that the annotation leaves out, None where they are not known.

    Returns
    -------
    Applied
        The corrected annotation keeps the contract, but for one rule: each person keeps the score that the ranking gave
        them, so that `composite_scores` fall with the rank only as far as people agreed with the ranking.
    """
    changes = list(changes)
    # From here on `annotation` also has the other people that corrections name; `automatic` is what the run wrote.
    automatic, annotation = annotation, _with_named(annotation, changes, others)
    review = _Review(annotation, len(automatic["track_ids"]))
    misfits = [problem for change in changes if (problem := review.apply(change)) is not None]
    people = review.ranked()
    # An annotation needs somebody; without anybody the clip stays out of the data set.
    if not people:
        return Applied(None, True, review.note, misfits)
    # What earlier corrections recorded about themselves would be wrong for these.
    annotation = review.moves.applied_to(annotation)
    corrected = {key: value for key, value in annotation.items() if key not in ("review", "automatic")}
    corrected |= _arrays(annotation, people, review.merged)
    # Of the people as they are now; annotations of earlier versions have none.
    if "identity_confidence" in annotation:
        corrected["identity_confidence"] = confidence_of(corrected)
    corrected["label"] = review.label
    corrected["automatic"] = {
        "label": int(automatic["label"]),
        "track_ids": automatic["track_ids"].copy(),
        "composite_scores": automatic["composite_scores"].copy(),
    }
    # Who came in from outside is recorded, so that the overlay does not draw them among the others as well.
    sources = {int(annotation["track_ids"][source]) for person in people for source, _ in person.pieces}
    corrected["review"] = {
        "changes": [change.model_dump(mode="json") for change in changes],
        # People that the annotation leaves out may have a role, too.
        "roles": {str(person.track_id): str(person.role) for person in review.people.values() if person.role},
        "joined": sorted(sources - set(automatic["track_ids"].tolist())),
        "excluded": review.excluded,
        "note": review.note,
    }
    rest = review.left_out()
    left_out = _arrays(annotation, rest, review.merged) if rest else {}
    return Applied(corrected, review.excluded, review.note, misfits, left_out)


def _with_named(annotation: Annotation, changes: Iterable[Change], others: OtherTracks | None) -> Annotation:
    """Return an annotation with those of the other people that corrections name, after its own."""
    return annotation if others is None else others.joined_to(annotation, named_people(changes))


def automatic_roles(annotation: Annotation, changes: Iterable[Change], others: OtherTracks | None = None) -> list[str]:
    """Return what corrections say about each person of the automatic annotation, in rank order.

    A person who was shared out takes the role of the corrected person that got most of its frames.

    Returns
    -------
    list of str
        A role of `Role`; "unknown" where nothing was said; "nobody" where the person was dropped.
    """
    # Gone through twice, which an iterator does not survive.
    changes = list(changes)
    count = len(annotation["track_ids"])
    review = _Review(_with_named(annotation, changes, others), count)
    for change in changes:
        review.apply(change)
    roles = []
    for index in range(count):
        # Splits and swaps share a person out: the corrected person with most of the frames decides.
        shares = [
            (int(mask.sum()), str(person.role or "unknown"))
            for person in review.people.values()
            for source, mask in person.pieces
            if source == index
        ]
        roles.append(max(shares)[1] if shares else "nobody")
    return roles


def _arrays(annotation: Annotation, people: list[_Person], merged: dict[int, int]) -> dict[str, Any]:
    """Return the arrays over people in their corrected order."""
    # A person's single values are those of the first piece: the one whose ID it keeps.
    first = np.array([person.pieces[0][0] for person in people])
    arrays: dict[str, Any] = {}
    for key in _PER_FRAME:
        arrays[key] = np.zeros((len(people), *annotation[key].shape[1:]), annotation[key].dtype)
        for target, person in zip(arrays[key], people, strict=True):
            # Backwards, so that where two pieces share a frame the first one counts.
            for source, mask in reversed(person.pieces):
                target[mask] = annotation[key][source][mask]
    for key in _BREAKDOWNS:
        arrays[key] = {name: values[first] for name, values in annotation[key].items()}
    frames = np.array([person.frames() for person in people])
    ids = [person.track_id for person in people]
    arrays["track_ids"] = np.array(ids, annotation["track_ids"].dtype)
    # Corrections say who is who, not how much anybody fights: scores stay the ranking's.
    arrays["composite_scores"] = annotation["composite_scores"][first]
    arrays["track_length"] = frames.sum(axis=1).astype(annotation["track_length"].dtype)
    # What the ranking measured stays as it is for people who are as they were.
    present = annotation["keypoint_score"].max(axis=2) > 0
    same = (frames == present[first]).all(axis=1) & (np.array([len(person.pieces) for person in people]) == 1)
    # Filled poses are estimated, and say nothing about how well a person was seen.
    quality = _quality(arrays["keypoint_score"], frames & ~arrays["filled"])
    arrays["track_quality"] = np.where(same, annotation["track_quality"][first], quality)
    # The partner may have been merged into somebody else, or dropped.
    partners = [_partner(int(annotation["best_partner"][i]), merged, set(ids)) for i in first]
    # Somebody who was joined with their best partner has none left.
    partners = [0 if partner == own else partner for partner, own in zip(partners, ids, strict=True)]
    arrays["best_partner"] = np.array(partners, annotation["best_partner"].dtype)
    windows = _window_scores(annotation, people, frames)
    arrays["window_scores"] = np.where(same[:, None], annotation["window_scores"][first], windows)
    return arrays


def _quality(scores: npt.NDArray[np.float32], seen: Mask) -> npt.NDArray[np.float32]:
    """Return each person's mean joint score over the frames in which they were seen, 0 where they never were."""
    # At least 1, since somebody may be filled in throughout.
    counts = np.maximum(seen.sum(axis=1), 1)
    sums = np.where(seen, scores.mean(axis=2), 0).sum(axis=1)
    return (sums / counts).astype(np.float32)


def _partner(track_id: int, merged: dict[int, int], known: set[int]) -> int:
    """Return the ID of the person that a partner's ID means now, 0 for nobody."""
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
        # A piece without frames only says where single values come from; its scores do not count.
        highest = scores[[source for source, mask in person.pieces if mask.any()]].max(axis=0, initial=0.0)
        for window, (start, end) in enumerate(pairwise(edges.tolist())):
            if frames[row, start:end].any():
                result[row, window] = highest[window]
    return result
