"""Removing duplicates and cleaning what a model gives."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.poses.detections import Detections, clean, suppress_duplicates


def people(boxes: list[list[float]], scores: list[float]) -> Detections:
    """Return detections whose joints fill their boxes."""
    bbox = np.array(boxes, np.float32).reshape(-1, 4)
    spread = np.linspace(0, 1, 17, dtype=np.float32)[None, :, None]
    keypoints = bbox[:, None, :2] + spread * (bbox[:, None, 2:] - bbox[:, None, :2])
    return Detections(bbox, np.array(scores, np.float32), keypoints, np.full((len(bbox), 17), 0.5, np.float32))


def test_of_two_boxes_on_one_person_the_better_stays() -> None:
    """Greedy removal goes by score."""
    found = people([[0, 0, 10, 20], [0, 0, 10, 21], [50, 0, 60, 20]], [0.3, 0.6, 0.2])
    assert suppress_duplicates(found, 0.1, 0.65).score == pytest.approx([0.6, 0.2])


def test_low_scores_are_dropped_and_the_threshold_itself_stays() -> None:
    """The threshold is inclusive."""
    found = people([[0, 0, 10, 20], [50, 0, 60, 20]], [0.25, 0.125])
    assert len(suppress_duplicates(found, 0.125, 0.65)) == 2
    assert len(suppress_duplicates(found, 0.2, 0.65)) == 1


def test_equal_scores_keep_their_order() -> None:
    """A stable order gives the same people on every machine."""
    found = people([[0, 0, 10, 20], [0, 0, 10, 20.1], [50, 0, 60, 20]], [0.5, 0.5, 0.5])
    assert suppress_duplicates(found, 0, 0.65).bbox[:, 3] == pytest.approx([20, 20])


def test_nobody_stays_nobody() -> None:
    """Frames without people are the common case."""
    assert len(suppress_duplicates(Detections.none(), 0.1, 0.65)) == 0
    assert len(clean(Detections.none(), 100, 100)) == 0


@pytest.mark.parametrize("field", ["bbox", "score", "keypoints", "keypoint_scores"])
def test_rows_that_are_not_finite_are_dropped(field: str) -> None:
    """One bad number would stop the whole record."""
    found = people([[0, 0, 10, 20], [50, 0, 60, 20]], [0.5, 0.4])
    getattr(found, field)[0] = np.nan
    assert clean(found, 100, 100).score == pytest.approx([0.4])


def test_boxes_are_clipped_to_the_frame_and_those_outside_are_dropped() -> None:
    """The third box is thinner than a pixel."""
    found = people([[-10, -5, 40, 120], [150, 0, 180, 20], [5, 5, 5.5, 90]], [0.5, 0.4, 0.3])
    result = clean(found, 100, 100)
    assert result.bbox.tolist() == [[0, 0, 40, 100]]


def test_joints_without_a_score_are_zero() -> None:
    """The annotation contract wants xy 0 where the score is 0."""
    found = people([[10, 10, 30, 60]], [0.5])
    found.keypoint_scores[0, :3] = (0, -0.2, 1.4)
    result = clean(found, 100, 100)
    assert (result.keypoints[0, :2] == 0).all()
    assert result.keypoint_scores[0, :3] == pytest.approx([0, 0, 1])
