"""How alike boxes and poses are."""

import numpy as np
import pytest

from tasks.core.geometry import SEGMENT_SHARE, inside, iou, likeness, oks, pairs_within_frames
from tasks.core.skeleton import SIGMAS

BOX = np.array([[0, 0, 10, 20]], np.float32)


def test_iou_of_known_boxes() -> None:
    """Equal, half shifted, apart, and empty."""
    others = np.array([[0, 0, 10, 20], [5, 0, 15, 20], [20, 0, 30, 20], [3, 3, 3, 3]], np.float32)
    np.testing.assert_allclose(iou(BOX, others), [1, 1 / 3, 0, 0], atol=1e-6)


def test_two_empty_boxes_have_no_overlap() -> None:
    """Nothing is divided by zero."""
    empty = np.zeros((1, 4), np.float32)
    assert iou(empty, empty).item() == inside(empty, empty).item() == 0


def test_the_share_inside_is_that_of_the_smaller_box() -> None:
    """A box within a larger one lies inside wholly, whichever stands first."""
    small = np.array([[2, 2, 4, 6]], np.float32)
    assert inside(small, BOX).item() == inside(BOX, small).item() == 1
    assert inside(small + np.array([0, 16, 0, 16], np.float32), BOX).item() == pytest.approx(0.5)


def test_oks_is_that_of_coco_for_equal_joint_scores() -> None:
    """All joints shifted by 3 pixels: the formula, computed joint by joint."""
    rng = np.random.default_rng(0)
    pose = rng.uniform(0, 100, (1, 17, 2)).astype(np.float32)
    ones, area = np.ones((1, 17), np.float32), np.array([5000], np.float32)
    expected = np.mean([np.exp(-9 / (2 * 5000 * SEGMENT_SHARE * (2 * s) ** 2)) for s in SIGMAS.astype(float)])
    shifted = pose + np.array([3, 0], np.float32)
    np.testing.assert_allclose(oks(pose, ones, shifted, ones, area), expected, rtol=1e-5)


def test_oks_ignores_joints_that_were_not_seen() -> None:
    """A missing joint far away changes nothing; without any joint there is no similarity."""
    pose, scores, area = np.zeros((1, 17, 2), np.float32), np.ones((1, 17), np.float32), np.array([100], np.float32)
    other = pose.copy()
    other[0, 3] = 1e4
    seen = scores.copy()
    seen[0, 3] = 0
    np.testing.assert_allclose(oks(pose, scores, other, seen, area), 1)
    np.testing.assert_allclose(oks(pose, scores * 0, other, seen, area), 0)


def test_pairs_within_frames_are_complete_in_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair of a frame once, also where a block holds fewer pairs than a frame."""
    frame = np.repeat(np.arange(5, dtype=np.int32), [3, 0, 1, 4, 2])
    expected = {(i, j) for i in range(10) for j in range(i + 1, 10) if frame[i] == frame[j]}
    for size in (1, 4, 1000):
        monkeypatch.setattr("tasks.core.geometry.PAIRS_AT_ONCE", size)
        found = [(int(a), int(b)) for i, j in pairs_within_frames(frame) for a, b in zip(i, j, strict=True)]
        assert len(found) == len(expected)
        assert set(found) == expected


def test_likeness_is_of_the_same_person_only() -> None:
    """1 with oneself; 0 with somebody far away; high where half of a body lies in the whole one."""
    whole = np.array([0, 0, 40, 100], np.float32)
    joints = np.stack([np.linspace(5, 35, 17), np.linspace(5, 45, 17)], axis=1).astype(np.float32)
    scores = np.ones(17, np.float32)
    assert likeness(whole, joints, scores, whole, joints, scores) == pytest.approx(1.0)
    assert likeness(whole, joints, scores, whole + 500, joints + 500, scores) == pytest.approx(0.0, abs=1e-9)
    half = np.array([0, 0, 40, 50], np.float32)
    assert likeness(whole, joints, scores, half, joints, scores) == pytest.approx(1.0)
    # The box alone says little: somebody who stands in front.
    assert likeness(whole, joints, scores, half, joints + 200, scores) == pytest.approx(0.5)
