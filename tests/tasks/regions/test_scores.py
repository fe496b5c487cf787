"""Region scores: the formulas, borders, and people outside the frame."""

import numpy as np
import pytest

from tasks.regions.scores import region_scores_of_points, score_regions
from tests.scenes import person, tracks_of


def test_points_score_by_the_documented_formulas():
    """Hand-computed: heart of a quadrant 1, a quarter off it, heart and border of the middle."""
    points = np.array([(25, 25), (12.5, 25), (50, 50), (74, 50)])
    scores = region_scores_of_points(points, 100, 100)
    # (12.5, 25) is (.25, .5) of the top left quadrant: 1 - .25 / sqrt(.5).
    np.testing.assert_allclose(scores[0], [1, 0, 0, 0, 0.8], atol=1e-12)
    np.testing.assert_allclose(scores[1], [1 - 0.25 / np.sqrt(0.5), 0, 0, 0, 0], atol=1e-12)
    # The frame's middle is the corner of all quadrants (score 0) and the heart of the centre (score 1).
    np.testing.assert_allclose(scores[2], [0, 0, 0, 0, 1], atol=1e-12)
    assert scores[3, 4] == pytest.approx(0.8 + 0.2 * 0.02 / 0.5)


def test_a_track_scores_the_mean_over_all_its_frames():
    """Half the frames in the heart of the top left, half outside of it: the mean is one half."""
    centre = np.repeat([(160.0, 90.0), (480.0, 270.0)], 5, axis=0)
    scores = score_regions(tracks_of([person(np.arange(10), centre)], 10)).scores
    np.testing.assert_allclose(scores[0, :4], [0.5, 0, 0, 0.5], atol=1e-6)


def test_people_outside_the_frame_score_nothing_anywhere():
    """Far outside and huge: defined, and zero."""
    assert not region_scores_of_points(np.array([(-50.0, 10), (1e30, 1e30)]), 640, 360).any()


def test_a_frame_of_one_pixel_and_no_people_are_defined():
    """Nothing divides by zero."""
    assert region_scores_of_points(np.array([(0.5, 0.5)]), 1, 1)[0, 4] == 1
    assert score_regions(tracks_of([], 5)).scores.shape == (0, 5)
