"""Following people: the behaviour every caller relies on."""

import numpy as np

from tasks.records import Poses
from tasks.settings import TrackingSettings
from tasks.tracking import track_people

SETTINGS = TrackingSettings(track_high_thresh=0.6, track_low_thresh=0.1)


def standing(x: float, y: float, height: float = 100.0) -> np.ndarray:
    """Return a person's box, xyxy in pixels, twice as high as wide, with its top left corner at (x, y)."""
    return np.array([x, y, x + height / 2, y + height])


def clip(frames: list[list[tuple[np.ndarray, float]]], fps: float = 30.0) -> Poses:
    """Return a clip from each frame's (box, score) pairs; joints lie on the box's diagonal."""
    flat = [(f, box, score) for f, people in enumerate(frames) for box, score in people]
    boxes = np.array([box for _, box, _ in flat], np.float32).reshape(-1, 4)
    share = np.linspace(0, 1, 17, dtype=np.float32)[None, :, None]
    return Poses(
        np.array([f for f, _, _ in flat], np.int32),
        boxes,
        np.array([s for _, _, s in flat], np.float32),
        boxes[:, None, :2] + share * (boxes[:, 2:] - boxes[:, :2])[:, None],
        np.full((len(flat), 17), 0.8, np.float32),
        len(frames),
        640,
        480,
        fps,
    )


def test_two_people_who_walk_past_each_other_keep_their_ids() -> None:
    """Positions cross, motion tells the two apart."""
    tracks = track_people(
        clip([[(standing(50 + 6 * t, 100), 0.9), (standing(500 - 6 * t, 130), 0.9)] for t in range(60)]),
        SETTINGS,
    )
    assert len(tracks) == 120
    first = tracks.track_id == 1
    assert np.all(np.diff(tracks.poses.bbox[first, 0]) > 0) or np.all(np.diff(tracks.poses.bbox[first, 0]) < 0)


def test_low_scores_extend_a_track_but_never_start_one() -> None:
    """ByteTrack's second stage."""
    dim = [0.9] * 5 + [0.2] * 5 + [0.9] * 5
    tracks = track_people(clip([[(standing(50, 100), score), (standing(400, 100), 0.2)] for score in dim]), SETTINGS)
    assert tracks.ids.tolist() == [1]
    assert len(tracks) == 15


def test_a_clip_without_detections_has_no_tracks() -> None:
    """Nobody in any frame."""
    assert len(track_people(clip([[], [], []]), SETTINGS)) == 0


def test_a_person_seen_less_often_than_the_minimum_is_left_out() -> None:
    """`track_min_hits` counts detections."""
    assert len(track_people(clip([[(standing(50, 100), 0.9)]] * 2 + [[]] * 5), SETTINGS)) == 0
