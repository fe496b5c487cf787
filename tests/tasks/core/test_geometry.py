"""How alike boxes and poses are."""

import numpy as np
import pytest

from tasks.core.geometry import SEGMENT_SHARE, inside, iou, oks
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
