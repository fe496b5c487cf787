"""The parts of tracking: the filter, doubles and the repair of tracks."""

import dataclasses

import numpy as np
import pytest

from tasks.core.records import Tracks
from tasks.core.settings import TrackingSettings
from tasks.tracking.cleaning import drop_ghosts, drop_parts, drop_still
from tasks.tracking.duplicates import find_doubles
from tasks.tracking.gaps import fill_gaps
from tasks.tracking.kalman import BoxFilter, to_centre, to_corners
from tasks.tracking.occlusion import end_at_nearer
from tasks.tracking.repair import link_fragments, merge_doubles
from tasks.tracking.smoothing import smooth_boxes
from tests.tasks.tracking.clips import clip, standing

BOX = np.array([[0, 0, 10, 20]], np.float32)

DEFAULT = TrackingSettings()


def test_the_filter_learns_a_constant_velocity() -> None:
    """After thirty frames of 4 pixels each, the prediction is right to half a pixel."""
    boxes = BoxFilter()
    boxes.start(standing(0, 0)[None].astype(np.float32))
    for t in range(1, 30):
        boxes.predict()
        boxes.update(np.array([0]), standing(4 * t, 0)[None].astype(np.float32))
    boxes.predict()
    np.testing.assert_allclose(to_corners(boxes.position)[0], standing(120, 0), atol=0.5)


def test_the_filter_follows_a_doubtful_box_less() -> None:
    """The same jump moves a box less far the more it is doubted."""
    moved = []
    for doubt in (0.5, 1.0, 8.0):
        boxes = BoxFilter()
        boxes.start(standing(0, 0)[None].astype(np.float32))
        boxes.predict()
        boxes.update(np.array([0]), standing(20, 0)[None].astype(np.float32), np.array([doubt], np.float32))
        moved.append(float(boxes.position[0, 0] - to_centre(standing(0, 0))[0]))
    assert 20 > moved[0] > moved[1] > moved[2] > 0


def test_smoothing_keeps_steady_walks_and_calms_halved_boxes() -> None:
    """Two tracks that walk apart stay where they are, but for a few boxes cut in half, of which little is left."""
    frames = [[(standing(2 * t, 100), 0.9), (standing(400 - 3 * t, 100), 0.9)] for t in range(30)]
    poses = clip(frames)
    ids = np.tile([1, 2], 30).astype(np.int32)
    steady = smooth_boxes(Tracks(poses, ids, np.zeros(60, bool)))
    np.testing.assert_allclose(steady.poses.bbox, poses.bbox, atol=0.01)
    np.testing.assert_array_equal(steady.poses.keypoints, poses.keypoints)
    for t in (5, 6, 20):
        frames[t][0] = (standing(2 * t, 100) - np.array([0, 0, 0, 60]), 0.1)
    jittery = clip(frames)
    calm = smooth_boxes(Tracks(jittery, ids, np.zeros(60, bool)))
    assert np.abs(calm.poses.bbox - poses.bbox).max() < 10


def test_smoothing_looks_neither_across_gaps_nor_tracks() -> None:
    """A single row of a track, or one on its own after a long gap, keeps its box; without scores too."""
    frames = [[(standing(0, 0), 0.0)], *[[] for _ in range(40)], [(standing(300, 0), 0.0)], [(standing(90, 0), 0.0)]]
    poses = clip(frames)
    tracks = smooth_boxes(Tracks(poses, np.array([1, 1, 2], np.int32), np.zeros(3, bool)))
    np.testing.assert_allclose(tracks.poses.bbox, poses.bbox, atol=0.01)


def behind(nearer: np.ndarray, legs: float, score: float = 0.9) -> np.ndarray:
    """Return the box of somebody (100, 100, 150, 200) beside `nearer`; joints below y 150 score `legs`."""
    poses = clip([[(standing(100, 100), 0.9), (nearer, score)]])
    scores = poses.keypoint_scores.copy()
    scores[0, poses.keypoints[0, :, 1] > 150] = legs
    poses = dataclasses.replace(poses, keypoint_scores=scores)
    tracks = end_at_nearer(Tracks(poses, np.array([1, 2], np.int32), np.zeros(2, bool)))
    # Whoever stands in front keeps their box.
    np.testing.assert_array_equal(tracks.poses.bbox[1], nearer.astype(np.float32))
    np.testing.assert_array_equal(tracks.poses.keypoints, poses.keypoints)
    return tracks.poses.bbox[0]


