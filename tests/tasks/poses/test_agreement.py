"""Whether two ways find the same people, on cases that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.core.geometry import SEGMENT_SHARE
from tasks.core.skeleton import SIGMAS
from tasks.poses.agreement import likeness
from tasks.poses.detections import Detections
from tests.tasks.poses.test_detections import people

TWO = people([[0, 0, 40, 100], [200, 0, 240, 100]], [0.5, 0.4])


def test_the_same_people_in_another_order_are_the_same() -> None:
    """Rows are sets, not lists."""
    found = likeness([TWO, Detections.none()], [TWO.select(np.array([1, 0])), Detections.none()])
    assert (found.frames, found.people, found.same_count, found.oks) == (2, 2, 1.0, 1.0)
    assert found.holds


def test_a_lost_person_shows_in_the_count_alone() -> None:
    """The other one is still compared with itself."""
    found = likeness([TWO, TWO], [TWO, TWO.select(np.array([0]))])
    assert (found.same_count, found.oks) == (0.5, 1.0)
    assert not found.holds


def test_moved_joints_lower_the_similarity() -> None:
    """By COCO's formula: exp(-d^2 / (2 A (2 sigma)^2)), averaged over the joints."""
    one = TWO.select(np.array([0]))
    found = likeness([one], [one.shifted(5, 0)])
    expected = np.exp(-25 / (2 * 4000 * SEGMENT_SHARE * (2 * SIGMAS) ** 2)).mean()
    assert found.oks == pytest.approx(expected, abs=1e-4)
    assert not found.holds


def test_nobody_anywhere_is_no_agreement() -> None:
    """Empty frames say nothing about joints: no claim is made."""
    found = likeness([Detections.none()], [Detections.none()])
    assert math.isnan(found.oks)
    assert not found.holds
