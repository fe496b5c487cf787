"""The rankings that are compared: our scorers, each of their parts, and the rules that others use.

Every rule gives a score per track of a clip, higher first. What the literature and its tools do:

box_area         largest median box first
centre_distance  nearest to the frame's centre first, as mmaction2's tool for NTU RGB+D orders people
joint_variance   sum of the variances of the joints, in pixels, as the authors of NTU RGB+D choose the main actors
detector_score   mean joint score first: the order in which a detector reports people
persistence      longest track first
random           no order; the figures are means over `SHUFFLES` orders
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.choices import Scorer
from tasks.core.records import Involvement, Tracks
from tasks.core.settings import DEFAULT_WEIGHTS, ScoringSettings
from tasks.involvement import rank_involvement
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tasks.tracking.kinematics import TrackTable, tabulate

MIN_LENGTH = 10
"""Tracks of fewer frames are not ranked, as in an annotation."""

SHUFFLES = 50

Scores = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Ranked:
    """One clip under all rules.

    Attributes
    ----------
    ids
        (P,) IDs of the tracks that are long enough, ascending.
    scores
        Name of the rule to (P,) scores.
    components
        Name to (P,) components of the default scorer.
    """

    ids: npt.NDArray[np.int32]
    scores: Scores
    components: Scores

    def order(self, rule: str) -> npt.NDArray[np.int64]:
        """Return positions in `ids`, first rank first; ties in the order of IDs."""
        return np.argsort(-self.scores[rule], kind="stable")


def rank(tracks: Tracks, settings: ScoringSettings) -> Involvement:
    """Run the product's three steps: regions, weights, ranking."""
    regions = score_regions(tracks)
    return rank_involvement(tracks, regions, learn_region_weights(tracks, regions, settings), settings)


def apply_rules(tracks: Tracks, settings: ScoringSettings | None = None) -> Ranked:
    """Score the tracks of a clip by every rule.

    Parameters
    ----------
    tracks
        People followed through a clip.
    settings
        Of the default scorer; the shipped ones where None.
    """
    settings = settings or ScoringSettings()
    default = rank(tracks, settings)
    components = {name: _by_id(default, part) for name, part in default.components.items()}
    scores = {"default": _by_id(default, default.score)}
    for name, adaptive in (("seed", True), ("seed_not_adaptive", False)):
        seed = rank(tracks, ScoringSettings(scorer=Scorer.SEED, adaptive=adaptive))
        scores[name] = _by_id(seed, seed.score)
    scores["default_not_adaptive"] = _score_of(tracks, settings, adaptive=False)
    scores |= {f"only_{name}": part for name, part in components.items()}
    scores |= {
        f"without_{name}": without(components, settings.weights, name)
        for name in DEFAULT_WEIGHTS
        if settings.weights.get(name)
    }
    scores |= _plain_rules(tabulate(tracks))
    long_enough = _by_id(default, default.length) >= MIN_LENGTH
    return Ranked(
        np.sort(default.track_ids)[long_enough],
        {name: score[long_enough] for name, score in scores.items()},
        {name: part[long_enough] for name, part in components.items()},
    )


def without(components: Scores, weights: dict[str, float], name: str) -> npt.NDArray[np.float64]:
    """Return the composite score (not normalised) with one component left out."""
    people = len(next(iter(components.values())))
    return sum((w * components[c] for c, w in weights.items() if c != name), np.zeros(people))


def _score_of(tracks: Tracks, settings: ScoringSettings, **changes: Any) -> npt.NDArray[np.float64]:
    """Return the score under changed settings, tracks in ascending order of IDs."""
    result = rank(tracks, settings.model_copy(update=changes))
    return _by_id(result, result.score)


def _by_id(result: Involvement, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return values in the order of ascending IDs instead of rank order."""
    return values[np.argsort(result.track_ids)].astype(np.float64)


def _plain_rules(table: TrackTable) -> Scores:
    """Return the rules that others use."""
    middle = np.array([table.width, table.height]) / 2
    variance = np.zeros(len(table.ids))
    for joint in range(table.keypoints.shape[1]):
        for axis in range(2):
            values = table.keypoints[:, joint, axis]
            mean = table.mean(values, table.seen)
            variance += table.mean((values - mean[table.track]) ** 2, table.seen)
    return {
        "box_area": table.quantile(table.area, 0.5),
        "centre_distance": -table.mean(np.linalg.norm(table.centre - middle, axis=1)),
        "joint_variance": variance,
        "detector_score": table.mean(table.joint_score.mean(1), table.seen),
        "persistence": np.bincount(table.track, minlength=len(table.ids)).astype(np.float64),
    }
