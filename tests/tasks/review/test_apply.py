"""Corrections over an output root: what is written, what is kept, and what a rerun makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tasks.annotations.dataset import read_split
from tasks.annotations.format import read_annotation
from tasks.clips.failures import current_failures, log_failure
from tasks.core.errors import FailureReason, FightposeError
from tasks.mapping.receipts import finished
from tasks.mapping.verify import verify_mapping
from tasks.review.apply import apply_review, automatic_path, waiting_corrections
from tasks.review.log import (
    LOG_NAME,
    Change,
    DropPerson,
    Role,
    SetExcluded,
    SetLabel,
    SetOrder,
    SetRole,
    Undo,
    append_change,
)
from tests.review_outputs import KEY, Outputs, make_outputs


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """Give an output root of four annotated clips with receipts and a merged data set."""
    return make_outputs(tmp_path, 4)


def say(outputs: Outputs, clip: int, *changes: Change) -> str:
    """Append corrections of a clip and return the identifier of the last line."""
    for change in changes:
        entry = append_change(outputs.root, outputs.clips[clip].frame_dir, "tester", change)
    return entry.id


def annotation(outputs: Outputs, clip: int) -> dict:
    """Return the annotation that stands on disk."""
    return read_annotation(outputs.clips[clip].annotation_path)["annotations"][0]


def merged(outputs: Outputs) -> dict[str, dict]:
    """Return the annotations of the data set by identifier."""
    return {one["frame_dir"]: one for one in read_annotation(outputs.root / "dataset.pkl")["annotations"]}


def test_a_corrected_order_reaches_annotation_and_data_set(tmp_path):
    """The first two people of the data set are those that a person put first, and the deep check finds all in order."""
    outputs = make_outputs(tmp_path, 4, overlays=True)
    say(outputs, 0, SetOrder(track_ids=(1, 2)))
    report = apply_review(outputs.root)
    name = outputs.clips[0].frame_dir
    assert report.corrected == [name]
    assert annotation(outputs, 0)["track_ids"].tolist() == [1, 2, 3]
    assert merged(outputs)[name]["track_ids"].tolist() == [1, 2, 3]
    assert annotation(outputs, 0)["automatic"]["track_ids"].tolist() == [3, 2, 1]
    assert verify_mapping(outputs.root).lines() == []


def test_a_clip_that_failed_since_is_not_merged(outputs):
    """Its annotation is of an earlier run; a run merges without it, and so does a review."""
    failed = outputs.clips[1]
    log_failure(outputs.root, failed.path, failed.frame_dir, FailureReason.NO_TRACKS)
    say(outputs, 0, SetLabel(label=0))
    apply_review(outputs.root)
    assert merged(outputs).keys() == {clip.frame_dir for clip in outputs.clips if clip is not failed}


def test_a_corrected_clip_is_not_annotated_again(outputs):
    """Its receipt speaks of the corrected file; that of a clip which was outdated before still does not."""
    say(outputs, 0, SetLabel(label=0))
    say(outputs, 1, SetLabel(label=0))
    outputs.annotate(1, frames=21)
    apply_review(outputs.root)
    assert finished(outputs.clips[0], outputs.root, KEY) is not None
    assert finished(outputs.clips[1], outputs.root, KEY) is None


def test_corrections_do_not_add_up(outputs):
    """Applied twice, or one after the other, the annotation is made from the automatic one each time."""
    say(outputs, 0, DropPerson(track_id=3))
    apply_review(outputs.root)
    before = outputs.clips[0].annotation_path.stat().st_mtime_ns
    again = apply_review(outputs.root)
    assert (again.corrected, again.unchanged) == ([], 1)
    assert outputs.clips[0].annotation_path.stat().st_mtime_ns == before
    say(outputs, 0, SetRole(track_id=1, role=Role.FIGHTER))
    apply_review(outputs.root)
    assert annotation(outputs, 0)["track_ids"].tolist() == [1, 2]
    assert annotation(outputs, 0)["automatic"]["track_ids"].tolist() == [3, 2, 1]


def test_taking_everything_back_restores_the_automatic_file_byte_for_byte(outputs):
    """And the copy is gone, as it is no longer needed."""
    clip = outputs.clips[0]
    before = clip.annotation_path.read_bytes()
    entry = say(outputs, 0, DropPerson(track_id=3))
    apply_review(outputs.root)
    assert automatic_path(clip, outputs.root).read_bytes() == before
    say(outputs, 0, Undo(entry=entry))
    assert apply_review(outputs.root).restored == [clip.frame_dir]
    assert clip.annotation_path.read_bytes() == before
    assert not automatic_path(clip, outputs.root).exists()
    assert finished(clip, outputs.root, KEY) is not None


def test_an_outdated_annotation_does_not_become_a_new_file(outputs):
    """The check must go on to say that the clip changed; whether it was corrected before or not."""
    say(outputs, 0, SetLabel(label=0))
    apply_review(outputs.root)
    later = outputs.clips[0].annotation_path.stat().st_mtime + 60
    for number in (0, 1):
        os.utime(outputs.clips[number].path, (later, later))
        say(outputs, number, DropPerson(track_id=3))
    report = apply_review(outputs.root)
    assert report.corrected == []
    assert [clip for clip, told in report.problems if "run annotate again" in told] == [
        clip.frame_dir for clip in outputs.clips[:2]
    ]
    assert annotation(outputs, 1)["track_ids"].tolist() == [3, 2, 1]


def test_excluded_clips_stay_out_of_the_data_set_and_the_check_knows_it(outputs):
    """A clip in which nobody is left counts as excluded; both keep an annotation."""
    say(outputs, 0, SetExcluded(excluded=True))
    say(outputs, 1, *(DropPerson(track_id=i) for i in (1, 2, 3)))
    report = apply_review(outputs.root)
    names = {clip.frame_dir for clip in outputs.clips}
    assert set(report.excluded) == {outputs.clips[0].frame_dir, outputs.clips[1].frame_dir}
    assert set(merged(outputs)) == names - set(report.excluded)
    assert annotation(outputs, 1)["track_ids"].tolist() == [3, 2, 1]
    dataset_findings = [f for f in verify_mapping(outputs.root).findings if f.clip == "dataset.pkl"]
    assert dataset_findings == []


def test_clips_that_failed_at_last_do_not_come_back_into_the_data_set(outputs):
    """Their annotations are of an earlier run; the run left them out, and so does the check."""
    clip = outputs.clips[1]
    log_failure(outputs.root, clip.path, clip.frame_dir, FailureReason.LOW_QUALITY)
    say(outputs, 0, SetLabel(label=0))
    apply_review(outputs.root)
    assert merged(outputs).keys() == {other.frame_dir for other in outputs.clips} - {clip.frame_dir}


def test_a_failure_stands_though_the_annotation_is_corrected(outputs):
    """What is corrected, or restored, is the annotation of a run before the one that failed; a new one is a success."""
    clip = outputs.clips[0]
    log_failure(outputs.root, clip.path, clip.frame_dir, FailureReason.LOW_QUALITY, "why")
    entry = say(outputs, 0, SetLabel(label=0))
    assert apply_review(outputs.root).corrected == [clip.frame_dir]
    assert [failure.info for failure in current_failures(outputs.root)] == ["why"]
    assert clip.frame_dir not in merged(outputs)
    append_change(outputs.root, clip.frame_dir, "tester", Undo(entry=entry))
    assert apply_review(outputs.root).restored == [clip.frame_dir]
    assert len(current_failures(outputs.root)) == 1
    outputs.annotate(0)
    assert current_failures(outputs.root) == []


def test_no_clip_changes_its_split(outputs):
    """A relabelled clip stays where it was, or what was trained on would be tested on."""
    before = read_split(outputs.root / "dataset.pkl")
    say(outputs, 0, SetLabel(label=0))
    say(outputs, 2, SetLabel(label=0))
    apply_review(outputs.root)
    assert read_split(outputs.root / "dataset.pkl") == before


def test_a_new_automatic_annotation_takes_the_corrections_again(outputs):
    """After a run with other settings the log still stands, and the new annotation is the one that is kept."""
    clip = outputs.clips[0]
    say(outputs, 0, SetOrder(track_ids=(1,)))
    apply_review(outputs.root)
    assert waiting_corrections(outputs.root) == []
    outputs.annotate(0, frames=24)
    assert waiting_corrections(outputs.root) == [clip.frame_dir]
    apply_review(outputs.root)
    assert annotation(outputs, 0)["total_frames"] == 24
    assert annotation(outputs, 0)["track_ids"].tolist() == [1, 3, 2]
    assert read_annotation(automatic_path(clip, outputs.root))["annotations"][0]["total_frames"] == 24


def test_what_does_not_fit_is_told_and_costs_only_itself(outputs):
    """People and clips that are not there, and a copy that was lost."""
    say(outputs, 0, DropPerson(track_id=9), SetLabel(label=0))
    append_change(outputs.root, "set/Fight/gone", "tester", SetLabel(label=0))
    say(outputs, 1, SetLabel(label=0))
    apply_review(outputs.root)
    automatic_path(outputs.clips[1], outputs.root).unlink()
    say(outputs, 1, SetLabel(label=1))
    report = apply_review(outputs.root)
    told = dict(report.problems)
    assert told[outputs.clips[0].frame_dir] == "drop: there is no person 9"
    assert told["set/Fight/gone"] == "there is no such clip here"
    assert "run annotate again" in told[outputs.clips[1].frame_dir]
    assert annotation(outputs, 0)["label"] == 0


def test_a_folder_that_is_not_there_and_a_damaged_log_are_one_line(outputs, tmp_path):
    """Nothing is written then."""
    with pytest.raises(FightposeError, match="no output folder"):
        apply_review(tmp_path / "nowhere")
    (outputs.root / LOG_NAME).write_text("not json\n")
    with pytest.raises(FightposeError, match="line 1 of"):
        apply_review(outputs.root)


def test_earlier_corrected_values_are_real_arrays(outputs):
    """What mmaction2 reads of a corrected annotation has the types of an automatic one."""
    say(outputs, 0, SetOrder(track_ids=(2,)))
    automatic = annotation(outputs, 0)
    apply_review(outputs.root)
    corrected = annotation(outputs, 0)
    for key in ("keypoint", "keypoint_score", "bbox"):
        assert corrected[key].dtype == automatic[key].dtype
        np.testing.assert_array_equal(corrected[key][0], automatic[key][1])
