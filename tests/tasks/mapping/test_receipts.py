"""A clip is finished only as long as its input, its settings and its outputs are what they were."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.clips.discovery import Clip, find_clip
from tasks.core.choices import SecondLook
from tasks.core.records import VideoInfo
from tasks.core.settings import (
    DatasetSettings,
    LimitSettings,
    PoseSettings,
    SelectionSettings,
    Settings,
    TrackingSettings,
)
from tasks.core.storage import key_of
from tasks.mapping.findings import FindingKind
from tasks.mapping.receipts import (
    begin_outputs,
    begin_overlay,
    finished,
    overlay_is_current,
    settings_key,
    write_receipt,
)
from tasks.mapping.summary import ClipSummary
from tasks.mapping.verify import verify_mapping
from tasks.poses.stored import poses_path
from tests.review_outputs import make_outputs

SUMMARY = ClipSummary(frames=10, people=2, top=[(3, 0.75), (1, 0.5)], seconds={"poses": 1.5}, extracted=True)


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Give a clip whose outputs are there and whose receipt is written under the key "key"."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"video")
    record = find_clip(folder / "a.mp4", folder, tmp_path / "out")
    record.annotation_path.parent.mkdir(parents=True)
    record.annotation_path.write_bytes(b"annotation")
    record.overlay_path.write_bytes(b"overlay")
    write_receipt(record, tmp_path / "out", "hash", "key", True, SUMMARY)
    return record


def test_an_untouched_clip_is_finished_with_its_summary(clip, tmp_path):
    """The summary comes back as it was."""
    assert finished(clip, tmp_path / "out", "key") == SUMMARY
    assert finished(clip, tmp_path / "out", "other settings") is None


def test_another_label_makes_it_unfinished_but_keeps_its_overlay(clip, tmp_path):
    """The annotation holds the label; neither poses nor pictures do."""
    relabelled = replace(clip, label=clip.label + 1)
    assert finished(relabelled, tmp_path / "out", "key") is None
    assert overlay_is_current(relabelled, tmp_path / "out", "hash", "key")


@pytest.mark.parametrize("name", ["path", "annotation_path", "overlay_path"])
def test_a_changed_or_deleted_file_makes_it_unfinished(clip, tmp_path, name):
    """Input, annotation and overlay count alike."""
    path = getattr(clip, name)
    path.write_bytes(b"something else")
    assert finished(clip, tmp_path / "out", "key") is None
    path.unlink()
    assert finished(clip, tmp_path / "out", "key") is None


def test_a_receipt_cut_off_or_of_another_version_counts_for_nothing(clip, tmp_path):
    """The clip is simply done again."""
    receipt = next((tmp_path / "out" / ".fightpose" / "receipts").rglob("*.json"))
    for text in ("", "{", "[]", "{}", '{"key": "key"}', '{"key": "key", "input": [], "annotation": 1, "overlay": {}}'):
        receipt.write_text(text)
        assert finished(clip, tmp_path / "out", "key") is None
        assert not overlay_is_current(clip, tmp_path / "out", "hash", "key")


def test_an_overlay_is_current_for_its_content_and_key_only(clip, tmp_path):
    """Neither new content nor new settings keep an old overlay."""
    assert overlay_is_current(clip, tmp_path / "out", "hash", "key")
    assert not overlay_is_current(clip, tmp_path / "out", "other", "key")
    assert not overlay_is_current(clip, tmp_path / "out", "hash", "other")


def test_poses_are_keyed_by_content_model_and_what_alters_them(tmp_path):
    """Name and place of clip and model do not matter, nor the device."""
    video = VideoInfo(Path("a.mp4"), "hash", 64, 48, 25.0, 10, "mp4", "h264")
    moved = VideoInfo(Path("b.avi"), "hash", 64, 48, 25.0, 10, "mp4", "h264")
    other = VideoInfo(Path("a.mp4"), "other", 64, 48, 25.0, 10, "mp4", "h264")
    path = poses_path(tmp_path, video, "model", PoseSettings())
    assert poses_path(tmp_path, moved, "model", PoseSettings(model="x", device="cuda:0")) == path
    different = {
        poses_path(tmp_path, other, "model", PoseSettings()),
        poses_path(tmp_path, video, "model 2", PoseSettings()),
        poses_path(tmp_path, video, "model", PoseSettings(score_thr=0.1)),
    }
    assert len(different | {path}) == 4


def test_the_key_of_settings_follows_tracking_and_not_the_device():
    """What decides nothing makes nobody's clips stale."""
    key = settings_key(Settings(), "model")
    assert settings_key(Settings(poses=PoseSettings(device="cuda:1")), "model") == key
    assert settings_key(Settings(tracking=TrackingSettings(track_min_hits=4)), "model") != key
    assert settings_key(Settings(), "another model") != key
    assert settings_key(Settings(dataset=DatasetSettings(classes={"Fall": 2})), "model") == key


def test_outputs_of_earlier_versions_stay_unchanged():
    """The keys that the version before `Settings.decisive` gave, for defaults and for settings of every group.

    That version kept four people, and knew the settings that tuning chooses as constants.
    """
    four = SelectionSettings(max_persons=4)
    others = Settings(
        selection=four,
        poses=PoseSettings(score_thr=0.1, device="cuda:0", second_look=SecondLook.OFF),
        tracking=TrackingSettings(track_min_hits=4),
        dataset=DatasetSettings(classes={"a": 1}),
        limits=LimitSettings(time_limit=5.0),
    )
    assert settings_key(Settings(selection=four), "m") == "4d6f13ba6e751840f826d23a611115e4"
    assert settings_key(others, "m") == "b5dea1c0109755648848e1e1006a0311"
    assert key_of(1, "v", "m", others.poses.decisive()) == "8ca9222087221bb7fb154c420bce8fa9"


def test_an_overlay_that_a_killed_run_replaced_is_not_called_changed(tmp_path):
    """Killed between overlay and receipt; in the next complete run the clip fails, and keeps what there is."""
    outputs = make_outputs(tmp_path, 2, overlays=True)
    first, second = outputs.clips
    assert verify_mapping(outputs.root, deep=True).lines() == []
    # What a run does up to the receipt, with another overlay in place of a new one.
    begin_outputs(first, outputs.root)
    begin_overlay(first, outputs.root)
    shutil.copy(second.overlay_path, first.overlay_path)
    found = verify_mapping(outputs.root, deep=True).findings
    assert FindingKind.CHANGED not in {line.kind for line in found if line.clip == first.frame_dir}
    # Without the note it is somebody's change.
    second.overlay_path.write_bytes(second.overlay_path.read_bytes() + b"x")
    found = verify_mapping(outputs.root, deep=True).findings
    assert FindingKind.CHANGED in {line.kind for line in found if line.clip == second.frame_dir}
