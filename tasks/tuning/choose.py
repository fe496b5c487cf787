"""Which settings to take, and what they are worth on cameras that had no part in the choice.

A choice on some clips starts from the settings in use. It adds the single change of `axes` with the highest value

    p_at_2 + identity_kept + covered / 2

among those that lower none of the three by more than `LOSS`, then the best one to add to that. The choice is repeated
with each source left out. It stands only if most of these choices are the same, and the clips of each source are judged
by the choice without it: only these figures are reported, with intervals from drawing whole sources again and again
(bootstrap). If the gain of the value may as well be nothing, the advice is to keep the settings in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.core.settings import Settings
from tasks.tuning.measure import COUNTS, Counts, Point

FIGURES = ("p_at_2", "identity_kept", "covered")
VALUE = (1.0, 1.0, 0.5)
"""Weight of each figure: identity and the first two people reach the network, people further down hardly do."""

LOSS = 0.01
"""Most by which a choice may lower a figure on the clips that it is made on."""

LEAST_GAIN = 0.005
"""A change that gains less on the clips of a choice is not added to it."""

MOST_TOGETHER = 2
"""Most changes that are added: with four, settings that fit the clips of the choice made the other clips worse."""

SIZES = (5, 8, 12, 20, 30, 50, 80, 120)
"""Numbers of clips at which it is tried whether a choice from so many is as good as the one from all."""

DRAWS = 20
"""Choices from clips drawn at random, for each of these numbers."""

AS_GOOD = 0.75
"""Share of them that has to be as good for the answer to be called stable from there on."""

RESAMPLES = 2000
INTERVAL = (0.05, 0.95)

Figures = npt.NDArray[np.float64]
Measure = Callable[[Sequence[Point]], Counts]
Clips = npt.NDArray[np.bool_]
"""Which of all clips, (clips,)."""


def axes(settings: Settings) -> dict[str, list[Point]]:
    """Return the single changes that are tried, by what they change.

    Thresholds on scores are tried as multiples, since their range is the model's.
    """
    tracking, selection = settings.tracking, settings.selection
    # The model's own thresholds are filled in by now; only the type still allows None.
    high, low = tracking.track_high_thresh or 0.0, tracking.track_low_thresh or 0.0
    still, quality = tracking.track_still_thresh or 0.0, selection.quality_threshold or 0.0

    def of_tracking(name: str, *values: float) -> list[Point]:
        """Return one change for each value that is not in use."""
        return [(("tracking", name, value),) for value in values if value != getattr(tracking, name)]

    return {
        # A high threshold below the low one would have no meaning.
        "start and extend": [
            (("tracking", "track_high_thresh", high * share), ("tracking", "track_low_thresh", min(low, high * share)))
            for share in (0.5, 1.6)
        ],
        "extend": [(("tracking", "track_low_thresh", min(high, 2 * low)),)],
        "objects": of_tracking("track_still_thresh", 0.0, 1.5 * still),
        "patience": of_tracking("track_max_disappeared", 10, 60),
        "duplicates": of_tracking("duplicate_oks", 0.55, 0.85),
        "merging": of_tracking("merge_similarity", 0.38, 0.55, 0.65),
        # Fewer duplicates leave more boxes to tracks, of which more then follow two people: the two go together.
        "duplicates and merging": [
            (("tracking", "duplicate_oks", oks), ("tracking", "merge_similarity", similarity))
            for oks, similarity in ((0.85, 0.55), (0.85, 0.65))
            if (oks, similarity) != (tracking.duplicate_oks, tracking.merge_similarity)
        ],
        "joining": of_tracking("link_overlap", 0.1, 0.35),
        # Who is found again after so long is taken to have been there all the while: the two go together.
        "gaps": [
            (("tracking", "fill_seconds", seconds), ("tracking", "link_seconds", seconds))
            for seconds in (0.5, 2.0)
            if (seconds, seconds) != (tracking.fill_seconds, tracking.link_seconds)
        ],
        "smoothing": of_tracking("smoothing_seconds", 0.04, 0.15),
        "evidence": of_tracking("track_min_hits", 1, 5),
        "length": [(("selection", "min_track_length", v),) for v in (5, 16) if v != selection.min_track_length],
        "quality": [(("selection", "quality_threshold", quality * share),) for share in (0.5, 1.5)],
        # Only upwards: with fewer people some fighters can only be lost.
        "people": [(("selection", "max_persons", v),) for v in (4, 8, 12, 20) if v > selection.max_persons],
    }


def figures_of(counts: Counts) -> Figures:
    """Return the figures over clips, (..., 3) in the order of `FIGURES`, from counts (..., clips, counts)."""
    at = {name: counts[..., number] for number, name in enumerate(COUNTS)}
    # At least 1, since none of some clips may be judged.
    judged = np.maximum(at["judged"].sum(-1), 1)
    known = np.maximum((at["fighters"] > 0).sum(-1), 1)
    return np.stack(
        [
            # Clips that cannot be judged have 0 here, so that this is a sum over the judged ones.
            at["p_at_2"].sum(-1) / judged,
            at["kept"].sum(-1) / np.maximum(at["pairs"].sum(-1), 1),
            # The mean of the clips' shares: a long clip counts no more than a short one.
            (at["covered"] / np.maximum(at["fighters"], 1)).sum(-1) / known,
        ],
        axis=-1,
    )


def value_of(figures: Figures) -> npt.NDArray[np.float64]:
    """Return the one number by which settings are chosen, from figures (..., 3)."""
    return figures @ np.array(VALUE)


class Measured:
    """Counts of points over all clips, measured when they are asked for and kept.

    Parameters
    ----------
    measure
        Returns the counts of some points over all clips, (points, clips, counts).
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._known: dict[Point, Counts] = {}

    def need(self, points: Iterable[Point]) -> None:
        """Measure those of some points that are not known yet, all at once."""
        # `dict.fromkeys` drops what is asked for twice and keeps the order.
        wanted = [point for point in dict.fromkeys(points) if point not in self._known]
        if wanted:
            self._known |= dict(zip(wanted, self._measure(wanted), strict=True))

    def known(self, points: Iterable[Point]) -> list[Point]:
        """Return those of some points that are measured."""
        return [point for point in points if point in self._known]

    def figures(self, point: Point, clips: Clips) -> Figures:
        """Return the figures of a point over some clips."""
        return figures_of(self._known[point][clips])

    def counts(self, point: Point) -> Counts:
        """Return the counts of a point over all clips, (clips, counts)."""
        return self._known[point]


