"""Defaults of the earlier scripts, and thresholds that follow the model."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.core.settings import PoseSettings, Settings, Thresholds, TrackingSettings
from tasks.poses.models import MOVENET


def test_the_earlier_scripts_defaults_are_the_thresholds_of_a_model_with_scores_up_to_one():
    """RTMO's entry has them as they were."""
    earlier = Thresholds()
    assert (earlier.score_thr, earlier.nms_thr) == (0.3, 0.35)
    assert (earlier.track_high_thresh, earlier.track_low_thresh) == (0.6, 0.1)
    assert earlier.quality_threshold == 0.3
    settings = Settings()
    assert settings.tracking.track_max_disappeared == 30
    assert settings.tracking.track_min_hits == 3
    assert settings.selection.min_track_length == 10


def test_open_thresholds_follow_the_model_and_given_ones_win():
    """Zero is a value that the user may want, not an open threshold."""
    given = Settings(poses=PoseSettings(score_thr=0.0), tracking=TrackingSettings(track_high_thresh=0.5))
    resolved = given.resolve(MOVENET.thresholds)
    assert resolved.poses.score_thr == 0.0
    assert resolved.tracking.track_high_thresh == 0.5
    assert resolved.poses.nms_thr == MOVENET.thresholds.nms_thr
    assert resolved.tracking.track_low_thresh == MOVENET.thresholds.track_low_thresh
    assert resolved.selection.quality_threshold == MOVENET.thresholds.quality_threshold
    assert given.poses.nms_thr is None


@pytest.mark.parametrize(
    "value",
    [
        {"poses": {"score_thr": 1.5}},
        {"poses": {"scorethr": 0.1}},
        {"selection": {"max_persons": 0}},
        {"pose": {}},
        {"dataset": {"classes": {"Fall": -1}}},
        {"dataset": {"label_pattern": "a"}},
        {"dataset": {"groups": "a.csv", "group_pattern": "a"}},
    ],
)
def test_values_out_of_range_and_misspelt_names_are_refused(value):
    """A typo must not pass for the default."""
    with pytest.raises(ValidationError):
        Settings.model_validate(value)


def test_settings_survive_json():
    """Prefect stores them so."""
    settings = Settings(poses=PoseSettings(score_thr=0.25))
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_files_of_labels_and_groups_are_found_from_any_folder(tmp_path, monkeypatch):
    """A retry reads them again, wherever it is started."""
    monkeypatch.chdir(tmp_path)
    settings = Settings.model_validate({"dataset": {"labels": "a.csv", "groups": "b.csv"}}).dataset
    assert (settings.labels, settings.groups) == (tmp_path / "a.csv", tmp_path / "b.csv")


def test_a_model_file_is_found_again_from_another_folder(tmp_path, monkeypatch):
    """By a worker of a pool, or a later retry; names stay names, and what is not there stays as it was typed."""
    monkeypatch.chdir(tmp_path)
    for name in ("x.onnx", "rtmo-s"):
        (tmp_path / name).touch()
    assert [PoseSettings(model=name).model for name in ("x.onnx", "rtmo-s", "y.onnx")] == [
        str(tmp_path / "x.onnx"),
        "rtmo-s",
        "y.onnx",
    ]
