"""The probability that somebody loses their identity rises with the signs of it and stays a probability."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.tracking.identity import FEATURES, identity_confidence, identity_features, identity_risk

FPS = 10.0


def two_people(gap: float, frames: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes, joints, scores and filled of two people who stand `gap` pixels apart, 40 x 100 pixels each."""
    corners = np.array([[100.0, 50.0, 140.0, 150.0], [100.0 + gap, 50.0, 140.0 + gap, 150.0]], np.float32)
    boxes = np.repeat(corners[:, None], frames, axis=1)
    keypoints = np.repeat(boxes[:, :, None, :2], 17, axis=2) + np.arange(17)[:, None].astype(np.float32)
    return boxes, keypoints, np.full((2, frames, 17), 0.8, np.float32), np.zeros((2, frames), np.bool_)


def test_the_nearer_the_less_sure() -> None:
    """For both people alike, and 0 only where somebody is missing."""
    sure = [identity_confidence(*two_people(gap), FPS) for gap in (400.0, 30.0, 10.0, 0.0)]
    assert all((one > 0).all() and (one < 1).all() for one in sure)
    means = [one.mean() for one in sure]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1]
    np.testing.assert_allclose(sure[1][0], sure[1][1], rtol=1e-6)


def test_signs_count_for_a_second_around_them() -> None:
    """A jump lowers the confidence of the person around its frame and nowhere else, and of nobody else."""
    boxes, keypoints, scores, filled = two_people(400.0)
    boxes = boxes.copy()
    boxes[0, 15:] += 60
    kept = identity_confidence(boxes, keypoints, scores, filled, FPS)
    assert kept[0, 15] < kept[0, 0]
    np.testing.assert_allclose(kept[0, :10], kept[0, 0])
    np.testing.assert_allclose(kept[1], kept[1, 0])


def test_a_missing_person_has_no_confidence_and_no_sign_of_its_own() -> None:
    """Missing frames count as unseen around them."""
    boxes, keypoints, scores, filled = two_people(400.0)
    scores = scores.copy()
    scores[1, 10:20] = 0
    kept = identity_confidence(boxes, keypoints, scores, filled, FPS)
    assert (kept[1, 10:20] == 0).all()
    assert 0 < kept[1, 9] < kept[1, 0]


@pytest.mark.parametrize("people", [0, 1])
def test_few_people_are_no_special_case(people: int) -> None:
    """Nobody, and somebody alone."""
    arrays = [array[:people] for array in two_people(0.0)]
    features = identity_features(*arrays, FPS)
    assert features.shape == (people, 30, len(FEATURES))
    assert ((identity_risk(features) > 0) & (identity_risk(features) < 1)).all()
