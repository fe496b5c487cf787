"""Windows of an output root's clips, each ranked by itself from all tracks."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.annotations.convert.windows import cut_windows, label_by_involvement
from tasks.annotations.format import build_annotation, read_annotation, write_annotation
from tasks.annotations.validate_dataset import validate_dataset
from tasks.clips.manifest import write_manifest
from tasks.core.choices import Scorer
from tasks.core.errors import FightposeError
from tasks.core.records import Poses, VideoInfo, scratch
from tasks.core.records.scratch import on_disk
from tasks.core.settings import DatasetSettings, SelectionSettings, Settings, Thresholds
from tasks.involvement import rank_involvement, select_people
from tasks.mapping.merged import merge_outputs
from tasks.poses.stored import poses_path
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tasks.tracking import track_people
from tasks.training.windows import WindowPlan, span_of, windows_of_outputs
from tests.scenes import person, tracks_of
from tests.tasks.samples import sample_clip

SETTINGS = Settings(selection=SelectionSettings(max_persons=4)).resolve(Thresholds())
STRETCH, STRETCHES = 100, 6


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Make an output root of one video: other two people in each stretch, and nobody in the last, who hit in one."""
    people = []
    for stretch in range(STRETCHES - 1):
        frames = np.arange(stretch * STRETCH, (stretch + 1) * STRETCH)
        swing = 0.5 if stretch == 2 else 0.05
        people += [
            person(frames, np.array([x, 180.0]), swing=swing) for x in (200.0 + 30 * stretch, 260.0 + 30 * stretch)
        ]
    poses = tracks_of(people, STRETCH * STRETCHES).poses
    clip = sample_clip("Fight/long.mp4", tmp_path / "set", tmp_path / "out")
    clip.path.parent.mkdir(parents=True)
    clip.path.touch()
    video = VideoInfo(clip.path, "sha", 640, 360, 25.0, 0, "", "")
    poses.save(poses_path(tmp_path / "out", video, "model", SETTINGS.poses))
    # As a run annotates it: the first four of ten people.
    tracks = track_people(poses, SETTINGS.tracking)
    regions = score_regions(tracks)
    weights = learn_region_weights(tracks, regions, SETTINGS.scoring)
    ranking = select_people(rank_involvement(tracks, regions, weights, SETTINGS.scoring), SETTINGS.selection, clip.path)
    made = {"model": "m", "model_key": "model", "video_sha256": "sha"}
    write_annotation(clip.annotation_path, [build_annotation(clip, tracks, ranking, SETTINGS, made)])
    write_manifest(tmp_path / "out", tmp_path / "set", [clip], "key")
    merge_outputs(tmp_path / "out", DatasetSettings())
    return tmp_path / "out"


PLAN = WindowPlan(STRETCH, STRETCH)


def test_each_window_has_its_own_people(out, tmp_path):
    """Where windows of the annotated people are mostly empty."""
    (annotation,) = read_annotation(next(out.rglob("*_annotation.pkl")))["annotations"]
    before = cut_windows(annotation, STRETCH, STRETCH, label_by_involvement())
    assert len(before) < 5
    assert sum(len(one["keypoint"]) for one in before) == 4
    report = windows_of_outputs(out, tmp_path / "windows.pkl", PLAN)
    data = read_annotation(tmp_path / "windows.pkl")
    assert validate_dataset(data) == []
    names = [f"set/Fight/long#{start:06d}" for start in range(0, 500, 100)]
    assert [one["frame_dir"] for one in data["annotations"]] == names
    assert [len(one["keypoint"]) for one in data["annotations"]] == [2] * 5
    assert data["split"]["train"] == names
    assert data["classes"] == {"NonFight": 0, "Fight": 1}
    assert (report.people, report.empty, report.problems) == ({2: 5}, 1, [])
    # Joints are where they are in the whole annotation, for people who are in both.
    window = data["annotations"][2]
    row = annotation["track_ids"].tolist().index(window["track_ids"][0])
    np.testing.assert_array_equal(window["keypoint"][0], annotation["keypoint"][row, 200:300])


