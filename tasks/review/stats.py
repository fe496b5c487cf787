"""What reviews say about the automatic ranking, and composite weights refitted to them.

A reviewed clip is one in which a person called somebody a fighter or a bystander. Each *automatic* person takes the
role of the corrected person that got most of its frames; an unmarked one is `unknown`, a dropped person is
`nobody` and counts as wrong. The figures are those by which labelled clips are scored, over clips with at least two
fighters and one bystander (`judged`):

    p_at_2         of the first two, the share that are fighters; `unsure` ones are skipped
    p_at_2_known   the same over fighters and bystanders only
    oracle         p_at_2_known of a perfect order of the same people
    both_in_top2   share of clips in which the first two are fighters
    first_fighter  share of clips in which the first one is
    ap             average precision of fighters in rank order, over fighters and bystanders

Calibration minimises over pairs of a fighter f and a bystander b of one clip, weights w >= 0, components c:

    mean over clips of mean over pairs of log(1 + exp(-S * w . (c_f - c_b))) + P / clips * |w - w0|^2 / |w0|^2

w0 are the weights in use and P keeps a handful of clips from overturning what many labelled ones settled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from tasks.annotations.format import Annotation, AnnotationError
from tasks.annotations.other_tracks import OtherTracks
from tasks.clips.manifest import read_manifests
from tasks.core.errors import FightposeError
from tasks.core.settings import DEFAULT_WEIGHTS
from tasks.core.storage import require_output_root
from tasks.review.apply import automatic_annotation, other_people
from tasks.review.corrections import automatic_roles
from tasks.review.log import Change, MergeTracks, SetLabel, SplitTrack, SwapTracks, read_review, standing_changes

SHARPNESS = 1.0
"""S: with the usual weights (sum near 10) a lead of 0.1 in every component is a log odds of 1."""

PRIOR_CLIPS = 30.0
"""P: so many clips weigh as much as the weights in use; as many as the default ones were found on."""

LEAST_CLIPS = 5
"""Fewer clips are not refitted to at all."""

FIGURES = ("p_at_2", "p_at_2_known", "oracle", "both_in_top2", "first_fighter", "ap")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReviewedClip:
    """A clip with roles.

    Attributes
    ----------
    clip
        Its identifier.
    roles
        Of the automatic people in rank order: fighter, bystander, unsure, unknown or nobody.
    components
        (M, C) score components of the same people, columns in the order of `DEFAULT_WEIGHTS`; None where the scorer
        was another.
    """

    clip: str
    roles: list[str]
    components: Floats | None

    @property
    def judged(self) -> bool:
        """Whether a ranking can be judged here."""
        count = Counter(self.roles)
        return count["fighter"] >= 2 and count["bystander"] >= 1

    @property
    def teaches(self) -> bool:
        """Whether weights can be refitted to it: one of each is a pair whose order is known."""
        return self.components is not None and {"fighter", "bystander"} <= set(self.roles)


@dataclass(slots=True)
class ReviewStats:
    """What the corrections of an output root say.

    Attributes
    ----------
    corrected
        Clips with any correction.
    kinds
        Kind of correction to number of clips.
    relabelled
        Clips whose label was changed to another than the automatic one.
    identity
        Clips in which tracks were merged, split or swapped: the tracker's errors that someone saw.
    reviewed
        Clips with roles.
    problems
        Clips that could not be read, with the reason.
    """

    corrected: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    relabelled: int = 0
    identity: int = 0
    reviewed: list[ReviewedClip] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def judged(self) -> list[ReviewedClip]:
        """The reviewed clips in which a ranking can be judged."""
        return [clip for clip in self.reviewed if clip.judged]

    def figures(self) -> dict[str, float]:
        """Return the mean of every figure over the judged clips, NaN where there is none."""
        return mean_figures([clip.roles for clip in self.judged])

    def lines(self) -> list[str]:
        """Return the statistics as lines of text."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
        lines = [
            f"Corrected clips: {self.corrected}" + (f" ({kinds})" if kinds else ""),
            f"Relabelled: {self.relabelled}; tracks merged, split or swapped in {self.identity}",
            f"Clips with roles: {len(self.reviewed)}; {len(self.judged)} of them have two fighters and a bystander",
        ]
        if self.judged:
            lines += ["Automatic ranking on those:"]
            lines += [f"  {name:14} {value:.3f}" for name, value in self.figures().items()]
        return lines + [f"{clip}: {problem}" for clip, problem in self.problems]


