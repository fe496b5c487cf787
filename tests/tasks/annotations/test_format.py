"""The annotation: its contract, its file, and the merged data set."""

import pickle
import re

import numpy as np
import pytest

from tasks.annotations.dataset import merge_dataset, read_split
from tasks.annotations.format import AnnotationError, build_annotation, read_annotation, write_annotation
from tasks.annotations.validate import validate_annotation
from tasks.core.errors import ClipError, FailureReason
from tests.scenes import person, tracks_of
from tests.tasks.samples import SETTINGS, sample_annotation, sample_clip, sample_involvement, sample_tracks


def test_the_contract_of_mmaction_holds():
    """Keys, shapes and types as PoseDataset and pyskl expect them."""
    annotation = sample_annotation(people=3, frames=20)
    assert annotation["frame_dir"] == "set/Fight/a"
    assert annotation["label"] == 1
    assert annotation["total_frames"] == 20
    assert annotation["img_shape"] == annotation["original_shape"] == (360, 640)
    assert annotation["keypoint"].shape == (3, 20, 17, 2)
    assert annotation["keypoint_score"].shape == (3, 20, 17)
    assert annotation["bbox"].shape == (3, 20, 4)
    assert annotation["filled"].shape == (3, 20)
    for key in ("keypoint", "keypoint_score", "bbox", "composite_scores", "window_scores"):
        assert annotation[key].dtype == np.float32
    assert "filename" not in annotation


def test_people_stand_in_rank_order_and_in_their_frames():
    """Track 3 is ranked first; every row is where its track and frame say."""
    tracks = sample_tracks(people=3)
    annotation = sample_annotation(people=3)
    assert annotation["track_ids"].tolist() == [3, 2, 1]
    for row in range(len(tracks)):
        m, t = 3 - tracks.track_id[row], tracks.poses.frame_index[row]
        np.testing.assert_array_equal(annotation["bbox"][m, t], tracks.poses.bbox[row])
        np.testing.assert_array_equal(annotation["keypoint_score"][m, t], tracks.poses.keypoint_scores[row])
        np.testing.assert_array_equal(annotation["keypoint"][m, t, 5:], tracks.poses.keypoints[row, 5:])
        assert annotation["filled"][m, t] == tracks.filled[row]
    assert np.all(np.diff(annotation["composite_scores"]) <= 0)


def test_what_is_missing_is_zero():
    """A joint of score 0 has no place either, and a person has nothing in a frame without a row."""
    annotation = sample_annotation(people=2)
    assert not annotation["keypoint"][annotation["keypoint_score"] == 0].any()
    absent = ~annotation["bbox"].any(-1)
    assert absent.sum() == 8
    assert not annotation["keypoint_score"][absent].any()
    assert not annotation["filled"][absent].any()


def test_without_a_joint_a_person_is_missing():
    """A box alone is nobody: box and mark are zero there too, and the frame does not count."""
    one = person(np.arange(6), np.array([100.0, 100.0]))
    one["scores"][[1, 4]] = 0
    one["filled"][4] = True
    annotation = build_annotation(sample_clip(), tracks_of([one], 8), sample_involvement([1], frames=8), SETTINGS, {})
    assert np.flatnonzero(annotation["bbox"].any(-1)[0]).tolist() == [0, 2, 3, 5]
    assert not annotation["filled"].any()
    assert annotation["track_length"].tolist() == [4]
    assert validate_annotation(annotation) == []


def test_nobody_is_invented_outside_a_track():
    """Regression: design.md 2, defect 6 (interpolation over the whole clip invents people)."""
    tracks = tracks_of([person(np.arange(8, 12), np.array([100.0, 100.0]))], 30)
    annotation = build_annotation(sample_clip(), tracks, sample_involvement([1], frames=30), SETTINGS, {})
    present = annotation["keypoint_score"].any(-1)[0]
    assert np.flatnonzero(present).tolist() == [8, 9, 10, 11]