def stepwise(
    measured: Measured, by_axis: dict[str, list[Point]], choices: Sequence[Clips], more: bool = True
) -> list[Point]:
    """Return for each of some sets of clips the change that is chosen on it, () for none.

    Each starts from the settings in use and adds the single change that gains most, as long as one gains `LEAST_GAIN`:
    what gains little alone may gain much after another (longer gaps once fewer duplicates are dropped).

    Parameters
    ----------
    measured
        Of all clips; what is not measured yet is measured for all sets at once.
    by_axis
        The single changes, see `axes`.
    choices
        The sets of clips.
    more
        Whether changes are tried that were not measured before.
    """
    found: list[Point] = [()] * len(choices)
    for _ in range(MOST_TOGETHER):
        options = [_grown(point, by_axis) for point in found]
        # For all sets at once: the clips are then read once a round, not once per set.
        if more:
            measured.need([(), *(point for points in options for point in points)])
        # A set to which nothing was added has the options of the round before, and chooses as it did then.
        found = [
            choose(measured, measured.known(points), clips, now)
            for points, clips, now in zip(options, choices, found, strict=True)
        ]
    return found


def _grown(point: Point, by_axis: dict[str, list[Point]]) -> list[Point]:
    """Return a point with each single change added that changes none of its settings again."""
    taken = {name for _, name, _ in point}
    added = (change for changes in by_axis.values() for change in changes)
    # Sorted, so that the same changes are one point in whatever order they were added.
    return [tuple(sorted(point + change)) for change in added if not taken & {name for _, name, _ in change}]


