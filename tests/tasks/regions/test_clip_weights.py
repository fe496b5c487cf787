"""Region weights: what is learned, what must not happen, and the earlier formula."""

import numpy as np
import pytest

from tasks.core.choices import Scorer
from tasks.core.records import RegionScores
from tasks.core.settings import ScoringSettings
from tasks.regions.camera_weights import INITIAL_WEIGHTS
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tests.scenes import person, tracks_of


def fight_at(x, y, swing=0.15):
    """Two active people around a point of a 640 x 360 frame."""
    frames = np.arange(30)
    return tracks_of([person(frames, (x - 20, y), swing=swing), person(frames, (x + 20, y), swing=swing)], 30)


def learn(tracks, **settings):
    """Learn weights with the given settings."""
    return learn_region_weights(tracks, score_regions(tracks), ScoringSettings(**settings))


def test_weights_do_not_fall_merely_because_another_round_was_run():
    """Defect 8: in the earlier formula all weights shrink; here the strongest region stays at 1 in every round."""
    weights = learn(fight_at(320, 180), region_tolerance=0.0)
    assert len(weights.path) == 6
    np.testing.assert_allclose(weights.path.max(axis=1), 1.0)
    shrinking = learn(fight_at(320, 180), scorer=Scorer.SEED, region_tolerance=0.0)
    assert shrinking.path[-1].sum() < 0.5 * shrinking.path[0].sum()


def test_regions_used_alike_do_not_fall():
    """Where every region is used equally, no weight falls below its start."""
    tracks = fight_at(320, 180)
    even = RegionScores(np.array([1, 2], np.int32), np.full((2, 5), 0.4, np.float32))
    weights = learn_region_weights(tracks, even, ScoringSettings(region_tolerance=0.0))
    assert (weights.weights >= INITIAL_WEIGHTS.astype(np.float32)).all()


def test_the_region_of_the_fight_becomes_the_strongest():
    """A camera whose fight is in the bottom right: that region ends at 1, the opposite one lowest of the quadrants."""
    weights = learn(fight_at(480, 270)).weights
    assert weights[3] == 1
    assert weights[3] > weights[0]


def test_rounds_stop_at_the_tolerance_and_path_starts_with_the_start():
    """At most five rounds; a large tolerance stops after the first."""
    assert len(learn(fight_at(320, 180), region_tolerance=5.0).path) == 2
    np.testing.assert_allclose(learn(fight_at(320, 180)).path[0], INITIAL_WEIGHTS, rtol=1e-6)


def test_seed_rounds_match_a_hand_computed_round():
    """One round on one person in the heart of the top left: it uses top left (1) and the centre's border (.8)."""
    tracks = tracks_of([person(np.arange(10), (160, 90))], 10)
    weights = learn(tracks, scorer=Scorer.SEED, region_rounds=1).weights
    used = np.array([0.7 * 1.0, 0, 0, 0, 1.0 * 0.8])
    np.testing.assert_allclose(weights, 0.7 * INITIAL_WEIGHTS + 0.3 * used / used.sum(), rtol=1e-5)


@pytest.mark.parametrize("settings", [{"adaptive": False}, {"region_rounds": 0}])
def test_nothing_is_learned_where_learning_is_off(settings):
    """The weights are the start, and the path has one row."""
    weights = learn(fight_at(480, 270), **settings)
    np.testing.assert_allclose(weights.weights, INITIAL_WEIGHTS, rtol=1e-6)
    assert len(weights.path) == 1


def test_an_empty_clip_keeps_the_start():
    """Nobody was tracked: defined, no warning."""
    np.testing.assert_allclose(learn(tracks_of([], 5)).weights, INITIAL_WEIGHTS, rtol=1e-6)
