"""MOTChallenge sequences: boxes only, judged by HOTA, IDF1, MOTA and ID switches."""

from __future__ import annotations

import configparser
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.choices import Tracker
from tasks.core.records import Poses
from tasks.core.settings import TrackingSettings
from tasks.tracking import track_people
from tests.benchmarks.tracking.measures import Measured, People, combine, measure, people_of

DETECTIONS = ("det_frcnn_sort/det.txt", "det/det.txt")
"""Where a sequence keeps its detections; the first that exists is used."""

HIGH, LOW = 0.6, 0.1
"""The default thresholds, made for scores that reach 1 as those of these detectors do."""


def sequences(folder: Path) -> list[Path]:
    """Return the sequence folders below `folder`: those with ground truth and detections."""
    return sorted(
        gt.parent.parent
        for gt in folder.glob("*/gt/gt.txt")
        if any((gt.parent.parent / name).is_file() for name in DETECTIONS)
    )


def _table(path: Path) -> npt.NDArray[np.float64]:
    """Read the first seven columns of a MOT file: frame, id, left, top, width, height, score."""
    return np.loadtxt(path, delimiter=",", usecols=range(7), ndmin=2)


def _corners(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the boxes of a MOT table as xyxy."""
    return np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1)


def load_sequence(folder: Path) -> tuple[Poses, People]:
    """Return a sequence's detections, without joints, and its ground truth.

    Ground truth rows of score 0 are left out, detections upon them are not: the rule of MOT15.
    """
    parser = configparser.ConfigParser()
    parser.read(folder / "seqinfo.ini")
    info: Any = parser["Sequence"] if parser.has_section("Sequence") else {}
    truth = _table(folder / "gt" / "gt.txt")
    truth = truth[truth[:, 6] != 0]
    found = _table(next(folder / name for name in DETECTIONS if (folder / name).is_file()))
    found = found[np.argsort(found[:, 0], kind="stable")]
    last = int(max(truth[:, 0].max(initial=0), found[:, 0].max(initial=0)))
    frames = max(int(info.get("seqLength", 0)), last)
    n = len(found)
    poses = Poses(
        found[:, 0].astype(np.int32) - 1,
        _corners(found).astype(np.float32),
        _unit_scores(found[:, 6]).astype(np.float32),
        np.zeros((n, 17, 2), np.float32),
        np.zeros((n, 17), np.float32),
        frames,
        int(info.get("imWidth", 1920)),
        int(info.get("imHeight", 1080)),
        float(info.get("frameRate", 30)),
    )
    person = np.unique(truth[:, 1], return_inverse=True)[1]
    return poses, People(truth[:, 0].astype(int) - 1, person, _corners(truth), np.zeros(len(truth), bool))


def _unit_scores(score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Bring scores to 0..1; public detections of MOT15 have other ranges, of which the rank is taken."""
    if not len(score) or (score.min() >= 0 and score.max() <= 1):
        return score
    return np.argsort(np.argsort(score)) / max(len(score) - 1, 1)


def run_mot(folder: Path, trackers: list[Tracker]) -> dict[str, dict[str, Any]]:
    """Return HOTA, IDF1, MOTA (percent), IDSW and frames per second of each tracker over all sequences of a folder.

    The figures of each sequence stand under the key `sequences`.
    """
    loaded = {path.name: load_sequence(path) for path in sequences(folder)}
    result: dict[str, dict[str, Any]] = {}
    for tracker in trackers:
        settings = TrackingSettings(tracker=tracker, track_high_thresh=HIGH, track_low_thresh=LOW)
        measured: dict[str, Measured] = {}
        seconds = 0.0
        for name, (poses, truth) in loaded.items():
            start = time.perf_counter()
            tracks = track_people(poses, settings)
            seconds += time.perf_counter() - start
            measured[name] = measure(truth, people_of(tracks), poses.frame_count)
        frames = sum(poses.frame_count for poses, _ in loaded.values())
        result[tracker.value] = {
            **combine(list(measured.values())),
            "fps": frames / seconds,
            "sequences": {name: combine([m]) for name, m in measured.items()},
        }
    return result
