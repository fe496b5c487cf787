"""Following people: the behaviour every caller relies on."""

import sys

import numpy as np
import pytest

from tasks.core.choices import Tracker
from tasks.core.errors import FightposeError
from tasks.core.records import Poses, Tracks
from tasks.core.settings import TrackingSettings
from tasks.tracking import track_people
from tests.benchmarks.tracking.scenes import make_scene
from tests.tasks.tracking.clips import SETTINGS, clip, standing


def test_two_people_who_walk_past_each_other_keep_their_ids() -> None:
    """Positions cross, motion tells the two apart."""
    tracks = track_people(
        clip([[(standing(50 + 6 * t, 100), 0.9), (standing(500 - 6 * t, 110), 0.9)] for t in range(60)]), SETTINGS
    )
    assert len(tracks) == 120
    assert tracks.ids.tolist() == [1, 2]
    for person in (1, 2):
        steps = np.diff(tracks.poses.bbox[tracks.track_id == person, 0])
        assert np.all(steps > 0) or np.all(steps < 0)


def test_low_scores_extend_a_track_but_are_no_person_alone() -> None:
    """ByteTrack's second stage; someone who never scores high is a ghost."""
    dim = [0.9] * 5 + [0.2] * 5 + [0.9] * 5
    tracks = track_people(clip([[(standing(50, 100), score), (standing(400, 100), 0.2)] for score in dim]), SETTINGS)
    assert tracks.ids.tolist() == [1]
    assert len(tracks) == 15


def test_a_person_who_scores_low_first_is_tracked_from_the_start() -> None:
    """The clip is known as a whole: what is known later counts for the frames before."""
    tracks = track_people(clip([[(standing(50, 100), 0.2 if t < 20 else 0.9)] for t in range(40)]), SETTINGS)
    assert tracks.poses.frame_index.tolist() == list(range(40))


def test_scores_below_the_low_threshold_are_ignored() -> None:
    """They are not even part of a track that they would fit."""
    tracks = track_people(clip([[(standing(50, 100), 0.9 if t % 4 else 0.05)] for t in range(41)]), SETTINGS)
    assert not np.any(~tracks.filled & (tracks.poses.frame_index % 4 == 0))


def test_a_short_gap_is_filled_marked_and_scored_lower() -> None:
    """Straight lines between what was seen, and nothing before or after."""
    frames = [[(standing(50 + 2 * t, 100), 0.9)] if not 10 <= t < 15 else [] for t in range(30)]
    tracks = track_people(clip([[], *frames, []]), SETTINGS)
    assert tracks.poses.frame_index.tolist() == list(range(1, 31))
    assert np.flatnonzero(tracks.filled).tolist() == list(range(10, 15))
    np.testing.assert_allclose(tracks.poses.bbox[:, 0], 50 + 2 * np.arange(30), atol=1e-3)
    assert tracks.poses.keypoint_scores[tracks.filled].max() < tracks.poses.keypoint_scores[~tracks.filled].min()


def test_a_long_gap_stays_a_gap() -> None:
    """Nobody is invented for longer than a second."""
    frames = [[(standing(50, 100), 0.9)] if not 20 <= t < 55 else [] for t in range(80)]
    tracks = track_people(clip(frames), SETTINGS.model_copy(update={"track_max_disappeared": 60}))
    assert tracks.ids.tolist() == [1]
    assert not tracks.filled.any()


def test_a_person_found_twice_is_one_person() -> None:
    """A whole body and its upper half, as a model that looks at tiles reports them, with the half scored higher."""
    half = np.array([51, 100, 99, 160])
    frames = [[(standing(50 + t, 100), 0.7), (np.add(half, (t, 0, t, 0)), 0.75)] for t in range(30)]
    # The joints of the half lie where those of the whole do.
    poses = clip(frames)
    poses.keypoints[1::2] = poses.keypoints[::2]
    tracks = track_people(poses, SETTINGS)
    assert tracks.ids.tolist() == [1]
    assert np.all(tracks.poses.bbox[:, 3] == 200)


def test_fighters_in_close_contact_keep_their_ids() -> None:
    """A synthetic clinch, faults of the pose model included: each fighter has one track for most of the clip."""
    scene = make_scene(0, fighters=2, bystanders=1, frames=90)
    tracks = track_people(scene.poses, SETTINGS)
    for boxes in scene.boxes[scene.fighter]:
        mine = [_closest(tracks, frame, box) for frame, box in enumerate(boxes)]
        assert np.bincount(mine).max() > 0.9 * len(boxes)


def _closest(tracks: Tracks, frame: int, box: np.ndarray) -> int:
    """Return the ID of the track whose box is closest to one in a frame."""
    rows = np.flatnonzero(tracks.poses.frame_index == frame)
    return int(tracks.track_id[rows[np.abs(tracks.poses.bbox[rows] - box).sum(1).argmin()]])