def test_frames_with_nobody_stay():
    """T is the decoded frame count, not the last frame with a person."""
    tracks = tracks_of([person(np.arange(3), np.array([100.0, 100.0]))], 50)
    annotation = build_annotation(sample_clip(), tracks, sample_involvement([1], frames=50), SETTINGS, {})
    assert annotation["total_frames"] == annotation["keypoint"].shape[1] == 50


def test_tracks_that_are_not_ranked_are_left_out():
    """Selection has happened before: the annotation holds the people of the involvement."""
    annotation = build_annotation(sample_clip(), sample_tracks(3), sample_involvement([2]), SETTINGS, {})
    assert annotation["keypoint"].shape[0] == 1
    assert annotation["track_ids"].tolist() == [2]


def test_the_ids_in_the_annotation_are_those_of_the_tracks():
    """Regression: design.md 2, defect 2 (IDs were written to one key and drawn from another)."""
    tracks = sample_tracks(3)
    annotation = sample_annotation(3)
    assert sorted(annotation["track_ids"].tolist()) == tracks.ids.tolist()


def test_a_clip_without_people_is_a_recorded_failure():
    """An annotation of nobody loads, and predicts noise."""
    with pytest.raises(ClipError) as caught:
        build_annotation(sample_clip(), sample_tracks(1), sample_involvement([]), SETTINGS, {})
    assert caught.value.reason is FailureReason.NO_TRACKS


@pytest.mark.parametrize("provenance", [{"a": float("nan")}, {"a": np.array([np.inf])}, {"a": {1, 2}}, {"a": object()}])
def test_nan_and_foreign_objects_are_refused(provenance):
    """Nothing is written that consumers would misread or could not load."""
    with pytest.raises(AnnotationError, match="provenance: a"):
        build_annotation(sample_clip(), sample_tracks(1), sample_involvement([1]), SETTINGS, provenance)


def same(first, second) -> bool:
    """Compare nested values with arrays in them."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    return type(first) is type(second) and first == second


def test_what_is_written_is_read(tmp_path):
    """Our reader and the plain one that consumers use give the same, writable arrays."""
    annotation = sample_annotation()
    path = tmp_path / "new folder/a.pkl"
    write_annotation(path, [annotation])
    for value in (read_annotation(path), pickle.loads(path.read_bytes())):
        assert value["split"] == {"all": ["set/Fight/a"]}
        assert same(value["annotations"][0], annotation)
        assert value["annotations"][0]["keypoint"].flags.writeable
    assert [entry.name for entry in path.parent.iterdir()] == ["a.pkl"]


def test_files_name_nothing_that_old_or_new_numpy_lacks(tmp_path):
    """Numpy's private modules were renamed in 2.0; pickles that name them do not load everywhere."""
    write_annotation(tmp_path / "a.pkl", [sample_annotation()])
    data = (tmp_path / "a.pkl").read_bytes()
    assert set(re.findall(rb"numpy[\w.]*", data)) == {b"numpy"}
    assert data[:2] == b"\x80\x04"


def test_nothing_half_written_is_left(tmp_path):
    """An error in the middle leaves neither the file nor its temporary one."""
    broken = {**sample_annotation(), "extra": lambda: None}
    with pytest.raises((pickle.PicklingError, AttributeError)):
        write_annotation(tmp_path / "a.pkl", [broken])
    assert list(tmp_path.iterdir()) == []


