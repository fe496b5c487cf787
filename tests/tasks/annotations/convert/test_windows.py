"""Windows of long clips."""

import numpy as np
import pytest

from tasks.annotations.convert.intervals import label_by_intervals
from tasks.annotations.convert.windows import cut_windows, label_by_involvement
from tasks.annotations.format import build_annotation
from tasks.annotations.validate import validate_annotation
from tasks.core.errors import FightposeError
from tests.scenes import person, tracks_of
from tests.tasks.samples import SETTINGS, sample_annotation, sample_clip, sample_involvement


def same_label(annotation, start, stop):
    """Give every window the clip's label."""
    return annotation["label"]


def test_windows_cover_the_clip_and_keep_the_contract():
    """The last one ends with the clip."""
    annotation = sample_annotation(3, 230)
    windows = cut_windows(annotation, 100, 50, same_label)
    assert [window["frame_dir"][-7:] for window in windows] == ["#000000", "#000050", "#000100", "#000130"]
    assert all(window["total_frames"] == 100 for window in windows)
    assert all(validate_annotation(window) == [] for window in windows)
    np.testing.assert_array_equal(windows[3]["keypoint"], annotation["keypoint"][:, 130:])


@pytest.mark.parametrize("frames", [1, 99, 100])
def test_a_clip_no_longer_than_a_window_is_one(frames):
    """Nothing is padded."""
    windows = cut_windows(sample_annotation(1, frames), 100, 50, same_label)
    assert [window["total_frames"] for window in windows] == [frames]


def test_people_and_windows_without_poses_are_left_out():
    """An annotation of nobody predicts noise."""
    people = [person(np.arange(0, 20), np.array([100.0, 100.0])), person(np.arange(0, 60), np.array([300.0, 100.0]))]
    tracks = tracks_of(people, 200)
    annotation = build_annotation(sample_clip(), tracks, sample_involvement([1, 2], frames=200), SETTINGS, {})
    windows = cut_windows(annotation, 50, 50, same_label)
    assert [window["track_ids"].tolist() for window in windows] == [[1, 2], [2]]


def test_a_window_is_labelled_by_involvement():
    """Near the clip's peak it is a fight, elsewhere it is none."""
    annotation = sample_annotation(2, 100)
    annotation["window_frames"] = np.array([0, 50, 100], np.int32)
    annotation["window_scores"] = np.array([[0.9, 0.2], [0.8, 0.1]], np.float32)
    rule = label_by_involvement()
    assert [window["label"] for window in cut_windows(annotation, 50, 50, rule)] == [1, 0]
    del annotation["window_scores"]
    assert [window["label"] for window in cut_windows(annotation, 50, 50, rule)] == [1, 1]


@pytest.mark.parametrize(
    "text",
    [
        "clip,start\na,1\n",
        "clip,start,stop,label\na,x,2,1\n",
        "clip,start,stop,label\na\n",
        "clip,start,stop,label\na,5,5,1\n",
        "clip,start,stop,label\na,-1,5,1\n",
        "clip,start,stop,label\na,1,5,-1\n",
    ],
)
def test_damaged_intervals_are_clear_errors(tmp_path, text):
    """They name the file and what it needs."""
    (tmp_path / "intervals.csv").write_text(text)
    with pytest.raises(FightposeError, match=r"intervals\.csv.*needs the columns"):
        label_by_intervals(tmp_path / "intervals.csv")


def test_impossible_windows_are_clear_errors():
    """No endless loop for a stride of 0."""
    with pytest.raises(FightposeError, match="stride of 0"):
        cut_windows(sample_annotation(1, 10), 5, 0, same_label)