def test_the_box_of_who_is_half_hidden_ends_at_who_stands_in_front() -> None:
    """Joints lie on the diagonal, the lowest that is seen at y 150: 6 % of the height is left below it."""
    in_front = np.array([110, 140, 180, 260])
    np.testing.assert_allclose(behind(in_front, 0.1), [100, 100, 150, 156])


def test_the_box_of_who_is_seen_whole_stays() -> None:
    """Legs that are seen, nobody nearer, somebody beside who hides nothing, a ghost in front: nothing is cut."""
    whole = standing(100, 100)
    in_front, further = np.array([110, 140, 180, 260]), np.array([110, 140, 180, 195])
    np.testing.assert_array_equal(behind(in_front, 0.7), whole)
    np.testing.assert_array_equal(behind(further, 0.1), whole)
    np.testing.assert_array_equal(behind(in_front + np.array([60, 0, 60, 0]), 0.1), whole)
    np.testing.assert_array_equal(behind(in_front, 0.1, score=0.1), whole)


def test_head_and_shoulders_stay_and_boxes_without_joints_too() -> None:
    """Somebody of whom nothing but the head looks out, and detections that have no joints at all."""
    over_all = np.array([90, 90, 200, 260])
    poses = clip([[(standing(100, 100), 0.9), (over_all, 0.9)]])
    scores = poses.keypoint_scores.copy()
    scores[0, 6:] = 0
    # The six best joints of a person are not all weaker than their mean, so that some joint is always seen.
    hidden = end_at_nearer(
        Tracks(dataclasses.replace(poses, keypoint_scores=scores), np.array([1, 2], np.int32), np.zeros(2, bool))
    )
    assert hidden.poses.bbox[0, 3] == pytest.approx(100 + 100 * 5 / 16 + 6)
    scores[0] = np.linspace(0.9, 0.0, 17) ** 8
    hidden = end_at_nearer(
        Tracks(dataclasses.replace(poses, keypoint_scores=scores), np.array([1, 2], np.int32), np.zeros(2, bool))
    )
    assert hidden.poses.bbox[0, 3] == 135
    bare = clip([[(standing(100, 100), 0.9), (over_all, 0.9)]], joint_score=0.0)
    kept = end_at_nearer(Tracks(bare, np.array([1, 2], np.int32), np.zeros(2, bool)))
    np.testing.assert_array_equal(kept.poses.bbox, bare.bbox)


def test_centres_and_corners_are_inverse() -> None:
    """There and back."""
    np.testing.assert_allclose(to_corners(to_centre(BOX)), BOX)


def test_doubles_are_those_of_greedy_suppression() -> None:
    """Of a chain a, b, c in which neighbours overlap, b is a double of a; c is none, because b does not count."""
    poses = clip([[(standing(0, 100), 0.9), (standing(13, 100), 0.8), (standing(26, 100), 0.7)]])
    assert find_doubles(poses, DEFAULT.duplicate_oks).tolist() == [False, True, False]


def test_tracks_of_one_person_at_one_time_become_one() -> None:
    """The longer one's rows stay where both have one; the shorter one's elsewhere."""
    poses = clip([[(standing(50, 100), 0.9), (standing(53, 102), 0.8)]] * 5 + [[(standing(53, 102), 0.8)]] * 3)
    track_id = np.array([1, 2] * 5 + [2] * 3, np.int32)
    merged = merge_doubles(poses, track_id, DEFAULT.merge_similarity)
    assert merged.tolist() == [0, 2] * 5 + [2] * 3


def test_tracks_that_only_cross_stay_two() -> None:
    """Alike in the middle, apart before and after."""
    poses = clip([[(standing(10 * t, 100), 0.9), (standing(200 - 10 * t, 100), 0.9)] for t in range(21)])
    track_id = np.tile(np.array([1, 2], np.int32), 21)
    assert np.array_equal(merge_doubles(poses, track_id, DEFAULT.merge_similarity), track_id)


def test_fragments_are_linked_to_who_moves_on() -> None:
    """Two people walk in a line; each one's second half continues its first."""
    frames = [[(standing(20 + 4 * t, 100), 0.9), (standing(120 + 4 * t, 100), 0.9)] for t in range(24)]
    frames[10:14] = [[]] * 4
    track_id = np.concatenate([np.tile([1, 2], 10), np.tile([3, 4], 10)]).astype(np.int32)
    assert link_fragments(clip(frames), track_id, DEFAULT.link_overlap, DEFAULT.link_seconds).tolist() == [1, 2] * 20


