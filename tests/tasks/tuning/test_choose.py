"""What is chosen gains on sources that had no part in the choice, and chance is not taken for a gain."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from tasks.core.settings import Settings, Thresholds
from tasks.tuning.choose import LOSS, Choice, Measured, axes, choose_left_out, figures_of
from tasks.tuning.measure import COUNTS, Counts, Point, with_point

SETTINGS = Settings().resolve(Thresholds())
BETTER: Point = (("tracking", "merge_similarity", 0.65),)
SMALLER: Point = (("tracking", "smoothing_seconds", 0.04),)
GROUPS = [source for source in "abcdef" for _ in range(4)]


def counts(kept: float, covered: float = 5.0) -> list[float]:
    """Return the counts of a clip with ten fighter boxes and ten pairs."""
    return [1.0, 0.5, 10.0, covered, 10.0, kept]


def chosen(
    effects: dict[Point, list[float]], noise: float = 0.0, groups: Sequence[str] = GROUPS, seed: int = 0
) -> Choice:
    """Return the choice where some single changes have an effect on kept and covered, and effects add up."""
    by_axis = axes(SETTINGS)

    def measure(points: Sequence[Point]) -> Counts:
        """Return made-up counts; a point's noise is its own and always the same."""
        result = np.zeros((len(points), len(groups), len(COUNTS)))
        for number, point in enumerate(points):
            # Not `hash`, which differs from process to process.
            rng = np.random.default_rng([seed, zlib.crc32(repr(point).encode())])
            gain = sum((np.array(effect) for one, effect in effects.items() if set(one) <= set(point)), np.zeros(2))
            for clip in range(len(groups)):
                result[number, clip] = counts(5 + gain[0] + noise * rng.normal(), 5 + gain[1])
        return result

    return choose_left_out(Measured(measure), by_axis, groups)


def test_changes_that_gain_are_taken_together() -> None:
    """And the figures are those of the choices that were made without each source."""
    choice = chosen({BETTER: [2.0, 0.0], SMALLER: [1.0, 0.0]})
    assert set(choice.point) == set(BETTER + SMALLER)
    assert choice.pays
    assert choice.after - choice.before == pytest.approx([0, 0.3, 0])
    assert (choice.agreeing, choice.folds) == (6, 6)


def test_what_gains_only_after_another_change_is_found() -> None:
    """Longer gaps gain nothing alone, and most once tracks are merged sooner."""
    gaps: Point = (("tracking", "fill_seconds", 2.0), ("tracking", "link_seconds", 2.0))
    choice = chosen({BETTER: [1.0, 0.0], BETTER + gaps: [2.0, 0.0]})
    assert set(choice.point) == set(BETTER + gaps)
    assert choice.pays


def test_a_choice_that_hangs_on_single_sources_is_none() -> None:
    """Changes that are all as good as each other but for noise: without another source another one is best."""
    choice = chosen({}, noise=3.0)
    assert 2 * choice.agreeing <= choice.folds
    assert (choice.point, choice.stable_from) == ((), None)


def test_where_nothing_gains_nothing_is_changed() -> None:
    """Nor where everything loses."""
    for effects in ({}, {BETTER: [-2.0, 0.0], SMALLER: [-1.0, -1.0]}):
        choice = chosen(effects)
        assert choice.point == ()
        assert not choice.pays
        np.testing.assert_array_equal(choice.before, choice.after)


def test_chance_is_not_taken_for_a_gain() -> None:
    """Of thirty points that only differ by noise one is always the best; left out, it gains nothing.

    By the interval one in twenty may pay all the same.
    """
    assert sum(chosen({}, noise=1.0, seed=seed).pays for seed in range(8)) <= 1


def test_a_gain_in_one_figure_does_not_pay_for_a_loss_in_another() -> None:
    """Identity that is won by dropping people is none."""
    choice = chosen({BETTER: [5.0, -5 * LOSS * 10]})
    assert choice.point == ()


def test_what_gains_on_one_source_only_does_not_pay() -> None:
    """The other sources say so."""
    choice = chosen({BETTER: [0.5, 0.0]}, groups=["a"] * 4)
    # One source: every clip is held against the others, but there is no spread between sources to judge by.
    assert choice.folds == 1


def test_it_says_from_how_many_clips_on_the_answer_is_stable() -> None:
    """A plain gain is seen in a handful of clips; one that drowns in noise is not."""
    assert chosen({BETTER: [2.0, 0.0]}).stable_from == 5
    noisy = chosen({BETTER: [0.6, 0.0]}, noise=3.0)
    assert noisy.stable_from is None or noisy.stable_from > 5
    # Fewer clips than the least number tell nothing.
    assert chosen({BETTER: [2.0, 0.0]}, groups=["a", "b", "c"]).stable_from is None


def test_every_single_change_is_a_valid_setting_that_is_not_in_use() -> None:
    """For the thresholds of any model, RTMO's as well as MoveNet's."""
    low = Thresholds(score_thr=0.04, nms_thr=0.65, track_high_thresh=0.06, track_low_thresh=0.04, quality_threshold=0.1)
    for thresholds in (Thresholds(), low):
        settings = Settings().resolve(thresholds)
        for points in axes(settings).values():
            for point in points:
                changed = with_point(settings, point)
                assert Settings.model_validate(changed.model_dump()) == changed
                assert changed != settings
                assert changed.tracking.track_low_thresh <= changed.tracking.track_high_thresh


def test_figures_are_those_of_the_labels_scorer() -> None:
    """Means over judged clips, shares of sums over pairs, means over clips with a fighter."""
    rows = np.array([[1, 1.0, 4, 2, 3, 3], [0, 0, 0, 0, 0, 0], [1, 0.5, 4, 4, 1, 0]], float)
    assert figures_of(rows) == pytest.approx([0.75, 0.75, 0.75])
