"""Whether the probability of a lost identity is true, and whether the review page's list finds what is lost.

    python -m tests.benchmarks.identity --labels FILE --poses FOLDER [FOLDER ...] [--json FILE]

A moment is a labelled person whom a track covers, from one labelled frame to the next (half a second). It is real if
another track covers the person then, or the track covers somebody else. Of each moment the highest probability counts.

`reliability` compares the predicted chance with the share that is real, with the weights that are shipped and with
weights fitted without the source of each clip. `listed` is the share of real moments among the first entries of a clip
(`tasks.review.id_switches`): an entry finds a moment if it names one of its tracks, less than a quarter of a second
away. `chance` is the same for entries at even times about somebody at random and the people who overlap them most.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from tasks.annotations.format import Annotation, build_annotation
from tasks.core.errors import ClipError
from tasks.core.geometry import iou
from tasks.core.settings import Settings
from tasks.core.storage import write_json
from tasks.involvement import rank_involvement, select_people
from tasks.poses.models import MOVENET
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tasks.review.id_switches import OTHERS, find_suspects
from tasks.tracking import track_people
from tasks.tracking.identity import identity_features, identity_risk
from tasks.tracking.occlusion import end_at_nearer
from tasks.tuning.figures import Label, match_people
from tests.benchmarks.labelled import load_labels, load_poses
from tests.tasks.samples import sample_clip

BINS = (0.1, 0.2, 0.3, 0.4, 0.5)
ENTRIES = (1, 2, 3, 5)
AWAY = 0.25
"""Seconds by which an entry may miss a moment: both are seen at once."""

PULL = 1.0
"""Ridge on the weights of a fit: some sources have few real moments."""

Floats = npt.NDArray[np.float64]


@dataclass
class Moment:
    """A person on a track, between two labelled frames, and what became of it.

    Attributes
    ----------
    clip
        Number of the annotation.
    source
        The clip's source.
    start, end
        The labelled frames.
    tracks
        Rows of the annotation that are concerned: the track, and the one that took over.
    real
        Whether the identity was lost.
    features
        Of `identity_features`, as the probability takes them where it is highest.
    """

    clip: int
    source: str
    start: int
    end: int
    tracks: set[int]
    real: bool
    features: Floats


def main() -> None:
    """Measure all kinds of detections together and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="who is who in each clip")
    parser.add_argument("--poses", type=Path, nargs="+", required=True, help="folders of poses, one npz per clip")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    clips = [pair for folder in args.poses for pair in _annotated(load_labels(args.labels), folder)]
    moments = [moment for number, (label, one) in enumerate(clips) for moment in moments_of(number, label, one)]
    result = measured([annotation for _, annotation in clips], moments)
    for name, value in result.items():
        print(f"{name}: {value}")  # noqa: T201
    if args.json:
        write_json(args.json, result)


def measured(annotations: Sequence[Annotation], moments: Sequence[Moment]) -> dict[str, Any]:
    """Return the figures of annotations and their moments."""
    real = np.array([moment.real for moment in moments])
    shipped = identity_risk(np.array([moment.features for moment in moments]))
    lists = [_entries(annotation) for annotation in annotations]
    rng = np.random.default_rng(0)
    random = [_random_entries(annotation, rng) for annotation in annotations]
    return {
        "moments": len(moments),
        "real": int(real.sum()),
        "reliability, shipped": reliability(shipped, real),
        "reliability, source left out": reliability(_left_out(moments), real),
        "listed": {count: found_by(annotations, moments, lists, count) for count in ENTRIES},
        "chance": {count: found_by(annotations, moments, random, count) for count in ENTRIES},
    }