def test_one_identifier_twice_is_refused(tmp_path):
    """Splits would mean both."""
    with pytest.raises(AnnotationError, match="set/Fight/a stands twice"):
        write_annotation(tmp_path / "a.pkl", [sample_annotation(), sample_annotation()])


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"annotations": []},
        {"split": {}, "annotations": {}},
        {"split": [], "annotations": []},
        {"split": {"a": "b"}, "annotations": []},
        {"split": {"a": [1]}, "annotations": []},
        {"split": {}, "annotations": [1]},
        {"total_persons": 0, "persons": {}},
    ],
)
def test_files_of_another_layout_are_clear_errors(tmp_path, value):
    """Plain data, but not annotations."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(AnnotationError, match=r"a\.pkl: "):
        read_annotation(tmp_path / "a.pkl")


def annotate_many(folder, names):
    """Write the annotation of each name and return the clips."""
    clips = [sample_clip(name, output_root=folder) for name in names]
    for clip in clips:
        write_annotation(clip.annotation_path, [sample_annotation(1, 5, clip.relative)])
    return clips


def test_clips_of_one_stem_both_reach_the_data_set(tmp_path):
    """Regression: design.md 2, defect 12 (bare stems as identifiers)."""
    clips = annotate_many(tmp_path, ["Fight/x.mp4", "NonFight/x.mp4"])
    report = merge_dataset(clips, tmp_path / "dataset.pkl")
    assert report.skipped == []
    data = read_annotation(tmp_path / "dataset.pkl")
    assert [(item["frame_dir"], item["label"]) for item in data["annotations"]] == [
        ("set/Fight/x", 1),
        ("set/NonFight/x", 0),
    ]


def test_each_clip_is_in_exactly_one_split(tmp_path):
    """And the file does not depend on the order of the inputs."""
    clips = annotate_many(tmp_path, [f"{folder}/{i}.mp4" for folder in ("Fight", "NonFight") for i in range(10)])
    report = merge_dataset(clips, tmp_path / "dataset.pkl")
    merge_dataset(reversed(clips), tmp_path / "again.pkl")
    assert report.counts == {"train": 14, "val": 4, "test": 2}
    data = read_annotation(tmp_path / "dataset.pkl")
    members = [name for names in data["split"].values() for name in names]
    assert sorted(members) == sorted(item["frame_dir"] for item in data["annotations"])
    assert len(set(members)) == 20
    assert (tmp_path / "dataset.pkl").read_bytes() == (tmp_path / "again.pkl").read_bytes()


def test_a_bad_file_costs_only_itself(tmp_path):
    """One that cannot be read and one whose identifier is taken are named; a clip without annotation is passed over."""
    clips = annotate_many(tmp_path, [f"Fight/{name}.mp4" for name in "abcdef"])
    broken, copy, other, failed = clips[2:]
    broken.annotation_path.write_bytes(b"broken")
    copy.annotation_path.write_bytes(clips[0].annotation_path.read_bytes())
    other.annotation_path.write_bytes(pickle.dumps({"split": {}, "annotations": [{"label": 1}]}))
    failed.annotation_path.unlink()
    report = merge_dataset(clips, tmp_path / "dataset.pkl")
    assert [path for path, _ in report.skipped] == [clip.annotation_path for clip in (broken, copy, other)]
    assert sum(report.counts.values()) == 2


def test_a_data_set_of_nothing_is_empty(tmp_path):
    """An earlier run's file must not pass for this one's."""
    merge_dataset([], tmp_path / "dataset.pkl")
    assert read_annotation(tmp_path / "dataset.pkl") == {
        "split": {"train": [], "val": [], "test": []},
        "annotations": [],
    }


def test_the_splits_of_an_earlier_merge_are_kept(tmp_path):
    """Clips come, and one goes; the others stay where they are, and small classes are told."""
    clips = annotate_many(tmp_path, [f"{folder}/{i}.mp4" for folder in ("Fight", "NonFight") for i in range(10)])
    dataset = tmp_path / "dataset.pkl"
    assert merge_dataset(clips[:12], dataset).warnings == ["class 0 has 2 clips: too few to train and test on"]
    first = read_split(dataset)
    report = merge_dataset(clips[1:], dataset, keep=first)
    second = read_split(dataset)
    assert report.warnings == ["class 1 has 9 clips: too few to train and test on"]
    assert sum(map(len, second.values())) == 19
    assert all(set(first[name]) - {clips[0].frame_dir} <= set(second[name]) for name in first)
