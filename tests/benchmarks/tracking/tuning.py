"""MOT sequences in two halves: constants are chosen on one half and reported on the other, both ways round.

Each tracker chooses from a grid of 18 points (`GRIDS`): the score below which detections are ignored, the frames for
which a person is looked for, and one threshold of its own. The halves are every second sequence by name, whatever the
figures; a point is chosen by the mean of HOTA and IDF1 over the tuning half and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import trackers as package

from tasks.core.choices import Tracker
from tasks.core.records import Poses
from tasks.core.settings import TrackingSettings
from tasks.tracking import repair, track_people
from tasks.tracking.baselines import CLASSES
from tests.benchmarks.tracking.measures import Measured, People, combine, measure, people_of
from tests.benchmarks.tracking.mot import HIGH, LOW, load_sequence, sequences

Constants = dict[str, float]

COMMON = {"track_low_thresh": (0.1, 0.7, 0.9), "track_max_disappeared": (15, 30)}
"""The published trackers know no lowest score: lower detections are taken out before they see them."""

GRIDS: dict[Tracker, dict[str, tuple[float, ...]]] = {
    Tracker.FIGHTPOSE: {**COMMON, "LINK_IOU_BOXES": (0.2, 0.35, 0.5)},
    Tracker.BYTETRACK: {**COMMON, "minimum_iou_threshold": (0.1, 0.2, 0.3)},
    Tracker.SORT: {**COMMON, "minimum_iou_threshold": (0.2, 0.3, 0.4)},
    Tracker.OCSORT: {**COMMON, "minimum_iou_threshold": (0.2, 0.3, 0.4)},
}
"""Values of each constant; the default of each is among them, so that tuning may choose to change nothing.

`LINK_IOU_BOXES` is the one constant of our tracker that only boxes without joints know. Its default was chosen with
these sequences at hand, so that it must be chosen anew here, from the value for joints (0.2) on.
"""


def halves(names: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Return (tuned on, reported on) for both ways round: every second name in alphabetical order.

    Raises
    ------
    ValueError
        If there are fewer than two sequences, or a name stands twice: a sequence would be tuned and reported on.
    """
    first, second = sorted(names)[0::2], sorted(names)[1::2]
    if not second or set(first) & set(second):
        raise ValueError(f"tuning needs at least two sequences of different names, not {sorted(names)}")
    return [(first, second), (second, first)]


def grid(tracker: Tracker) -> list[Constants]:
    """Return all points of a tracker's grid."""
    return [dict(zip(GRIDS[tracker], point, strict=True)) for point in itertools.product(*GRIDS[tracker].values())]


def choose(measured: Sequence[Mapping[str, Measured]], names: Sequence[str]) -> int:
    """Return which of several points has the highest mean of HOTA and IDF1 over some sequences; of equals the first."""
    figures = [combine([point[name] for name in names]) for point in measured]
    return max(range(len(figures)), key=lambda k: figures[k]["HOTA"] + figures[k]["IDF1"])


def run_tuning(folder: Path, trackers: list[Tracker]) -> dict[str, dict[str, Any]]:
    """Return for each tracker the figures of both held-out halves, tuned on the other half and with the defaults.

    Under `held_out` stand, for each way round, the names of the two halves, the chosen constants and the figures
    (`tuned`, `default`) of the sequences that were not tuned on. `tuned` and `default` beside it are those of all
    sequences together, each with the constants that the other half chose.
    """
    loaded = {path.name: load_sequence(path) for path in sequences(folder)}
    folds = halves(list(loaded))
    result: dict[str, dict[str, Any]] = {}
    for tracker in trackers:
        points = grid(tracker)
        measured = [_measure_all(loaded, tracker, point) for point in points]
        default = _measure_all(loaded, tracker, {})
        chosen = [choose(measured, tuned_on) for tuned_on, _ in folds]
        together = [
            measured[k][name] for k, (_, reported_on) in zip(chosen, folds, strict=True) for name in reported_on
        ]
        result[tracker.value] = {
            "tuned": combine(together),
            "default": combine(list(default.values())),
            "held_out": [
                {
                    "tuned_on": tuned_on,
                    "reported_on": reported_on,
                    "constants": points[k],
                    "tuned": combine([measured[k][name] for name in reported_on]),
                    "default": combine([default[name] for name in reported_on]),
                }
                for k, (tuned_on, reported_on) in zip(chosen, folds, strict=True)
            ],
        }
    return result


def _measure_all(
    loaded: Mapping[str, tuple[Poses, People]], tracker: Tracker, constants: Constants
) -> dict[str, Measured]:
    """Run a tracker with some constants changed over all sequences.

    Sequences are tracked one by one and nothing passes from one to another, so that measuring all of them at once does
    not tell the choice anything about the half that is held out.
    """
    values = {"track_high_thresh": HIGH, "track_low_thresh": LOW, **constants}
    settings = TrackingSettings.model_validate(
        {"tracker": tracker, **{k: v for k, v in values.items() if k in TrackingSettings.model_fields}}
    )
    # What is no setting is changed by this benchmark only.
    own = {k: v for k, v in values.items() if k not in TrackingSettings.model_fields}
    if tracker is Tracker.FIGHTPOSE:
        with mock.patch.dict(vars(repair), own):
            return {name: _measure_one(poses, truth, settings) for name, (poses, truth) in loaded.items()}
    name = CLASSES[tracker]
    with mock.patch.object(package, name, partial(getattr(package, name), **own)):
        return {
            name: _measure_one(poses.select(poses.score >= values["track_low_thresh"]), truth, settings)
            for name, (poses, truth) in loaded.items()
        }


def _measure_one(poses: Poses, truth: People, settings: TrackingSettings) -> Measured:
    """Track and measure one sequence."""
    return measure(truth, people_of(track_people(poses, settings)), poses.frame_count)
