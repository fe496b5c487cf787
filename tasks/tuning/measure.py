"""How well settings find the known people of a clip: tracking and ranking again from stored poses.

Most of the time goes into following people from frame to frame. It is done once per clip for all points that differ
only in what is read afterwards.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.choices import Tracker
from tasks.core.errors import ClipError
from tasks.core.records import IntArray, Poses, Tracks
from tasks.core.settings import Settings, TrackingSettings
from tasks.involvement import rank_involvement, select_people
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tasks.tracking import best_first, follow_people, repair_tracks, track_people
from tasks.tracking.occlusion import end_at_nearer
from tasks.tuning.figures import Label, dense_boxes, score_clip

COUNTS = ("judged", "p_at_2", "fighters", "covered", "pairs", "kept")
"""What is measured of a clip: whether the ranking can be judged and its p_at_2, known fighter boxes and how many of
them are covered, pairs of successive frames with a fighter and in how many of them the ID is kept."""

FOLLOWED_BY = ("track_high_thresh", "track_low_thresh", "track_max_disappeared", "duplicate_oks")
"""Settings that following people reads; all others are read afterwards."""

Point = tuple[tuple[str, str, float], ...]
"""Settings that differ from those in use: group, name and value."""

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """A clip whose people are known.

    Attributes
    ----------
    poses
        File of the stored poses.
    label
        Who is who.
    """

    poses: Path
    label: Label


def with_point(settings: Settings, point: Point) -> Settings:
    """Return settings with some of them changed."""
    for group, name, value in point:
        part = getattr(settings, group)
        # Whole numbers stay whole: frames and people are counted.
        kind = int if isinstance(getattr(part, name), int) else float
        settings = settings.model_copy(update={group: part.model_copy(update={name: kind(value)})})
    return settings


def measure(case: Case, settings: Settings, points: Sequence[Point]) -> Counts:
    """Return the counts of one clip under each of some points, (points, counts).

    Parameters
    ----------
    case
        The clip.
    settings
        The settings in use, thresholds resolved.
    points
        What to change in them.
    """
    poses = best_first(Poses.load(case.poses))
    # Most points differ only in what is read later, and share what was followed.
    followed: dict[str, IntArray] = {}
    rows = []
    for point in points:
        changed = with_point(settings, point)
        tracks = _tracked(poses, changed.tracking, followed)
        rows.append(_counts(ranked_boxes(tracks, changed), case.label))
    return np.array(rows, np.float64).reshape(len(points), len(COUNTS))


def measure_all(
    cases: Sequence[Case],
    settings: Settings,
    points: Sequence[Point],
    workers: int = 1,
    on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> Counts:
    """Return the counts of all clips under each of some points, (points, clips, counts).

    Parameters
    ----------
    cases, settings, points
        See `measure`.
    workers
        Processes that share the clips.
    on_clip
        Called after each clip with the number of clips that are done, and of all.
    """
    result = np.zeros((len(points), len(cases), len(COUNTS)))
    for number, counts in enumerate(_each(cases, settings, points, workers)):
        result[:, number] = counts
        on_clip(number + 1, len(cases))
    return result


def _each(cases: Sequence[Case], settings: Settings, points: Sequence[Point], workers: int) -> Iterator[Counts]:
    """Yield the counts of each clip, in order."""
    jobs = [(case, settings, points) for case in cases]
    # One process, or one clip, gains nothing from a pool.
    if workers < 2 or len(cases) < 2:
        yield from (measure(*job) for job in jobs)
        return
    # Not forked: a fork of a process with threads may hang.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_measure_job, jobs)


def _measure_job(job: tuple[Case, Settings, Sequence[Point]]) -> Counts:
    """Measure one clip in a worker process, which needs a function of a module."""
    return measure(*job)


def _tracked(poses: Poses, settings: TrackingSettings, followed: dict[str, IntArray]) -> Tracks:
    """Return the tracks of a clip; what was followed before under the same settings is used again."""
    # Only this program's own tracker has following and repairing as separate steps.
    if settings.tracker is not Tracker.FIGHTPOSE:
        return track_people(poses, settings)
    key = repr([getattr(settings, name) for name in FOLLOWED_BY])
    if key not in followed:
        followed[key] = follow_people(poses, settings)
    return repair_tracks(poses, followed[key], settings)


def ranked_boxes(tracks: Tracks, settings: Settings) -> npt.NDArray[Any]:
    """Return the boxes of the people who reach the annotation, (M, T, 4) in rank order."""
    regions = score_regions(tracks)
    weights = learn_region_weights(tracks, regions, settings.scoring)
    ranking = rank_involvement(tracks, regions, weights, settings.scoring)
    try:
        # The path is for an error's message, which nobody gets to see here.
        ids = select_people(ranking, settings.selection, Path()).track_ids
    except ClipError:
        # A clip without anybody is a recorded failure in a run; here it finds nobody.
        ids = np.zeros(0, np.int32)
    return dense_boxes(end_at_nearer(tracks), ids)


def _counts(boxes: npt.NDArray[Any], label: Label) -> list[float]:
    """Return the counts of one clip, see `COUNTS`."""
    score = score_clip(boxes, label)
    # 0 where the order cannot be judged, so that sums are over the judged clips.
    ranked = score.ranking["p_at_2"] if score.judged else 0.0
    return [score.judged, ranked, score.boxes, score.covered_boxes, score.chances, score.kept]
