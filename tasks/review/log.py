"""What people said about annotations: a log that only grows.

`<output root>/review.json` holds one JSON object per line: who said what about which clip, and when. Nothing is ever
changed or removed in it; an undo is a line of its own that names the line it takes back, and can itself be taken back.
The annotations are not touched by it: `tasks.review.corrections` makes corrected ones from the automatic ones and this
log.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tasks.core.errors import FightposeError
from tasks.core.skeleton import KEYPOINTS
from tasks.core.storage import append_line, complete_lines

LOG_NAME = "review.json"

LARGEST = 2**31 - 1
"""Largest track ID and frame number: annotations hold both as int32."""

TrackId = Annotated[int, Field(ge=1, le=LARGEST)]
FrameIndex = Annotated[int, Field(ge=0, le=LARGEST)]
# Joints may lie outside of the frame, but not so far that float32 loses pixels.
Pixel = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]


class Role(StrEnum):
    """What a person does in the clip."""

    FIGHTER = "fighter"
    BYSTANDER = "bystander"
    UNSURE = "unsure"


class _Record(BaseModel):
    """A part of the log: immutable, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Change(_Record):
    """One correction."""

    kind: str

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return self.kind

    def named(self) -> tuple[int, ...]:
        """Return the IDs of the people that it names."""
        return ()


class PersonChange(_Change):
    """A correction that names people and needs them to be there."""


class OnePersonChange(PersonChange):
    """A correction that is about one person first."""

    track_id: TrackId

    def named(self) -> tuple[int, ...]:
        """Return the IDs of the people that it names."""
        return (self.track_id,)


class SetRole(OnePersonChange):
    """A person is a fighter, a bystander, or cannot be judged."""

    kind: Literal["role"] = "role"
    role: Role

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        # Whole sentences, which can be translated.
        return {
            Role.FIGHTER: f"ID {self.track_id} is a fighter",
            Role.BYSTANDER: f"ID {self.track_id} is a bystander",
            Role.UNSURE: f"ID {self.track_id} is unsure",
        }[self.role]


