"""Clips that change after their folder's run reach the merged data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.runs import merging
from flows.runs.merging import mark_of, merge_if_wanted, merge_soon
from tasks.core.errors import FightposeError
from tasks.mapping.merged import DATASET_NAME
from tasks.mapping.run_lock import sole_run


@pytest.fixture
def merges(out: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Give an output root with a data set, and the merges that are made of it."""
    (out / ".fightpose").mkdir(parents=True)
    (out / DATASET_NAME).write_bytes(b"")
    made: list[Path] = []
    monkeypatch.setattr(merging, "merge_outputs", lambda root, splitting, leave_out: made.append(root))
    return made


def test_a_clip_that_changes_is_merged_at_once(out, merges):
    """Where no run holds the folder; no mark is left."""
    merge_soon(out)
    assert merges == [out]
    assert not mark_of(out).exists()


def test_many_clips_that_end_during_a_run_cost_one_merge(out, merges):
    """They leave a mark and do not wait; who held the folder merges."""
    with sole_run(out):
        for _ in range(50):
            merge_soon(out)
        assert merges == []
    merge_if_wanted(out)
    merge_if_wanted(out)
    assert merges == [out]


def test_what_changes_during_a_merge_is_merged_after_it(out, merges, monkeypatch):
    """It may have been read already."""

    def merge(root: Path, splitting: object, leave_out: object) -> None:
        """Merge, and have a clip end meanwhile at the first time."""
        merges.append(root)
        if len(merges) == 1:
            merge_soon(out)

    monkeypatch.setattr(merging, "merge_outputs", merge)
    merge_soon(out)
    assert merges == [out, out]


def test_a_folder_without_data_set_gets_none(tmp_path, merges):
    """A single clip is no data set."""
    merge_soon(tmp_path)
    assert merges == []


def test_a_merge_that_is_refused_does_not_fail_the_clip(out, merges, monkeypatch, caplog):
    """Its annotation is complete; a warning says what the next run will say."""

    def refuse(root: Path, splitting: object, leave_out: object) -> None:
        """Refuse."""
        raise FightposeError("two clips of one name")

    monkeypatch.setattr(merging, "merge_outputs", refuse)
    merge_soon(out)
    assert "two clips of one name" in caplog.text
