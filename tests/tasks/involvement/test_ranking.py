"""Ranking and selection: hand-computed earlier scores, the defects, and the order on plain scenes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.core.choices import Scorer
from tasks.core.errors import ClipError, FailureReason
from tasks.core.settings import ScoringSettings, SelectionSettings
from tasks.involvement import rank_involvement, select_people
from tasks.involvement.ranking import busiest_frame
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tests.scenes import person, tracks_of

FRAMES = np.arange(50)


def rank(tracks, **settings):
    """Run regions, weights and ranking."""
    chosen = ScoringSettings(**settings)
    regions = score_regions(tracks)
    return rank_involvement(tracks, regions, learn_region_weights(tracks, regions, chosen), chosen)


def fight_with_bystander(**bystander):
    """Two people fighting in the middle and one standing apart, IDs 1, 2 and 3."""
    return tracks_of(
        [
            person(FRAMES, (300, 180), swing=0.2),
            person(FRAMES, (345, 180), swing=0.2, rate=2.5),
            person(FRAMES, **{"centre": (550, 200), **bystander}),
        ],
        50,
    )


def test_fighters_rank_before_the_bystander():
    """The plainest scene there is."""
    result = rank(fight_with_bystander())
    assert set(result.track_ids[:2]) == {1, 2}
    assert set(result.best_partner[:2]) == {1, 2}
    assert (np.diff(result.score) <= 0).all()


def test_near_people_do_not_win_by_their_pixels():
    """Defect 9: a person twice as large (near the camera) that sways half as much (in its own size) stays behind."""
    result = rank(fight_with_bystander(height=200.0, swing=0.1, centre=(560, 150)))
    assert set(result.track_ids[:2]) == {1, 2}
    movement = dict(zip(result.track_ids.tolist(), result.components["movement"], strict=True))
    assert movement[3] < min(movement[1], movement[2])


def test_movement_does_not_depend_on_resolution():
    """Defect 9: the same scene at twice the size has the same movement."""
    small = rank(tracks_of([person(FRAMES, (300, 180), swing=0.2)], 50))
    large = rank(tracks_of([person(FRAMES, (600, 360), height=200, swing=0.2)], 50, 1280, 720))
    np.testing.assert_allclose(small.components["movement"], large.components["movement"], rtol=1e-4)


def test_two_tracks_in_exactly_the_same_frames_are_compared():
    """Defect 1: comparing tracks as dicts of arrays raised when two tracks shared the same frames."""
    for scorer in Scorer:
        assert len(rank(fight_with_bystander(), scorer=scorer).track_ids) == 3


def test_estimated_rows_are_no_evidence_of_motion_or_quality():
    """Defect 6: rows invented inside a gap change neither movement nor quality nor persistence."""
    walker = person(FRAMES, (300, 180), swing=0.2)
    kept = {name: values[:20] for name, values in walker.items()}
    wild = {name: values.copy() for name, values in walker.items()}
    wild["filled"][20:] = True
    wild["keypoints"][20:] += np.random.default_rng(0).normal(0, 50, wild["keypoints"][20:].shape)
    wild["scores"][20:] = 0.01
    plain, filled = rank(tracks_of([kept], 50)), rank(tracks_of([wild], 50))
    for name in ("movement", "persistence", "reliability"):
        np.testing.assert_allclose(plain.components[name], filled.components[name], rtol=1e-5)
    np.testing.assert_allclose(plain.quality, filled.quality, rtol=1e-5)


class TestSeed:
    """The earlier formulas, computed by hand."""

    def test_components_of_two_people(self):
        """Two people walk right at 2 px a frame, 30 px apart; the second joins in frame 6 of 10."""
        first = person(np.arange(10), np.array([(100.0 + 2 * t, 180) for t in range(10)]))
        second = person(np.arange(6, 10), np.array([(130.0 + 2 * t, 180) for t in range(6, 10)]))
        result = rank(tracks_of([first, second], 10), scorer=Scorer.SEED, adaptive=False)
        parts = {name: dict(zip(result.track_ids.tolist(), v, strict=True)) for name, v in result.components.items()}
        # All joints move alike: none exceeds mean + 2 std.
        assert parts["movement"] == {1: 0.0, 2: 0.0}
        assert parts["persistence"][1] == 1.0
        assert parts["persistence"][2] == pytest.approx(0.4)
        np.testing.assert_allclose(list(parts["temporal_consistency"].values()), 1.0, rtol=1e-6)
        # Boxes of 40 x 100: size sqrt(4000) = 63.25; proximity 1 - 30 / 63.25 / 3; sync 0 in the second's
        # first row, else 1.
        proximity = 1 - 30 / np.sqrt(4000) / 3
        expected = np.mean([(proximity + sync) / 2 for sync in (0, 1, 1, 1)])
        assert parts["interaction"][1] == pytest.approx(expected, rel=1e-5)
        assert parts["interaction"][2] == pytest.approx(expected, rel=1e-5)

    def test_movement_is_the_share_of_joints_beyond_mean_and_two_deviations(self):
        """One joint of 17 jumps in one of two frame pairs: (1/17 + 0) / 2."""
        still = person(np.arange(3), (300, 180))
        still["keypoints"][1:, 9, 0] += 40
        result = rank(tracks_of([still], 3), scorer=Scorer.SEED)
        assert result.components["movement"][0] == pytest.approx(1 / 17 / 2)

    def test_composite_is_the_weighted_sum(self):
        """The earlier weights .30 .35 .20 .10 .05."""
        result = rank(fight_with_bystander(), scorer=Scorer.SEED)
        parts = result.components
        expected = (
            0.30 * parts["movement"] + 0.35 * parts["position"] + 0.20 * parts["interaction"]
            + 0.10 * parts["temporal_consistency"] + 0.05 * parts["persistence"]
        )  # fmt: skip
        np.testing.assert_allclose(result.score, expected, rtol=1e-5)

    def test_position_is_the_best_weighted_region(self):
        """A person in the heart of the bottom left (weight .8), which is the border of the centre (.8 x 1.0)."""
        result = rank(tracks_of([person(np.arange(5), (150, 270))], 5), scorer=Scorer.SEED, adaptive=False)
        local = 150 / 320
        assert result.components["position"][0] == pytest.approx(0.8 * (1 - abs(local - 0.5) / np.sqrt(0.5)), rel=1e-5)


class TestSelection:
    """Who reaches the annotation, and the errors when nobody does."""

    clip = Path("Fight/a.mp4")

    def test_short_and_poor_tracks_are_dropped_and_the_first_kept(self):
        """Rank order stays, max_persons cuts."""
        people = [person(FRAMES, (100 * i, 180), swing=0.05 * i) for i in range(1, 5)]
        people.append(person(FRAMES[:5], (320, 180)))
        people.append(person(FRAMES, (320, 180), score=0.1))
        ranked = rank(tracks_of(people, 50))
        kept = select_people(ranked, SelectionSettings(quality_threshold=0.3, max_persons=3), self.clip)
        assert len(kept.track_ids) == 3
        assert not {5, 6} & set(kept.track_ids.tolist())
        assert (np.diff(kept.score) <= 0).all()
        assert kept.window_score.shape[0] == 3

    @pytest.mark.parametrize(
        ("people", "reason", "remedy"),
        [
            ([], FailureReason.NO_TRACKS, "--score-thr"),
            ([person(FRAMES[:5], (320, 180))], FailureReason.INSUFFICIENT_LENGTH, "--min-track-length"),
            ([person(FRAMES, (320, 180), score=0.1)], FailureReason.LOW_QUALITY, "--quality-threshold"),
        ],
    )
    def test_nobody_left_is_an_error_with_a_remedy(self, people, reason, remedy):
        """Never an empty annotation."""
        ranked = rank(tracks_of(people, 50))
        with pytest.raises(ClipError) as caught:
            select_people(ranked, SelectionSettings(quality_threshold=0.3), self.clip)
        assert caught.value.reason is reason
        assert remedy in str(caught.value)

    def test_without_a_single_joint_nobody_is_kept(self):
        """Not even where every quality will do: in an annotation they would be in no frame."""
        boxes_only = person(FRAMES, (320, 180), score=0.0)
        selection = SelectionSettings(quality_threshold=0.0)
        kept = select_people(rank(tracks_of([person(FRAMES, (100, 180)), boxes_only], 50)), selection, self.clip)
        assert kept.track_ids.tolist() == [1]
        with pytest.raises(ClipError, match="nobody in it has a single joint") as caught:
            select_people(rank(tracks_of([boxes_only], 50)), selection, self.clip)
        assert caught.value.reason is FailureReason.LOW_QUALITY


class TestWeights:
    """The composite weights are settings."""

    def test_a_single_component_orders_alone(self):
        """Only size counts: the largest person first, though it stands still."""
        result = rank(fight_with_bystander(height=200.0, centre=(560, 150)), weights={"size": 1.0})
        assert result.track_ids[0] == 3
        np.testing.assert_allclose(result.score, result.components["size"])

    @pytest.mark.parametrize("weights", [{"speed": 1.0}, {"movement": -1.0}, {"movement": 0.0}, {}])
    def test_weights_that_cannot_make_a_mean_are_refused(self, weights):
        """With the names that there are."""
        with pytest.raises(ValueError, match=r"no such component|weights must lie"):
            ScoringSettings(weights=weights)


def test_windows_say_when_a_person_is_involved():
    """One second of striking within three: its window scores highest, and windows without the person score 0."""
    frames = np.arange(75)
    late = person(frames, (345, 180))
    strike = person(frames, (345, 180), swing=0.3, rate=3)
    for name in ("bbox", "keypoints"):
        late[name][50:] = strike[name][50:]
    short = person(frames[:25], (100, 100))
    result = rank(tracks_of([person(frames, (300, 180)), late, short], 75))
    assert result.window_frames.tolist() == [0, 25, 50, 75]
    rows = dict(zip(result.track_ids.tolist(), result.window_score, strict=True))
    assert rows[2].argmax() == 2
    assert rows[2][2] > 2 * rows[2][0]
    assert rows[3][1:].tolist() == [0, 0]


def test_speeds_and_windows_go_by_the_clock_where_the_rate_varies():
    """Frames that a recorder left out change neither how fast somebody is nor when a window ends."""
    frames = np.arange(150)
    kept = np.sort(np.concatenate([frames[:60], frames[60::3]]))

    def ranked(picked, times):
        """Rank two people, one of them livelier, in some of the frames of five seconds."""
        rows = [person(picked, (200 + 90 * i, 180), height=120, swing=0.15 - 0.1 * i, rate=1.0, fps=30) for i in (0, 1)]
        for row in rows:
            row["frame"] = np.arange(len(picked))
        tracks = tracks_of(rows, len(picked), fps=len(picked) / 5)
        return rank(replace(tracks, poses=replace(tracks.poses, times=times)))

    whole, varied = ranked(frames, None), ranked(kept, kept / 30)
    assert varied.track_ids.tolist() == whole.track_ids.tolist()
    off = np.abs(varied.components["movement"] - whole.components["movement"]).max()
    # By the mean rate alone the speeds would be off.
    assert off < 0.5 * np.abs(ranked(kept, None).components["movement"] - whole.components["movement"]).max()
    # Five windows of a second: the frames that are there begin each of them.
    assert kept[varied.window_frames[:-1]] / 30 == pytest.approx([0, 1, 2, 3, 4], abs=0.1)


def test_the_frame_that_shows_a_clip_is_the_middle_of_its_busiest_window():
    """Of the first two people, whatever the others do."""
    edges = np.array([0, 10, 20, 26])
    scores = np.array([[0.1, 0.9, 0.2], [0.2, 0.1, 0.9], [9.0, 0.0, 0.0]])
    assert busiest_frame(edges, scores) == 23
    assert busiest_frame(edges, scores[:1]) == 15
