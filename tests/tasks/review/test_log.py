"""The review log: only grows, survives a crash, and gives back what stands."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.core.errors import FightposeError
from tasks.review.log import (
    LOG_NAME,
    DropPerson,
    Role,
    SetExcluded,
    SetLabel,
    SetOrder,
    SetRole,
    Undo,
    WriteNote,
    append_change,
    read_review,
    standing_changes,
)


def test_entries_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Who, when, which clip and what; also with names that would break a line."""
    clip = 'set/Fight/한글 "a"\nb'
    first = append_change(tmp_path, clip, "Kim", SetRole(track_id=3, role=Role.FIGHTER))
    second = append_change(tmp_path, clip, "Kim", WriteNote(text="line\nbreak"))
    assert read_review(tmp_path) == [first, second]
    assert first.time <= second.time
    assert standing_changes([first, second]) == {clip: [first, second]}


def test_without_a_log_nothing_was_said(tmp_path: Path) -> None:
    """A folder that nobody reviewed."""
    assert read_review(tmp_path) == []


def test_undo_takes_back_and_undo_of_undo_brings_back(tmp_path: Path) -> None:
    """Nothing is removed from the log; what stands follows from it."""
    keep = append_change(tmp_path, "a", "Kim", SetLabel(label=0))
    change = append_change(tmp_path, "a", "Kim", DropPerson(track_id=1))
    undo = append_change(tmp_path, "a", "Lee", Undo(entry=change.id))
    assert standing_changes(read_review(tmp_path)) == {"a": [keep]}
    append_change(tmp_path, "a", "Kim", Undo(entry=undo.id))
    assert standing_changes(read_review(tmp_path)) == {"a": [keep, change]}
    assert len((tmp_path / LOG_NAME).read_text().splitlines()) == 4


def test_undo_of_what_nobody_said_is_refused(tmp_path: Path) -> None:
    """An undo names a line of the same clip."""
    other = append_change(tmp_path, "b", "Kim", SetExcluded(excluded=True))
    for entry in ("nothing", other.id):
        with pytest.raises(FightposeError, match="to take back"):
            append_change(tmp_path, "a", "Kim", Undo(entry=entry))
    assert read_review(tmp_path) == [other]


def test_a_line_cut_off_by_a_crash_costs_only_itself(tmp_path: Path) -> None:
    """The half line was never confirmed; what is written after it can be read."""
    first = append_change(tmp_path, "a", "Kim", SetLabel(label=1))
    with (tmp_path / LOG_NAME).open("ab") as stream:
        stream.write(b'{"id": "half')
    assert read_review(tmp_path) == [first]
    second = append_change(tmp_path, "a", "Kim", SetLabel(label=0))
    assert read_review(tmp_path) == [first, second]


def test_a_damaged_line_is_named_and_not_passed_over(tmp_path: Path) -> None:
    """What a person said must not be lost silently."""
    append_change(tmp_path, "a", "Kim", SetLabel(label=1))
    with (tmp_path / LOG_NAME).open("ab") as stream:
        stream.write(b"not json\n")
    with pytest.raises(FightposeError, match=r"line 2 of .* is damaged"):
        read_review(tmp_path)


def test_changes_of_unknown_form_are_refused(tmp_path: Path) -> None:
    """An unknown kind, an unknown field, an ID of 0, a person named twice in an order."""
    append_change(tmp_path, "a", "Kim", SetLabel(label=1))
    line = json.loads((tmp_path / LOG_NAME).read_text())
    for change in ({"kind": "delete"}, {"kind": "label", "label": 1, "more": 2}, {"kind": "drop", "track_id": 0}):
        (tmp_path / LOG_NAME).write_text(json.dumps({**line, "change": change}) + "\n")
        with pytest.raises(FightposeError, match="is damaged"):
            read_review(tmp_path)
    with pytest.raises(ValidationError, match="named twice"):
        SetOrder(track_ids=(1, 2, 1))


def test_lines_of_many_writers_do_not_mix(tmp_path: Path) -> None:
    """Two people review at once."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: append_change(tmp_path, "a", f"p{i}", WriteNote(text="x" * 500)), range(20)))
    assert {entry.who for entry in read_review(tmp_path)} == {f"p{i}" for i in range(20)}