@pytest.mark.parametrize(("seconds", "expected"), [(DEFAULT.link_seconds, [1, 2]), (2.0, [1, 1])])
def test_fragments_further_apart_in_time_than_is_set_stay_apart(seconds: float, expected: list[int]) -> None:
    """Forty frames are more than a second, and less than two."""
    frames = [[(standing(20, 100), 0.9)]] * 5 + [[]] * 40 + [[(standing(20, 100), 0.9)]] * 5
    track_id = np.repeat(np.array([1, 2], np.int32), 5)
    linked = link_fragments(clip(frames), track_id, DEFAULT.link_overlap, seconds)
    assert linked.tolist() == np.repeat(expected, 5).tolist()


def test_ghosts_lack_detections_of_high_score() -> None:
    """Counted, not averaged: a fighter scores low for most of a clinch."""
    poses = clip([[(standing(20, 100), s), (standing(200, 100), 0.3)] for s in (0.9, 0.2, 0.9, 0.2)])
    assert drop_ghosts(poses, np.tile(np.array([1, 2], np.int32), 4), 0.6, 2).tolist() == [1, 0] * 4


def test_what_never_moves_and_never_scores_well_is_a_thing() -> None:
    """A coat stays; who sways, scores well at times, or has no joints to tell by is a person."""
    rng = np.random.default_rng(0)
    still = [[(standing(100, 100), 0.2)] for _ in range(30)]
    ids = np.ones(30, np.int32)
    assert not drop_still(clip(still), ids, 0.25).any()
    assert drop_still(clip(still, joint_score=0.0), ids, 0.25).all()
    assert drop_still(clip(still), ids, 0.15).all()
    assert drop_still(clip(still[:-4] + [[(standing(100, 100), 0.5)]] * 4), ids, 0.25).all()
    swaying = [[(standing(100 + rng.normal(0, 15), 100), 0.2)] for _ in range(30)]
    assert drop_still(clip(swaying), ids, 0.25).all()
    # What is hardly seen at all is nobody, moving or not.
    assert not drop_still(clip(swaying), ids, 0.51).any()


def test_a_thing_among_people_goes_alone() -> None:
    """And a clip without tracks is no error."""
    frames = [[(standing(100, 100), 0.2), (standing(200 + 5 * t, 100), 0.2)] for t in range(20)]
    ids = np.tile(np.array([1, 2], np.int32), 20)
    kept = drop_still(clip(frames), ids, 0.25)
    assert set(kept[ids == 1]) == {0}
    assert set(kept[ids == 2]) == {2}
    nobody = np.zeros(40, np.int32)
    assert not drop_parts(clip(frames), drop_still(clip(frames), nobody, 0.25)).any()


def test_a_limb_is_no_person() -> None:
    """A leg within somebody surer goes; a child in front of a parent scores as well, and somebody passing moves on."""
    leg = np.array([110, 180, 130, 240])
    body = standing(100, 100, 140)
    ids = np.tile(np.array([1, 2], np.int32), 20)
    limb = [[(body, 0.8), (leg, 0.3)] for _ in range(20)]
    assert set(drop_parts(clip(limb), ids)) == {0, 1}
    child = [[(body, 0.8), (leg, 0.7)] for _ in range(20)]
    assert set(drop_parts(clip(child), ids)) == {1, 2}
    passing = [[(body, 0.8), (leg + np.array([20, 0, 20, 0]) * t, 0.3)] for t in range(20)]
    assert set(drop_parts(clip(passing), ids)) == {1, 2}


def test_gaps_are_filled_only_where_the_person_stayed() -> None:
    """Ten frames: a straight line is believed of someone who stands, not of someone who is elsewhere afterwards."""
    for x, seconds, expected in ((52.0, DEFAULT.fill_seconds, 10), (52.0, 0.1, 0), (300.0, DEFAULT.fill_seconds, 0)):
        poses = clip([[(standing(50, 100), 0.9)], *[[]] * 10, [(standing(x, 100), 0.9)]])
        assert fill_gaps(poses, np.array([1, 1], np.int32), seconds).filled.sum() == expected
