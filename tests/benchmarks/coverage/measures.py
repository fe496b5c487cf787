"""The figures by which detections of labelled clips are judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.geometry import iou
from tasks.core.records import Poses, Tracks
from tasks.poses.detections import Detections, pairwise_oks
from tasks.tuning.figures import MIN_IOU, match_people
from tests.benchmarks.labelled import Label, by_area, dense_boxes

DOUBLE_OKS = 0.7
"""Two detections on one labelled person whose joints agree this much are one skeleton found twice."""


def people_of(poses: Poses, frame: int) -> Detections:
    """Return the detections of one frame."""
    rows = np.flatnonzero(poses.frame_index == frame)
    return Detections(poses.bbox[rows], poses.score[rows], poses.keypoints[rows], poses.keypoint_scores[rows])


def count_frames(poses: Poses, label: Label) -> Counter[str]:
    """Count labelled and covered people, doubles and detections over the labelled frames of a clip."""
    count: Counter[str] = Counter()
    for frame, people in label.frames.items():
        found = people_of(poses, frame)
        matched = match_people(people, found.bbox[:, None].astype(float), 0)
        _count_roles(count, people, matched.keys(), "frame")
        count["frames"] += 1
        count["detections"] += len(found)
        count["people"] += len(people)
        count["doubles"] += sum(_is_double(person["box"], found) for person in people)
    return count


def _is_double(box: npt.ArrayLike, found: Detections) -> bool:
    """Tell whether two detections on one labelled box are the same skeleton."""
    on_it = found.select(iou(np.asarray(box, float), found.bbox.astype(float)) >= MIN_IOU)
    return bool(np.any(np.triu(pairwise_oks(on_it), 1) > DOUBLE_OKS))


def count_tracked(tracks: Tracks, label: Label, min_length: int) -> Counter[str]:
    """Count labelled and covered people after tracking, tracks of at least `min_length` rows only."""
    count: Counter[str] = Counter()
    boxes = dense_boxes(tracks, by_area(tracks, min_length))
    for frame, people in label.frames.items():
        _count_roles(count, people, match_people(people, boxes, frame).keys(), "tracked")
    return count


def _count_roles(count: Counter[str], people: list[dict[str, Any]], matched: Any, kind: str) -> None:
    """Add a frame's labelled and covered people, by role."""
    for person in people:
        count[f"{kind} {person['role']}"] += 1
        count[f"{kind} {person['role']} covered"] += person["person"] in matched


def longest_track_s(tracks: Tracks, min_length: int) -> float:
    """Return how long the longest track of at least `min_length` rows lasts, seconds; 0 where there is none."""
    lengths = np.bincount(tracks.track_id, minlength=1)
    longest = int(lengths.max(initial=0))
    return longest / tracks.poses.fps if longest >= min_length else 0.0


def shares(count: Mapping[str, int]) -> dict[str, float]:
    """Turn the counts of all clips into the figures of a variant; shares are over people, not over clips."""

    def share(kind: str, role: str) -> float:
        """Covered people as a share of the labelled ones."""
        return count.get(f"{kind} {role} covered", 0) / max(count.get(f"{kind} {role}", 0), 1)

    return {
        "fighters": share("frame", "fighter"),
        "bystanders": share("frame", "bystander"),
        "fighters_tracked": share("tracked", "fighter"),
        "bystanders_tracked": share("tracked", "bystander"),
        "people_per_frame": count.get("detections", 0) / max(count.get("frames", 0), 1),
        "doubles": count.get("doubles", 0) / max(count.get("people", 0), 1),
    }