def choose(measured: Measured, candidates: Sequence[Point], clips: Clips, now: Point) -> Point:
    """Return the candidate of the highest value over some clips; the present point if none gains `LEAST_GAIN` on it.

    No figure may fall below that of the settings in use by more than `LOSS`.
    """
    start = measured.figures((), clips)
    allowed = [p for p in candidates if np.all(measured.figures(p, clips) >= start - LOSS)]
    best = max(allowed, key=lambda point: float(value_of(measured.figures(point, clips))), default=now)
    gain = float(value_of(measured.figures(best, clips)) - value_of(measured.figures(now, clips)))
    return best if gain > LEAST_GAIN else now


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What to change, and what that is worth.

    Attributes
    ----------
    point
        The change, chosen on all clips; () where most choices without one source are others.
    before, after
        (3,) `FIGURES` of the settings in use, and of choices that were made without the source of each clip.
    low, high
        (3,) interval of the difference of those two.
    gain
        Difference of the value, and its interval: (3,) middle, low, high.
    counts_before, counts_after
        (clips, counts) of the same two, for each clip.
    folds, agreeing
        Number of choices with one source left out, and how many of them are the one from all clips.
    stable_from
        From how many clips on choices are as good as `point`, see `stable_from`; None if not even from most of them,
        or if most choices without one source are others.
    """

    point: Point
    before: Figures
    after: Figures
    low: Figures
    high: Figures
    gain: Figures
    counts_before: Counts
    counts_after: Counts
    folds: int
    agreeing: int
    stable_from: int | None

    @property
    def pays(self) -> bool:
        """Whether the gain on sources that had no part in the choice is more than chance."""
        return bool(self.point) and bool(self.gain[1] > 0)


def choose_left_out(measured: Measured, by_axis: dict[str, list[Point]], groups: Sequence[str]) -> Choice:
    """Choose on all clips, and judge the choice with each group left out.

    Parameters
    ----------
    measured
        Of all clips.
    by_axis
        The single changes, see `axes`.
    groups
        Source or camera of each clip.
    """
    names = np.array(groups)
    everyone = np.ones(len(names), np.bool_)
    # The clips of each choice: all but those of one group.
    folds = {name: names != name for name in dict.fromkeys(groups)}
    point, *left_out = stepwise(measured, by_axis, [everyone, *folds.values()])
    before, after = measured.counts(()), measured.counts(()).copy()
    for chosen, clips in zip(left_out, folds.values(), strict=True):
        # Judged by the choice in which these clips had no part.
        after[~clips] = measured.counts(chosen)[~clips]
    agreeing = sum(chosen == point for chosen in left_out)
    low, high, gain = _intervals(before, after, names)
    figures = figures_of(before), figures_of(after)
    # Another choice for every other camera says more about these clips than about the next ones.
    if 2 * agreeing > len(folds):
        stable = stable_from(measured, by_axis, point, len(names))
    else:
        point, stable = (), None
    return Choice(point, *figures, low, high, gain, before, after, len(folds), agreeing, stable)


def stable_from(measured: Measured, by_axis: dict[str, list[Point]], point: Point, clips: int) -> int | None:
    """Return the least of `SIZES` from which on choices from so many clips are as good as the one from all.

    A choice is as good if its value over all clips is no more than `LEAST_GAIN` below that of `point`. Only points that
    are measured already are chosen from, so that this costs no more tracking.

    Parameters
    ----------
    measured, by_axis
        As in `choose_left_out`, which has measured what is needed.
    point
        The choice from all clips.
    clips
        Number of all clips.

    Returns
    -------
    None where choices from most of the clips are still worse, or there are too few clips to tell.
    """
    everyone = np.ones(clips, np.bool_)
    wanted = float(value_of(measured.figures(point, everyone))) - LEAST_GAIN
    # A fixed seed: the same reviews give the same answer.
    rng = np.random.default_rng(0)
    found = None
    # From the most clips down: it has to hold from the size on, not at one size by chance.
    for size in sorted((size for size in SIZES if size < clips), reverse=True):
        drawn = np.zeros((DRAWS, clips), np.bool_)
        for some in drawn:
            some[rng.choice(clips, size, replace=False)] = True
        chosen = stepwise(measured, by_axis, list(drawn), more=False)
        as_good = sum(float(value_of(measured.figures(one, everyone))) >= wanted for one in chosen)
        if as_good < AS_GOOD * DRAWS:
            break
        found = size
    return found


def _intervals(before: Counts, after: Counts, names: npt.NDArray[np.str_]) -> tuple[Figures, Figures, Figures]:
    """Return the interval of the difference of each figure, and the difference of the value with its interval."""
    sources = np.unique(names)
    # A fixed seed: the same reviews give the same advice.
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(names == source) for source in sources]
    differences = []
    for _ in range(RESAMPLES):
        # Whole sources, since clips of one camera are not independent.
        drawn = np.concatenate([rows[source] for source in rng.integers(0, len(sources), len(sources))])
        differences.append(figures_of(after[drawn]) - figures_of(before[drawn]))
    spread = np.array(differences)
    low, high = np.quantile(spread, INTERVAL, axis=0)
    values = np.quantile(value_of(spread), INTERVAL)
    middle = float(value_of(figures_of(after) - figures_of(before)))
    return low, high, np.array([middle, *values])