def test_a_clip_without_detections_has_no_tracks() -> None:
    """Nobody in any frame, and no frame at all."""
    assert len(track_people(clip([[], [], []]), SETTINGS)) == 0
    assert len(track_people(clip([]), SETTINGS)) == 0


def test_a_single_frame_shows_nobody_for_long_enough() -> None:
    """`track_min_hits` counts detections; one frame has one."""
    assert len(track_people(clip([[(standing(50, 100), 0.9)]]), SETTINGS)) == 0


def test_in_a_clip_of_few_frames_being_seen_in_each_is_enough() -> None:
    """Whoever lowers the minimum gets people out of a single frame, too; of two frames, those who are in both."""
    few = SETTINGS.model_copy(update={"track_min_hits": 1})
    person, ghost = (standing(50, 50), 0.9), (standing(300, 50), 0.9)
    assert track_people(clip([[person]]), few).ids.tolist() == [1]
    assert len(track_people(clip([[person, ghost], [person]]), few).ids) == 1


def test_a_person_seen_less_often_than_the_minimum_is_left_out() -> None:
    """Two detections are fewer than three."""
    assert len(track_people(clip([[(standing(50, 100), 0.9)]] * 2 + [[]] * 5), SETTINGS)) == 0


def test_keypoints_of_score_zero_leave_the_boxes_to_decide() -> None:
    """A detector without joints is followed by its boxes."""
    frames = [[(standing(50 + 3 * t, 100), 0.9), (standing(400, 100), 0.9)] for t in range(20)]
    tracks = track_people(clip(frames, joint_score=0.0), SETTINGS)
    assert tracks.ids.tolist() == [1, 2]
    assert len(tracks) == 40


def test_boxes_without_area_are_ignored() -> None:
    """They cannot overlap anything."""
    flat = np.array([300, 100, 300, 200])
    tracks = track_people(clip([[(standing(50, 100), 0.9), (flat, 0.9)] for _ in range(20)]), SETTINGS)
    assert tracks.ids.tolist() == [1]


def test_sixty_people_in_a_frame_keep_their_ids() -> None:
    """A crowd that stands in rows."""
    crowd = [(standing(10 + 60 * (i % 10), 10 + 75 * (i // 10), 60), 0.9) for i in range(60)]
    tracks = track_people(clip([crowd] * 12), SETTINGS)
    assert len(tracks.ids) == 60
    assert len(tracks) == 720


def test_open_thresholds_are_refused() -> None:
    """A default for another model's score range would silently lose everyone."""
    with pytest.raises(ValueError, match="resolve"):
        track_people(clip([[]]), TrackingSettings())


@pytest.mark.parametrize("tracker", [Tracker.BYTETRACK, Tracker.SORT, Tracker.OCSORT])
def test_published_trackers_follow_people_from_anew_in_every_clip(tracker: Tracker) -> None:
    """The same clip twice gives the same IDs: no counter survives."""
    pytest.importorskip("trackers")
    poses = clip([[(standing(50 + 3 * t, 100), 0.9), (standing(400, 100), 0.8)] for t in range(30)])
    settings = SETTINGS.model_copy(update={"tracker": tracker})
    first, second = track_people(poses, settings), track_people(poses, settings)
    assert first.ids.tolist() == [1, 2]
    assert np.array_equal(first.track_id, second.track_id)
    assert len(track_people(clip([[], []]), settings)) == 0


def test_a_published_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which extra to install."""
    monkeypatch.setitem(sys.modules, "trackers", None)
    monkeypatch.setitem(sys.modules, "supervision", None)
    settings = SETTINGS.model_copy(update={"tracker": Tracker.SORT})
    with pytest.raises(FightposeError, match=r"fightpose\[trackers\]"):
        track_people(clip([[(standing(50, 100), 0.9)]]), settings)


def test_frame_rate_scales_how_long_a_person_is_looked_for() -> None:
    """`track_max_disappeared` counts frames of 1/30 s: ten of them are one third of a second at any rate."""
    settings = SETTINGS.model_copy(update={"track_max_disappeared": 10})

    def found(fps: float, gap: int) -> int:
        """Return the number of people when one is not seen for some frames and then stands where they stood."""
        seen = [[(standing(50, 100), 0.9)]] * 15
        return len(track_people(clip([*seen, *[[]] * gap, *seen], fps=fps), settings).ids)

    assert found(30.0, 9) == 1
    # Beyond a second neither the walk nor the repair looks for anyone.
    assert found(30.0, 45) == 2
    assert found(60.0, 45) == 1


def test_poses_stay_as_they_were() -> None:
    """Tracking changes no array of its input."""
    poses = clip([[(standing(50 + t, 100), 0.9)] for t in range(20)])
    before = Poses(*(np.copy(a) for a in (poses.frame_index, poses.bbox, poses.score, poses.keypoints)),
                   poses.keypoint_scores.copy(), 20, 640, 480, 30.0)  # fmt: skip
    track_people(poses, SETTINGS)
    assert np.array_equal(poses.bbox, before.bbox)
    assert np.array_equal(poses.keypoints, before.keypoints)