def read_stats(output_root: Path) -> ReviewStats:
    """Compare the corrections of an output root with its automatic annotations.

    Raises
    ------
    FightposeError
        If the folder is none, or the log is damaged.
    """
    require_output_root(output_root)
    stats = ReviewStats()
    standing = standing_changes(read_review(output_root))
    # An unreadable annotation costs its own clip only.
    for clip in read_manifests(output_root):
        changes = [entry.change for entry in standing.get(clip.frame_dir, [])]
        if not changes:
            continue
        stats.corrected += 1
        # A set, since a clip counts once for a kind, however many corrections of it there are.
        stats.kinds.update({change.kind for change in changes})
        try:
            annotation = automatic_annotation(clip, output_root)
            _count(stats, annotation, changes, other_people(clip, output_root, annotation))
        except (AnnotationError, KeyError) as error:
            stats.problems.append((clip.frame_dir, str(error)))
    return stats


def _count(stats: ReviewStats, annotation: Annotation, changes: Sequence[Change], others: OtherTracks | None) -> None:
    """Add one clip to the statistics."""
    labels = [change.label for change in changes if isinstance(change, SetLabel)]
    stats.relabelled += bool(labels) and labels[-1] != annotation["label"]
    stats.identity += any(isinstance(change, MergeTracks | SplitTrack | SwapTracks) for change in changes)
    roles = automatic_roles(annotation, changes, others)
    # People called unsure say nothing about the order.
    if {"fighter", "bystander"} & set(roles):
        stats.reviewed.append(ReviewedClip(annotation["frame_dir"], roles, _components(annotation)))


def _components(annotation: Annotation) -> Floats | None:
    """Return the components of the default score, (M, C); None where another scorer ranked the clip."""
    breakdown = annotation["score_breakdown"]
    if set(breakdown) != set(DEFAULT_WEIGHTS):
        return None
    return np.stack([np.asarray(breakdown[name], np.float64) for name in DEFAULT_WEIGHTS], axis=1)


def clip_figures(roles: Sequence[str]) -> dict[str, float]:
    """Return the ranking figures of one clip from the roles in rank order.

    >>> clip_figures(["fighter", "bystander", "fighter"])["p_at_2"]
    0.5
    """
    ranked = [role == "fighter" for role in roles if role != "unsure"]
    known = np.array([role == "fighter" for role in roles if role in ("fighter", "bystander")], np.bool_)
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


