"""What must hold for any tracks: scores in [0, 1], and no rank that depends on mirror, resolution or frame rate."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.choices import Scorer
from tasks.core.records import Involvement, Poses, Tracks
from tasks.core.settings import ScoringSettings
from tasks.involvement import rank_involvement
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tests.scenes import person, tracks_of

MIRRORED = [1, 0, 3, 2, 4]
"""Positions in `REGIONS` after left and right are exchanged."""

FRAMES = 40


@st.composite
def scenes(draw: st.DrawFn) -> Tracks:
    """Up to five people who stand, stroll or swing anywhere, gaps, estimated rows and missing joints included."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    people = []
    for _ in range(draw(st.integers(1, 5))):
        start, length = draw(st.integers(0, FRAMES - 1)), draw(st.integers(1, FRAMES))
        frames = np.arange(start, min(start + length, FRAMES))
        # Multiples of a half are exact in float32 after mirroring and doubling; so are the sizes below.
        centre = np.round(rng.uniform((-100, -50), (740, 410), (len(frames), 2)) * 2) / 2
        centre = np.round((centre[0] + 0.05 * (centre - centre[0])) * 2) / 2
        rows = person(frames, centre, float(rng.integers(10, 150) * 2), rng.uniform(0, 0.4), rng.uniform(0.5, 4))
        rows["keypoints"] = np.round(rows["keypoints"] * 4) / 4
        missing = rng.random(rows["scores"].shape) < draw(st.sampled_from([0.0, 0.2, 1.0]))
        rows["scores"] = np.where(missing, 0, rng.uniform(0.05, 1, rows["scores"].shape))
        rows["keypoints"][missing] = 0
        rows["filled"] = rng.random(len(frames)) < draw(st.sampled_from([0.0, 0.3, 1.0]))
        kept = rng.random(len(frames)) < 0.9
        kept[0] = True
        people.append({name: values[kept] for name, values in rows.items()})
    return tracks_of(people, FRAMES)


def rank(tracks: Tracks, scorer: Scorer = Scorer.DEFAULT) -> Involvement:
    """Run regions, weights and ranking."""
    chosen = ScoringSettings(scorer=scorer)
    regions = score_regions(tracks)
    return rank_involvement(tracks, regions, learn_region_weights(tracks, regions, chosen), chosen)


def rebuilt(tracks: Tracks, **changes: object) -> Tracks:
    """Return the tracks with some fields of their poses replaced."""
    poses = tracks.poses
    values = {name: getattr(poses, name) for name in Poses.__dataclass_fields__} | changes
    return Tracks(Poses(**values), tracks.track_id, tracks.filled)


def check_bounds(result: Involvement) -> None:
    """Every figure is finite and within [0, 1]; scores descend."""
    parts = [result.score, result.window_score, result.region_scores, result.region_weights.weights]
    for values in (*parts, *result.components.values()):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (values <= 1).all()
    assert (np.diff(np.round(result.score, 5)) <= 0).all()


@settings(max_examples=60, deadline=None)
@given(tracks=scenes(), scorer=st.sampled_from(list(Scorer)))
def test_every_score_is_finite_and_between_0_and_1(tracks, scorer):
    """Whatever is tracked, with either scorer."""
    result = rank(tracks, scorer)
    check_bounds(result)
    assert sorted(result.track_ids.tolist()) == tracks.ids.tolist()
    assert set(result.best_partner.tolist()) <= {0, *tracks.ids.tolist()}