class SetOrder(_Change):
    """These people come first, in this order; those not named follow as they were."""

    kind: Literal["order"] = "order"
    track_ids: tuple[TrackId, ...] = Field(min_length=1)

    @field_validator("track_ids")
    @classmethod
    def _once_each(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        """Refuse a person that is named twice."""
        if len(set(value)) != len(value):
            raise ValueError("a person is named twice")
        return value

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return f"order {', '.join(map(str, self.track_ids))}"

    def named(self) -> tuple[int, ...]:
        """Return the IDs of the people that it names."""
        return self.track_ids


class MergeTracks(PersonChange):
    """Two tracks are one person, who keeps the ID `into`."""

    kind: Literal["merge"] = "merge"
    into: TrackId
    other: TrackId

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return f"ID {self.other} is the same person as ID {self.into}"

    def named(self) -> tuple[int, ...]:
        """Return the IDs of the people that it names."""
        return self.into, self.other


class SplitTrack(OnePersonChange):
    """From a frame on, a track is another person, who gets the ID `new_id`."""

    kind: Literal["split"] = "split"
    frame: int = Field(ge=1, le=LARGEST)
    new_id: TrackId

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return f"from frame {self.frame} on, ID {self.track_id} is another person, ID {self.new_id}"


class SwapTracks(OnePersonChange):
    """From a frame on, two tracks have each other's person: their IDs change places there."""

    kind: Literal["swap"] = "swap"
    other: TrackId
    frame: int = Field(ge=1, le=LARGEST)

    @model_validator(mode="after")
    def _two_people(self) -> SwapTracks:
        """Refuse a person that changes places with itself."""
        if self.track_id == self.other:
            raise ValueError("a person cannot change places with itself")
        return self

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return f"from frame {self.frame} on, ID {self.track_id} and ID {self.other} change places"

    def named(self) -> tuple[int, ...]:
        """Return the IDs of the people that it names."""
        return self.track_id, self.other


class DropPerson(OnePersonChange):
    """What was tracked is nobody, or does not belong into the annotation."""

    kind: Literal["drop"] = "drop"

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return f"ID {self.track_id} is dropped"


class MovedJoint(_Record):
    """A joint that a person put somewhere else, in stored pixels; `place` is None where it is not to be seen."""

    name: str
    place: tuple[Pixel, Pixel] | None

    @field_validator("name")
    @classmethod
    def _is_known(cls, value: str) -> str:
        """Refuse what is no joint of the skeleton."""
        if value not in KEYPOINTS:
            raise ValueError(f"{value[:40]!r} is no joint")
        return value


class MoveJoints(OnePersonChange):
    """Joints of a person are elsewhere in some frames."""

    kind: Literal["joints"] = "joints"
    frames: dict[FrameIndex, tuple[MovedJoint, ...]] = Field(min_length=1)

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        count = sum(map(len, self.frames.values()))
        return f"joints of ID {self.track_id} moved: {count} in {len(self.frames)} frames"


class SetLabel(_Change):
    """The clip is of this class: 1 is a fight and 0 none, unless the run named other classes."""

    kind: Literal["label"] = "label"
    label: int = Field(ge=0, le=9999)

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return "labelled Fight" if self.label else "labelled no fight"


class SetExcluded(_Change):
    """The clip stays out of the data set, or comes back into it."""

    kind: Literal["exclude"] = "exclude"
    excluded: bool

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return "excluded from the data set" if self.excluded else "back in the data set"


class WriteNote(_Change):
    """A remark; the last one counts."""

    kind: Literal["note"] = "note"
    text: str = Field(max_length=4000)

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return f"note: {self.text}"


class SetChecked(_Change):
    """Someone has looked at the clip, and what is said of it counts; or it is to be looked at again."""

    kind: Literal["checked"] = "checked"
    checked: bool

    def words(self) -> str:
        """Return the correction as a person reads it in the history."""
        return "checked" if self.checked else "to be looked at again"


class Undo(_Change):
    """An earlier line is taken back; taking back an undo brings its line back."""

    kind: Literal["undo"] = "undo"
    entry: str


Change = (
    SetRole
    | SetOrder
    | MergeTracks
    | SplitTrack
    | SwapTracks
    | DropPerson
    | MoveJoints
    | SetLabel
    | SetExcluded
    | WriteNote
    | SetChecked
    | Undo
)


class Entry(_Record):
    """One line of the log.

    Attributes
    ----------
    id
        Unique in the log.
    time
        Seconds since 1970.
    who
        Name of the person, as they gave it.
    clip
        The clip's identifier (`frame_dir`).
    change
        What was said.
    """

    id: str
    time: float
    who: str = Field(max_length=200)
    clip: str
    change: Annotated[Change, Field(discriminator="kind")]


def append_change(output_root: Path, clip: str, who: str, change: Change) -> Entry:
    """Add a correction to the log and return its line.

    Raises
    ------
    FightposeError
        If an undo names no line of this clip, or the log cannot be written.
    """
    # An undo of nothing, or of another clip's line, could never be explained later.
    if isinstance(change, Undo) and not any(
        entry.id == change.entry and entry.clip == clip for entry in read_review(output_root)
    ):
        raise FightposeError(f"there is no correction {change.entry} of {clip} to take back; reload the page")
    entry = Entry(id=uuid.uuid4().hex, time=time.time(), who=who, clip=clip, change=change)
    append_line(output_root / LOG_NAME, json.dumps(entry.model_dump(mode="json"), ensure_ascii=True))
    return entry


def read_review(output_root: Path) -> list[Entry]:
    """Return every line of the log, oldest first; without a log there are none.

    Raises
    ------
    FightposeError
        If the log cannot be read or a line in it is damaged: what a person said must not be lost silently. Only a
        line whose writer died half way is passed over: it was never confirmed to anybody.
    """
    path = output_root / LOG_NAME
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FightposeError(f"cannot read {path}: {error.strerror or error}; fix its permissions") from error
    entries = []
    # With their numbers in the file, so that a person finds the one that is damaged.
    for number, line in complete_lines(raw):
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise FightposeError(
                f"line {number} of {path} is damaged ({problem}); mend it or move it out of the file"
            ) from error
    return entries


def standing_changes(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return the corrections that still count by clip, oldest first; undos and what they took back are left out."""
    return _standing(entries)[0]


def standing_exclusions(output_root: Path) -> set[str]:
    """Return the identifiers of the clips that the log keeps out of the data set, applied or not.

    Raises
    ------
    FightposeError
        See `read_review`.
    """
    changes = standing_changes(read_review(output_root))
    last = {
        clip: [entry.change.excluded for entry in entries if isinstance(entry.change, SetExcluded)][-1:]
        for clip, entries in changes.items()
    }
    return {clip for clip, said in last.items() if said == [True]}


def standing_undos(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return the undos that still count by clip, oldest first: taking one of them back is a redo."""
    return _standing(entries)[1]


def _standing(entries: Iterable[Entry]) -> tuple[dict[str, list[Entry]], dict[str, list[Entry]]]:
    """Return the corrections and the undos that count, each by clip and oldest first."""
    taken_back: set[str] = set()
    standing: dict[str, list[Entry]] = {}
    undos: dict[str, list[Entry]] = {}
    # Newest first: an undo names an older line, so whether it counts itself is known when it is met.
    for entry in reversed(list(entries)):
        if entry.id in taken_back:
            continue
        if isinstance(entry.change, Undo):
            taken_back.add(entry.change.entry)
            undos.setdefault(entry.clip, []).append(entry)
        else:
            standing.setdefault(entry.clip, []).append(entry)
    # They were collected newest first.
    in_order = [{clip: lines[::-1] for clip, lines in found.items()} for found in (standing, undos)]
    return in_order[0], in_order[1]


def named_people(changes: Iterable[Change]) -> set[int]:
    """Return the IDs of all people that corrections name."""
    return {track_id for change in changes for track_id in change.named()}