def mean_figures(clips: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return the mean of every figure over clips."""
    each = [clip_figures(roles) for roles in clips]
    return {name: float(np.mean([one[name] for one in each])) if each else float("nan") for name in FIGURES}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Refitted weights, and what they are worth.

    Attributes
    ----------
    weights
        Component to weight, with the sum of the weights in use before.
    clips
        Number of clips that they were fitted to.
    before
        Figures of the same people ordered by the weights before.
    held_out
        Figures of clips ordered by weights that were fitted without them: the honest comparison with `before`, as
        far as clips are independent of one another.
    """

    weights: dict[str, float]
    clips: int
    before: dict[str, float]
    held_out: dict[str, float]

    def lines(self) -> list[str]:
        """Return the calibration as lines of text."""
        lines = [
            f"Refitted to {self.clips} clips; figures of clips left out of the fit:",
            f"  {'':14} before  after",
            *(f"  {name:14} {self.before[name]:.3f}   {self.held_out[name]:.3f}" for name in FIGURES),
        ]
        # Average precision, as it looks at the whole order and not at the first two only.
        if self.held_out["ap"] <= self.before["ap"]:
            lines.append("The refit orders left-out clips no better: keep the weights that you have.")
        return lines


def calibrate(clips: Sequence[ReviewedClip], start: dict[str, float] | None = None) -> Calibration:
    """Refit the composite weights to reviewed clips.

    Parameters
    ----------
    clips
        Reviewed clips; those without both roles or components are left out.
    start
        The weights in use; the default scorer's by default.

    Raises
    ------
    FightposeError
        If there are too few clips.
    """
    start = start or DEFAULT_WEIGHTS
    usable = [clip for clip in clips if clip.teaches]
    if len(usable) < LEAST_CLIPS:
        raise FightposeError(
            f"{len(usable)} clips have a fighter and a bystander marked, and the default scorer's components; "
            f"a refit needs {LEAST_CLIPS} at least: mark more people on the review page"
        )
    before = np.array([start.get(name, 0.0) for name in DEFAULT_WEIGHTS])
    # One fit per clip: the figures of a clip come from weights that never saw it.
    left_out = [_fit(usable[:i] + usable[i + 1 :], before) for i in range(len(usable))]
    fitted = _fit(usable, before)
    return Calibration(
        weights={name: round(float(weight), 3) for name, weight in zip(DEFAULT_WEIGHTS, fitted, strict=True)},
        clips=len(usable),
        before=mean_figures(_ordered(clip, before) for clip in usable),
        held_out=mean_figures(_ordered(clip, weights) for clip, weights in zip(usable, left_out, strict=True)),
    )


def _ordered(clip: ReviewedClip, weights: Floats) -> list[str]:
    """Return the roles of a clip's people in the order that weights give them."""
    assert clip.components is not None  # noqa: S101 - chosen so
    # Stable, so that equal scores stay in the run's order.
    order = np.argsort(-(clip.components @ weights), kind="stable")
    return [clip.roles[i] for i in order]


def _fit(clips: Sequence[ReviewedClip], start: Floats) -> Floats:
    """Return the weights that minimise the module's formula, scaled to the sum of the weights at the start."""
    leads = [_leads(clip) for clip in clips]
    # |w0|^2: with it the prior does not depend on the size of the weights.
    scale = float(start @ start)

    def cost(weights: Floats) -> tuple[float, Floats]:
        """Return the formula's value and its gradient."""
        value, slope = 0.0, np.zeros_like(weights)
        for lead in leads:
            odds = SHARPNESS * lead @ weights
            value += float(np.logaddexp(0.0, -odds).mean())
            # The derivative of log(1 + exp(-x)) is -1 / (1 + exp(x)), bounded so that exp does not overflow.
            slope -= SHARPNESS * (lead / (1 + np.exp(np.clip(odds, -50, 50)))[:, None]).mean(axis=0)
        away = weights - start
        value += PRIOR_CLIPS * float(away @ away) / scale
        slope += 2 * PRIOR_CLIPS * away / scale
        return value / len(leads), slope / len(leads)

    # No weight below 0: a component that speaks against fighting would have lost its meaning.
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(start)).x
    # Only ratios order people; with the same sum, scores can be compared with those of before.
    weights: Floats = found * start.sum() / max(float(found.sum()), 1e-9)
    return weights


def _leads(clip: ReviewedClip) -> Floats:
    """Return the components of every fighter less those of every bystander of a clip, (pairs, C)."""
    assert clip.components is not None  # noqa: S101 - chosen so
    roles = np.array(clip.roles)
    fighters, others = clip.components[roles == "fighter"], clip.components[roles == "bystander"]
    leads: Floats = (fighters[:, None] - others[None]).reshape(-1, clip.components.shape[1])
    return leads