@settings(max_examples=60, deadline=None)
@given(tracks=scenes(), scorer=st.sampled_from(list(Scorer)))
def test_mirroring_mirrors_the_regions_and_changes_no_rank(tracks, scorer):
    """Left and right mean nothing."""
    poses = tracks.poses
    bbox = poses.bbox.copy()
    bbox[:, [0, 2]] = poses.width - poses.bbox[:, [2, 0]]
    keypoints = poses.keypoints.copy()
    keypoints[..., 0] = poses.width - keypoints[..., 0]
    plain, mirrored = rank(tracks, scorer), rank(rebuilt(tracks, bbox=bbox, keypoints=keypoints), scorer)
    np.testing.assert_array_equal(plain.track_ids, mirrored.track_ids)
    np.testing.assert_allclose(plain.score, mirrored.score, atol=1e-5)
    np.testing.assert_allclose(plain.region_scores[:, MIRRORED], mirrored.region_scores, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(tracks=scenes(), scorer=st.sampled_from(list(Scorer)))
def test_doubling_the_resolution_changes_no_rank(tracks, scorer):
    """Pixels mean nothing."""
    poses = tracks.poses
    large = rebuilt(
        tracks, bbox=poses.bbox * 2, keypoints=poses.keypoints * 2, width=poses.width * 2, height=poses.height * 2
    )
    plain, doubled = rank(tracks, scorer), rank(large, scorer)
    np.testing.assert_array_equal(plain.track_ids, doubled.track_ids)
    np.testing.assert_allclose(plain.score, doubled.score, atol=1e-5)


@pytest.mark.parametrize("fps", [12.5, 25.0, 30.0])
def test_doubling_the_frame_rate_changes_scores_by_little(fps):
    """The same motion, sampled twice as often."""

    def scene(rate: float) -> Tracks:
        """Two people who fight and one who stands, two seconds long."""
        frames = np.arange(round(2 * rate))
        return tracks_of(
            [
                person(frames, (300, 180), swing=0.2, fps=rate),
                person(frames, (345, 180), swing=0.2, rate=1.5, fps=rate),
                person(frames, (550, 200), swing=0.03, fps=rate),
            ],
            len(frames),
            fps=rate,
        )

    once, twice = rank(scene(fps)), rank(scene(2 * fps))
    np.testing.assert_array_equal(once.track_ids, twice.track_ids)
    np.testing.assert_allclose(once.score, twice.score, atol=0.03)


@pytest.mark.parametrize("scorer", list(Scorer))
class TestBadInput:
    """Defined scores for what should not be, without any warning from numpy."""

    def test_nobody(self, scorer):
        """No track at all, and no frame at all."""
        assert len(rank(tracks_of([], 5), scorer).track_ids) == 0
        assert len(rank(tracks_of([], 0), scorer).track_ids) == 0

    def test_one_person_without_a_partner(self, scorer):
        """Alone: no partner, no interaction."""
        result = rank(tracks_of([person(np.arange(20), (300, 180), swing=0.2)], 20), scorer)
        check_bounds(result)
        assert result.best_partner.tolist() == [0]
        assert result.components["interaction"].tolist() == [0]

    def test_tracks_of_one_frame(self, scorer):
        """No motion is known of anybody."""
        people = [person(np.array([3]), (100 * i, 180)) for i in range(1, 4)]
        check_bounds(rank(tracks_of(people, 10), scorer))

    def test_all_keypoints_missing(self, scorer):
        """Boxes only."""
        people = [person(np.arange(20), (300 + 30 * i, 180), score=0.0) for i in range(2)]
        for rows in people:
            rows["keypoints"][:] = 0
        check_bounds(rank(tracks_of(people, 20), scorer))

    def test_a_frame_of_one_pixel(self, scorer):
        """Everybody outside of it."""
        people = [person(np.arange(20), (3 * i, 2), height=4.0) for i in range(2)]
        check_bounds(rank(tracks_of(people, 20, width=1, height=1), scorer))

    def test_boxes_without_area(self, scorer):
        """All of one person in one pixel."""
        people = [person(np.arange(20), (300, 180), height=0.0) for _ in range(2)]
        check_bounds(rank(tracks_of(people, 20), scorer))

    def test_people_far_outside_the_frame(self, scorer):
        """No region holds them."""
        result = rank(tracks_of([person(np.arange(20), (-5000, 9000), swing=0.2)], 20), scorer)
        check_bounds(result)
        assert not result.region_scores.any()

    @pytest.mark.parametrize("fps", [0.0, -1.0, 1000.0])
    def test_a_frame_rate_that_cannot_be(self, scorer, fps):
        """0 and below count as 25."""
        people = [person(np.arange(20), (300 + 40 * i, 180), swing=0.2) for i in range(2)]
        result = rank(tracks_of(people, 20, fps=fps), scorer)
        check_bounds(result)
        if fps <= 0:
            np.testing.assert_array_equal(result.score, rank(tracks_of(people, 20, fps=25.0), scorer).score)

    def test_only_estimated_rows(self, scorer):
        """A track that was never seen."""
        rows = person(np.arange(20), (300, 180), swing=0.2)
        rows["filled"][:] = True
        check_bounds(rank(tracks_of([rows], 20), scorer))


def test_scoring_a_hundred_people_stays_cheap():
    """Scoring must stay far below the 30 ms a frame that finding people takes: 100 people, 60 frames."""
    rng = np.random.default_rng(0)
    people = [person(np.arange(60), rng.uniform((0, 0), (640, 360)), 60.0, swing=0.1) for _ in range(100)]
    tracks = tracks_of(people, 60)
    rank(tracks)
    start = time.process_time()
    rank(tracks)
    # Generous: measured about 10 ms a frame would be a regression by an order of magnitude.
    assert time.process_time() - start < 1.5
