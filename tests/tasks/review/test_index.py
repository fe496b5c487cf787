"""The index of the gallery: what it knows without opening annotations, and what it finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.annotations.format import only_annotation
from tasks.clips.failures import log_failure
from tasks.core.errors import FailureReason
from tasks.review.gallery import find_clips, verdict_of
from tasks.review.index import clip_id, open_index, poster_frame, read_rows, refresh_index, review_folder, unread
from tasks.review.log import SetChecked, SetExcluded, SetLabel, append_change, read_review, standing_changes
from tests.review_outputs import Outputs, make_outputs


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """Give an output root of six annotated clips."""
    return make_outputs(tmp_path, 6)


def test_only_changed_annotations_are_read_again(outputs, monkeypatch):
    """Opening costs a look at each file; what is current stays."""
    rows, _ = open_index(outputs.root)
    assert len(unread(rows)) == 6
    refresh_index(outputs.root)
    read: list[Path] = []
    monkeypatch.setattr("tasks.review.index.only_annotation", lambda path: read.append(path) or only_annotation(path))
    outputs.annotate(2, frames=24)
    refresh_index(outputs.root)
    assert read == [outputs.clips[2].annotation_path]
    rows, _ = open_index(outputs.root)
    assert rows[clip_id(outputs.clips[2].frame_dir)]["frames"] == 24


@pytest.mark.parametrize("text", ["", "[]", "not json", '{"version": 0, "rows": []}', '{"version": 1}'])
def test_a_damaged_index_is_made_anew(outputs, text):
    """It holds nothing that cannot be read again."""
    review_folder(outputs.root).mkdir(parents=True)
    (review_folder(outputs.root) / "index.json").write_text(text)
    refresh_index(outputs.root)
    assert unread(open_index(outputs.root)[0]) == []


def test_a_row_says_what_the_annotation_holds(outputs):
    """Scores by ID, the split, and no NaN that JSON does not know."""
    refresh_index(outputs.root)
    rows, clips = open_index(outputs.root)
    row = rows[clip_id(outputs.clips[0].frame_dir)]
    assert row["top"] == [[3, 0.9], [2, 0.5], [1, 0.1]]
    assert (row["people"], row["frames"], row["label"]) == (3, 20, 1)
    assert row["split"] in ("train", "val", "test")
    json.dumps(rows, allow_nan=False)
    assert set(clips) == set(rows)


def test_failed_and_unreadable_clips_are_rows_too(outputs):
    """With what is known of them; a run that was stopped left clips without anything."""
    log_failure(outputs.root, "x", outputs.clips[0].frame_dir, FailureReason.NO_TRACKS, "nobody there")
    for number in (0, 1):
        outputs.clips[number].annotation_path.unlink()
    outputs.clips[2].annotation_path.write_bytes(b"no pickle")
    refresh_index(outputs.root)
    rows, _ = open_index(outputs.root)
    found = [rows[clip_id(clip.frame_dir)] for clip in outputs.clips[:3]]
    assert [row["status"] for row in found] == ["failed", "failed", "unreadable"]
    assert [row.get("reason") for row in found] == ["NO_TRACKS", "NOT_ANNOTATED", None]
    assert found[2]["info"]


def test_reading_can_be_stopped_and_keeps_what_it_has(outputs):
    """A page that is closed at once must not wait for thousands of files."""
    rows, clips = open_index(outputs.root)
    asked = []
    read_rows(outputs.root, rows, clips, stopped=lambda: len(asked) >= 2 or asked.append(1))
    assert len(unread(open_index(outputs.root)[0])) == 4


def test_the_poster_is_the_busiest_window_of_the_first_two():
    """Without windows it is the middle."""
    scores = np.zeros((1, 30, 17), np.float32)
    windows = np.array([[0.1, 0.1, 0.9], [0.1, 0.5, 0.1], [0.0, 9.0, 0.0]], np.float32)
    edges = np.array([0, 10, 20, 30], np.int32)
    assert poster_frame({"keypoint_score": scores, "window_frames": edges, "window_scores": windows}) == 25
    assert poster_frame({"keypoint_score": scores}) == 15


def test_what_was_said_decides_filters_and_counts(outputs):
    """A relabelled clip is found under its new label; what is checked, excluded or not applied yet, too."""
    refresh_index(outputs.root)
    for number, change in enumerate(
        [SetLabel(label=0), SetExcluded(excluded=True), SetChecked(checked=True), SetExcluded(excluded=False)]
    ):
        append_change(outputs.root, outputs.clips[number].frame_dir, "tester", change)
    verdicts = {clip: verdict_of(lines) for clip, lines in standing_changes(read_review(outputs.root)).items()}
    rows = open_index(outputs.root)[0].values()

    def found(**query: str) -> list[str]:
        """Return the names that a query finds."""
        return [clip["name"] for clip in find_clips(rows, verdicts, query)["clips"]]

    names = [clip.frame_dir for clip in outputs.clips]
    assert found(label="fight") == names[1:3]
    assert found(state="excluded") == [names[1]]
    assert found(state="checked") == [names[2]]
    assert found(state="waiting") == found(state="corrected") == names[:4]
    assert found(text="WALK", sort="people") == names[3:]
    counts = find_clips(rows, verdicts, {})["counts"]
    assert counts["label"] == {"0": 4, "1": 2}
    assert sum(counts["split"].values()) == 6
