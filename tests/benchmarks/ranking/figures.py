"""Figures of a ranking over clips, with bootstrap intervals, and weights fitted with each source left out in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from tests.benchmarks.ranking.rules import SHUFFLES, Ranked

NAMES = ("p_at_2", "p_at_2_known", "both_in_top2", "first_fighter", "ap", "oracle")

RESAMPLES = 2000


@dataclass(frozen=True)
class Judged:
    """One clip, its tracks ranked by every rule, and who they are.

    Attributes
    ----------
    name
        The clip.
    source
        The video, camera or scenario that it comes from: never on both sides of a split.
    counts
        Whether the clip enters the figures: two fighters and a bystander at least. Others are used for fitting only.
    ranked
        The scores.
    roles
        (P,) `fighter`, `bystander`, `unsure` or `unknown`, in the order of `ranked.ids`.
    """

    name: str
    source: str
    counts: bool
    ranked: Ranked
    roles: npt.NDArray[Any]


def judge_order(roles: npt.NDArray[Any]) -> list[float]:
    """Return the figures `NAMES` of one clip from the roles in rank order."""
    fights = roles[roles != "unsure"] == "fighter"
    known = roles[(roles != "unsure") & (roles != "unknown")] == "fighter"
    precision = np.cumsum(known) / np.arange(1, len(known) + 1)
    return [
        fights[:2].sum() / 2,
        known[:2].sum() / 2,
        float(fights[:2].sum() == 2),
        float(fights[:1].any()),
        float(precision[known].mean()) if known.any() else 0.0,
        min(int(known.sum()), 2) / 2,
    ]


def judge(clips: list[Judged], rule: str) -> npt.NDArray[np.float64]:
    """Return the figures of every clip that counts under a rule, (C, 6)."""
    rows = []
    for clip in (c for c in clips if c.counts):
        if rule == "random":
            rng = np.random.default_rng(0)
            orders = [judge_order(rng.permutation(clip.roles)) for _ in range(SHUFFLES)]
            rows.append(np.mean(orders, axis=0).tolist())
        else:
            rows.append(judge_order(clip.roles[clip.ranked.order(rule)]))
    return np.array(rows).reshape(-1, len(NAMES))


def summarise(clips: list[Judged], rule: str) -> dict[str, Any]:
    """Return the mean of each figure, and its 95 % interval when whole sources are drawn again and again."""
    rows = judge(clips, rule)
    sources = np.array([c.source for c in clips if c.counts])
    names = np.unique(sources)
    by_source = np.array([rows[sources == s].sum(0) for s in names]), np.array([(sources == s).sum() for s in names])
    draws = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    means = by_source[0][draws].sum(1) / by_source[1][draws].sum(1)[:, None]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    mean = rows.mean(0)
    result: dict[str, Any] = {name: float(v) for name, v in zip(NAMES, mean, strict=True)}
    result["interval"] = {
        name: [float(a), float(b)] for name, a, b in zip(NAMES, low, high, strict=True) if name != "oracle"
    }
    return result


def cross_validate(
    clips: list[Judged], prior: dict[str, float], strength: float = 0.003
) -> tuple[list[Judged], dict[str, float]]:
    """Fit the composite weights with each source left out, and score that source with them.

    Parameters
    ----------
    clips
        Ranked clips.
    prior
        Weights towards which the fit is pulled; only these components are used.
    strength
        Of that pull.

    Returns
    -------
    clips
        The same clips with a rule `cross_validated`, scored by weights that never saw their source.
    weights
        The weights fitted to all clips.
    """
    names = list(prior)
    start = np.array([prior[n] for n in names])
    rows = {c.name: np.stack([c.ranked.components[n] for n in names], axis=1) for c in clips}
    scored = []
    for clip in clips:
        weights = _fit([(rows[c.name], c.roles) for c in clips if c.source != clip.source], start, strength)
        scores = {**clip.ranked.scores, "cross_validated": rows[clip.name] @ weights}
        ranked = Ranked(clip.ranked.ids, scores, clip.ranked.components)
        scored.append(Judged(clip.name, clip.source, clip.counts, ranked, clip.roles))
    final = _fit([(rows[c.name], c.roles) for c in clips], start, strength)
    return scored, dict(zip(names, final.tolist(), strict=True))


def _fit(
    clips: list[tuple[npt.NDArray[np.float64], npt.NDArray[Any]]], prior: npt.NDArray[np.float64], strength: float
) -> npt.NDArray[np.float64]:
    """Weights of 0 or more that make a fighter likely at rank 1, and at rank 2 when the best fighter is taken out.

    Likelihood of a choice: softmax of the scores over the clip's tracks (Luce's choice axiom), people of role `unsure`
    left out. The pull towards the prior is quadratic, in shares of each prior weight.
    """
    cases = []
    for x, roles in clips:
        fights = roles[roles != "unsure"] == "fighter"
        if fights.any() and not fights.all():
            cases.append((x[roles != "unsure"], fights))
    scale = np.maximum(prior, 0.3)

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Mean negative log likelihood with the pull, and its gradient."""
        total, gradient = 0.0, np.zeros_like(weights)
        for x, fights in cases:
            score = x @ weights
            open_ = np.ones(len(score), bool)
            for _ in range(min(2, int(fights.sum()))):
                value, slope = _choice(score, fights & open_, open_)
                total += value
                gradient += slope @ x
                open_[np.argmax(np.where(fights & open_, score, -np.inf))] = False
        pull = (weights - prior) / scale
        return total / len(cases) + strength * float(pull @ pull), gradient / len(cases) + 2 * strength * pull / scale

    fitted = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(prior))
    return np.asarray(fitted.x)


def _choice(
    score: npt.NDArray[np.float64], wanted: npt.NDArray[np.bool_], open_: npt.NDArray[np.bool_]
) -> tuple[float, npt.NDArray[np.float64]]:
    """Negative log probability that one of the wanted is chosen among the open ones, and its slope by the scores."""
    weight = np.where(open_, np.exp(score - score[open_].max()), 0.0)
    share = weight / weight.sum()
    # The floor keeps the logarithm finite where the wanted ones are hopelessly behind.
    good = max(float(share[wanted].sum()), 1e-12)
    return -float(np.log(good)), share - np.where(wanted, share, 0.0) / good
