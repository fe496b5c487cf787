"""How well tracks and their order show the people of a clip whose people are known.

A known person in a known frame is matched one to one to the ranked person whose box overlaps it best (IoU of at least
`MIN_IOU`); a ranked person has the role that most of its matches have. Figures over clips:

p_at_2         of the first two ranked persons, the share that are fighters; one without a match counts as wrong, one
               called "unsure" only is skipped
p_at_2_known   the same over ranked persons with a role only
both_in_top2   share of clips in which the first two are fighters
first_fighter  share of clips in which the first one is a fighter
ap             average precision of fighters against bystanders in rank order, ranked persons with a role only
oracle         p_at_2_known of a perfect ranking of the same persons
covered        share of known fighter boxes that any ranked person covers
identity_kept  of all pairs of successive known frames that both show the same fighter, the share in which the fighter
               is covered in both by the same track ID
id_changes     share of known people covered in successive frames of theirs whose track ID differs

The ranking is judged in clips with at least two fighters and one bystander.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tasks.core.geometry import iou
from tasks.core.records import Tracks

MIN_IOU = 0.4
"""Boxes of wrestling pairs are rough: a stricter match would judge the boxes."""

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Label:
    """Who does what in one clip.

    Attributes
    ----------
    clip
        Name of the clip.
    source
        The camera or video that it comes from; clips of one source are not independent.
    frames
        Frame index, ascending, to the people known there: dicts of `person`, `role` and `box` (xyxy, pixels).
    """

    clip: str
    source: str
    frames: dict[int, list[dict[str, Any]]]

    @property
    def judged(self) -> bool:
        """Whether a ranking can be judged here: at least two fighters and one bystander."""
        roles = {p["person"]: p["role"] for people in self.frames.values() for p in people}
        count = Counter(roles.values())
        return count["fighter"] >= 2 and count["bystander"] >= 1


@dataclass
class ClipScore:
    """Counts and figures of one clip; what is summed over clips stays a count."""

    judged: bool
    boxes: int = 0
    covered_boxes: int = 0
    pairs: int = 0
    changes: int = 0
    chances: int = 0
    kept: int = 0
    ranking: dict[str, float] = field(default_factory=dict)


def dense_boxes(tracks: Tracks, order: npt.NDArray[np.integer[Any]]) -> FloatArray:
    """Return the boxes of some tracks as (M, T, 4), persons in the given order of IDs; zeros where one has no row."""
    boxes = np.zeros((len(order), tracks.poses.frame_count, 4))
    # From ID to rank, -1 for people who are not ranked.
    person = np.full(int(tracks.ids.max(initial=0)) + 1, -1)
    person[order] = np.arange(len(order))
    rows = np.flatnonzero(person[tracks.track_id] >= 0)
    boxes[person[tracks.track_id[rows]], tracks.poses.frame_index[rows]] = tracks.poses.bbox[rows]
    return boxes


def score_clip(boxes: FloatArray, label: Label) -> ClipScore:
    """Judge the ranked persons of one clip.

    Parameters
    ----------
    boxes
        (M, T, 4) xyxy in pixels, persons in rank order, zeros where a person is absent. The row number is the track ID.
    label
        The clip's label.
    """
    score = ClipScore(judged=label.judged)
    matches = {f: match_people(people, boxes, f) for f, people in label.frames.items()}
    roles = [Counter[str]() for _ in range(len(boxes))]
    for f, people in label.frames.items():
        for person in people:
            track = matches[f].get(person["person"])
            fighter = person["role"] == "fighter"
            score.boxes += fighter
            score.covered_boxes += fighter and track is not None
            if track is not None:
                # Every match is a vote for the role of the track.
                roles[track][person["role"]] += 1
    _count_identity(score, label, matches)
    score.ranking = _ranking_figures([_role(count) for count in roles])
    return score


def match_people(people: list[dict[str, Any]], boxes: FloatArray, frame: int) -> dict[str, int]:
    """Return the track of each labelled person that one covers in a frame."""
    # A known frame may lie past the end of the poses.
    if not len(boxes) or frame >= boxes.shape[1] or not people:
        return {}
    overlap = iou(np.array([p["box"] for p in people], float)[:, None], boxes[None, :, frame])
    # The best match of each person alone could give one track to two of them.
    pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
    return {people[p]["person"]: int(track) for p, track in pairs if overlap[p, track] >= MIN_IOU}


def _count_identity(score: ClipScore, label: Label, matches: dict[int, dict[str, int]]) -> None:
    """Count over successive labelled frames how often a person keeps its track."""
    last: dict[str, int] = {}
    before: dict[str, int | None] = {}
    for f, people in label.frames.items():
        # A frame past the clip's end, or any frame when nobody is ranked, counts as seen but uncovered.
        now: dict[str, int | None] = {
            p["person"]: matches[f].get(p["person"]) for p in people if p["role"] == "fighter"
        }
        common = now.keys() & before.keys()
        score.chances += len(common)
        score.kept += sum(now[p] is not None and now[p] == before[p] for p in common)
        # Here everybody counts, against the track that covered them last, however long ago.
        again = matches[f].keys() & last.keys()
        score.pairs += len(again)
        score.changes += sum(matches[f][p] != last[p] for p in again)
        last |= matches[f]
        before = now


def _role(count: Counter[str]) -> str:
    """Return the role of a ranked person from its matches: the most frequent known one, else unsure or unknown."""
    # A role that somebody is sure of goes before any number of unsure ones.
    known = {role: n for role, n in count.items() if role != "unsure"}
    if known:
        return max(known, key=lambda role: known[role])
    return "unsure" if count else "unknown"


def _ranking_figures(roles: list[str]) -> dict[str, float]:
    """Return the ranking figures of one clip from the roles in rank order."""
    ranked = [r == "fighter" for r in roles if r != "unsure"]
    known = np.array([r == "fighter" for r in roles if r not in ("unsure", "unknown")], bool)
    # At each rank; its mean over the ranks of fighters is the average precision.
    precision = np.cumsum(known) / np.arange(1, len(known) + 1)
    return {
        "p_at_2": sum(ranked[:2]) / 2,
        "p_at_2_known": float(known[:2].sum()) / 2,
        "oracle": min(int(known.sum()), 2) / 2,
        "both_in_top2": float(ranked[:2] == [True, True]),
        "first_fighter": float(ranked[:1] == [True]),
        "ap": float(precision[known].mean()) if known.any() else 0.0,
    }


def totals(scores: Iterable[ClipScore]) -> dict[str, float]:
    """Return the figures over clips: means of ranking figures and coverage, shares of summed identity counts."""
    scores = list(scores)
    judged = [s for s in scores if s.judged]
    names = ("p_at_2", "p_at_2_known", "oracle", "both_in_top2", "first_fighter", "ap")
    total = {n: float(np.mean([s.ranking[n] for s in judged])) if judged else float("nan") for n in names}
    total["covered"] = float(np.mean([s.covered_boxes / max(s.boxes, 1) for s in scores]))
    total["id_changes"] = sum(s.changes for s in scores) / max(sum(s.pairs for s in scores), 1)
    total["identity_kept"] = sum(s.kept for s in scores) / max(sum(s.chances for s in scores), 1)
    return total


def track_roles(boxes: FloatArray, label: Label) -> list[str]:
    """Return the role of each ranked person: fighter, bystander, unsure, or unknown where nobody labelled is covered.

    Parameters
    ----------
    boxes
        (M, T, 4) xyxy in pixels, zeros where a person is absent.
    label
        The clip's label.
    """
    roles = [Counter[str]() for _ in range(len(boxes))]
    for f, people in label.frames.items():
        matches = match_people(people, boxes, f)
        for person in people:
            if person["person"] in matches:
                roles[matches[person["person"]]][person["role"]] += 1
    return [_role(count) for count in roles]