def test_windows_are_labelled_by_how_involved_their_people_are(out, tmp_path):
    """Against the highest of the video; just below the threshold they are unsure."""
    windows_of_outputs(out, tmp_path / "windows.pkl", PLAN)
    windows = read_annotation(tmp_path / "windows.pkl")["annotations"]
    top = np.array([one["composite_scores"][0] for one in windows])
    assert top.argmax() == 2
    threshold = float(top[top < top.max()].max() / top.max()) + 0.01
    report = windows_of_outputs(out, tmp_path / "w.pkl", replace(PLAN, threshold=threshold))
    assert report.classes == {0: 4, 1: 1}
    report = windows_of_outputs(out, tmp_path / "w.pkl", replace(PLAN, threshold=threshold, leave_unsure=True))
    assert report.classes[1] == 1
    assert report.unsure == 4 - report.classes[0] > 0
    rule = replace(PLAN, label_of=lambda annotation, start, stop: start // STRETCH)
    assert windows_of_outputs(out, tmp_path / "w.pkl", rule).classes == dict.fromkeys(range(5), 1)


def test_windows_of_recorders_keep_the_shape_of_their_pixels(out, tmp_path):
    """Poses of a clip with other pixels are found, and a window has the geometry and the clock of its clip."""
    stored = next((out / ".fightpose/poses").rglob("*.npz"))
    poses = Poses.load(stored)
    stored.unlink()
    times = np.arange(poses.frame_count) / 25 + np.linspace(0, 1, poses.frame_count)
    video = replace(VideoInfo(Path("x"), "sha", 640, 360, 25.0, 0, "", ""), revised=True)
    replace(poses, sample_aspect_ratio=6 / 11, times=times).save(poses_path(out, video, "model", SETTINGS.poses))
    plain = tmp_path / "windows.pkl"
    report = windows_of_outputs(out, plain, PLAN)
    assert report.problems == []
    for one in read_annotation(plain)["annotations"]:
        assert one["sample_aspect_ratio"] == 6 / 11
        assert one["img_shape"] == (196, 640)
        assert one["bbox"][..., 3].max() <= 196


def test_windows_in_seconds_follow_the_frame_rate(out, tmp_path):
    """4 seconds are 100 frames here."""
    windows_of_outputs(out, tmp_path / "windows.pkl", WindowPlan(4.0, 2.0, in_seconds=True))
    first = read_annotation(tmp_path / "windows.pkl")["annotations"][:3]
    assert [(one["frame_dir"][-6:], one["total_frames"]) for one in first] == [
        ("000000", 100),
        ("000050", 100),
        ("000100", 100),
    ]


def test_windows_keep_as_many_people_as_they_are_asked_to(out, tmp_path):
    """More than the run kept of the whole video, or fewer; the settings in the windows say how many."""
    for most, kept in ((None, 2), (1, 1), (9, 2)):
        report = windows_of_outputs(out, tmp_path / "windows.pkl", replace(PLAN, max_persons=most))
        assert report.people == {kept: 5}
        (count,) = {
            one["settings"]["selection"]["max_persons"]
            for one in read_annotation(tmp_path / "windows.pkl")["annotations"]
        }
        assert count == (most or SETTINGS.selection.max_persons)


@pytest.mark.parametrize("varied", [False, True])
def test_a_long_video_gives_the_windows_that_it_gives_in_memory(out, tmp_path, monkeypatch, varied):
    """Joints on disk, all steps in blocks of rows; at a constant frame rate and at a varied one."""
    stored = next((out / ".fightpose/poses").rglob("*.npz"))
    poses = Poses.load(stored)
    if varied:
        steps = np.random.default_rng(0).uniform(0.02, 0.06, poses.frame_count)
        poses = replace(poses, times=np.cumsum(steps) - steps[0])
    # Gaps to fill, doubles and joints that are missing.
    rng = np.random.default_rng(1)
    poses.keypoint_scores[rng.random(poses.keypoint_scores.shape) < 0.1] = 0
    rows = np.sort(np.concatenate([np.flatnonzero(rng.random(len(poses)) > 0.1), np.arange(0, len(poses), 9)]))
    poses = poses.select(rows)
    poses.keypoints[...] += rng.normal(0, 2, poses.keypoints.shape).astype(np.float32)
    poses.save(stored)
    windows_of_outputs(out, tmp_path / "memory.pkl", PLAN)
    # A prime number, so that edges of blocks fall into frames, tracks and gaps alike.
    monkeypatch.setattr(scratch, "BLOCK", 37)
    assert on_disk(Poses.load(stored, tmp_path).keypoints)
    windows_of_outputs(out, tmp_path / "disk.pkl", PLAN)
    memory, disk = (read_annotation(tmp_path / name) for name in ("memory.pkl", "disk.pkl"))
    assert len(memory["annotations"]) == 5
    np.testing.assert_equal(disk, memory)


def test_poses_that_are_cut_short_are_not_taken_for_long_ones(out, tmp_path, monkeypatch):
    """However they are read: the windows hold the annotated people then."""
    stored = next((out / ".fightpose/poses").rglob("*.npz"))
    monkeypatch.setattr(scratch, "BLOCK", 37)
    stored.write_bytes(stored.read_bytes()[:-3000])
    with pytest.raises(ValueError, match="not a file of poses"):
        Poses.load(stored, tmp_path)
    assert "not stored any more" in windows_of_outputs(out, tmp_path / "windows.pkl", PLAN).problems[0]


def test_without_stored_poses_the_annotated_people_are_cut(out, tmp_path):
    """And that is reported: windows of the other people are lost."""
    for path in (out / ".fightpose/poses").rglob("*.npz"):
        path.unlink()
    report = windows_of_outputs(out, tmp_path / "windows.pkl", PLAN)
    assert report.classes.total() + report.empty == 6
    assert sum(number * count for number, count in report.people.items()) == 4
    assert "not stored any more" in report.problems[0]


def test_a_folder_without_clips_is_refused(tmp_path):
    """With what to do."""
    with pytest.raises(FightposeError, match="run fightpose annotate first"):
        windows_of_outputs(tmp_path, tmp_path / "windows.pkl", PLAN)


@pytest.mark.parametrize(("text", "span"), [("100", (100, False)), ("4s", (4, True)), (" 2.5 S", (2.5, True))])
def test_spans_are_frames_or_seconds(text, span):
    """By their unit."""
    assert span_of(text) == span


@pytest.mark.parametrize("text", ["", "0", "-5", "2.5", "4m", "s", "nan", "infs", "0s"])
def test_other_spans_are_refused(text):
    """With an example of each."""
    with pytest.raises(FightposeError, match=r"100.*4s"):
        span_of(text)


def test_memory_does_not_grow_with_the_video(tmp_path, monkeypatch):
    """Of all that tracking and region weights compute for every row, next to nothing is in memory."""
    monkeypatch.setattr(scratch, "BLOCK", 256)

    def peak(frames: int) -> tuple[int, int]:
        """Return the rows of a video of four people with gaps, and the most bytes that were in memory at once."""
        people = [person(np.arange(frames), np.array([x, 180.0]), swing=0.2) for x in (80.0, 230.0, 380.0, 530.0)]
        poses = tracks_of(people, frames).poses
        poses = poses.select(np.flatnonzero(np.random.default_rng(0).random(len(poses)) > 0.1))
        poses.save(tmp_path / "poses.npz")
        rows = len(poses)
        del people, poses
        tracemalloc.start()
        tracks = track_people(Poses.load(tmp_path / "poses.npz", tmp_path), SETTINGS.tracking)
        for scorer in Scorer:
            scoring = SETTINGS.scoring.model_copy(update={"scorer": scorer})
            learn_region_weights(tracks, score_regions(tracks), scoring)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(tracks.ids) == 4
        return rows, most

    # What is loaded on first use is not counted.
    peak(300)
    (few, before), (many, after) = peak(800), peak(3200)
    # A row has 228 bytes. What may be left are marks of doubles (1 byte) and the estimates in gaps.
    assert (after - before) / (many - few) < 10