def reliability(chance: Floats, real: npt.NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Return for each band of predicted chances their mean, the share that is real, and the number of moments."""
    band = np.digitize(chance, BINS)
    return [
        (round(float(chance[band == b].mean()), 2), round(float(real[band == b].mean()), 2), int((band == b).sum()))
        for b in range(len(BINS) + 1)
        if (band == b).any()
    ]


Entry = tuple[int, set[int]]
"""Frame and rows of the annotation."""


def found_by(
    annotations: Sequence[Annotation], moments: Sequence[Moment], lists: Sequence[Sequence[Entry]], count: int
) -> float:
    """Return the share of real moments that the first entries of their clips find."""
    real = [moment for moment in moments if moment.real]
    found = 0
    for moment in real:
        away = AWAY * float(annotations[moment.clip]["fps"])
        found += any(
            moment.start - away < frame <= moment.end + away and moment.tracks & tracks
            for frame, tracks in lists[moment.clip][:count]
        )
    return round(found / max(len(real), 1), 3)


def moments_of(number: int, label: Label, annotation: Annotation) -> list[Moment]:
    """Return the moments of a clip in which it can be told what became of a person."""
    found = {frame: match_people(people, annotation["bbox"], frame) for frame, people in label.frames.items()}
    boxes, keypoints, scores, filled = (annotation[name] for name in ("bbox", "keypoint", "keypoint_score", "filled"))
    features = identity_features(boxes, keypoints, scores, filled, float(annotation["fps"]))
    risk = identity_risk(features)
    frames, moments = list(found), []
    for start, end in pairwise(frames):
        after = {row: person for person, row in found[end].items()}
        for person, row in found[start].items():
            now = found[end].get(person)
            # Neither the person nor the track is seen any more: nothing is known.
            if now is None and row not in after:
                continue
            peak = start + int(risk[row, start : end + 1].argmax())
            tracks = {row} if now is None else {row, now}
            moments.append(Moment(number, label.source, start, end, tracks, now != row, features[row, peak]))
    return moments


def _left_out(moments: Sequence[Moment]) -> Floats:
    """Return the chance of each moment by weights that were fitted without its source."""
    features = np.array([moment.features for moment in moments])
    real = np.array([moment.real for moment in moments], float)
    sources = np.array([moment.source for moment in moments])
    chance = np.zeros(len(moments))
    for source in np.unique(sources):
        inside = sources == source
        weights = _fitted(features[~inside], real[~inside])
        chance[inside] = 1 / (1 + np.exp(-(weights[0] + features[inside] @ weights[1:])))
    return chance


def _fitted(features: Floats, real: Floats) -> Floats:
    """Return intercept and weights of a logistic regression."""
    design = np.column_stack([np.ones(len(features)), features])

    def loss(weights: Floats) -> tuple[float, Floats]:
        """Return the negative log likelihood with its ridge, and the gradient."""
        score = design @ weights
        # The intercept is not pulled: it holds how frequent real moments are.
        ridge = PULL * np.array([0, *weights[1:]])
        value = float((np.logaddexp(0, score) - real * score).sum() + ridge @ weights / 2)
        return value, design.T @ (1 / (1 + np.exp(-score)) - real) + ridge

    return np.asarray(minimize(loss, np.zeros(design.shape[1]), jac=True).x)


def _entries(annotation: Annotation) -> list[Entry]:
    """Return the review page's list of a clip."""
    row = {track_id: number for number, track_id in enumerate(annotation["track_ids"].tolist())}
    return [(suspect.frame, {row[i] for i in suspect.track_ids}) for suspect in find_suspects(annotation)]


def _random_entries(annotation: Annotation, rng: np.random.Generator) -> list[Entry]:
    """Return as many entries at even times, each about somebody and the people who overlap them most."""
    boxes, seen = annotation["bbox"], annotation["keypoint_score"].max(axis=2) > 0
    entries: list[Entry] = []
    # Shuffled, so that the first entries are not all at the start.
    for frame in rng.permutation(np.linspace(0, len(seen[0]), max(ENTRIES) + 2)[1:-1].astype(int)).tolist():
        if seen[:, frame].any():
            person = int(rng.choice(np.flatnonzero(seen[:, frame])))
            overlap = iou(boxes[None, person, frame], boxes[:, frame])
            overlap[person] = 0
            nearest = np.argsort(-overlap)[:OTHERS]
            entries.append((frame, {person, *nearest[overlap[nearest] > 0].tolist()}))
    return entries


def _annotated(labels: dict[str, Label], folder: Path) -> list[tuple[Label, Annotation]]:
    """Return the clips that have poses in a folder, annotated with the defaults."""
    settings = Settings().resolve(MOVENET.thresholds)
    clips = []
    for name, label in labels.items():
        path = folder / f"{Path(name).stem}.npz"
        if not path.is_file():
            continue
        poses = load_poses(path)
        tracks = track_people(poses.select(poses.score > (settings.poses.score_thr or 0)), settings.tracking)
        regions = score_regions(tracks)
        weights = learn_region_weights(tracks, regions, settings.scoring)
        ranking = rank_involvement(tracks, regions, weights, settings.scoring)
        try:
            people = select_people(ranking, settings.selection, path)
        except ClipError:
            # Nobody is found in this clip: there is no identity to lose.
            continue
        clips.append((label, build_annotation(sample_clip(), end_at_nearer(tracks), people, settings, {})))
    return clips


if __name__ == "__main__":
    main()
