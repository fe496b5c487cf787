"""Figures of a ranking over clips, with bootstrap intervals, and weights fitted with each source left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from tests.benchmarks.ranking.rules import SHUFFLES, Ranked

NAMES = ("p_at_2", "p_at_2_known", "both_in_top2", "first_fighter", "ap", "oracle")

RESAMPLES = 2000

PULLS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""How strongly fitted weights may be pulled towards 0, strongest first; each fit chooses anew."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


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


def cross_validate(clips: list[Judged], names: Sequence[str]) -> tuple[list[Judged], dict[str, float]]:
    """Fit the composite weights with each source left out, and score that source with them.

    The whole procedure is repeated without the source, the choice of the pull included: see `_fit_weights`.

    Parameters
    ----------
    clips
        Ranked clips.
    names
        Components that may have a weight.

    Returns
    -------
    clips
        The same clips with a rule `cross_validated`, scored by weights that never saw their source.
    weights
        The weights fitted to all clips.
    """
    rows = {c.name: np.stack([c.ranked.components[n] for n in names], axis=1) for c in clips}
    cases = [Case(c.source, *_decided(rows[c.name], c.roles)) for c in clips]
    cases = [case for case in cases if case.fights.any() and not case.fights.all()]
    left_out = {source: _fit_weights([c for c in cases if c.source != source]) for source in {c.source for c in clips}}
    scored = []
    for clip in clips:
        scores = {**clip.ranked.scores, "cross_validated": rows[clip.name] @ left_out[clip.source]}
        ranked = Ranked(clip.ranked.ids, scores, clip.ranked.components)
        scored.append(Judged(clip.name, clip.source, clip.counts, ranked, clip.roles))
    return scored, dict(zip(names, _fit_weights(cases).tolist(), strict=True))


@dataclass(frozen=True)
class Case:
    """One clip to fit weights to: components (P, K) of its people and whether each fights (P,), `unsure` left out."""

    source: str
    components: Floats
    fights: Flags


def _decided(components: Floats, roles: npt.NDArray[Any]) -> tuple[Floats, Flags]:
    """Return the components of people whose role counts, and whether they fight."""
    counts = roles != "unsure"
    return components[counts], roles[counts] == "fighter"


def _fit_weights(cases: list[Case]) -> Floats:
    """Fit the weights with that pull of `PULLS` under which sources left out are likeliest; ties go to the stronger.

    The likelihood chooses and not the figures that are reported: one slot in them is a fiftieth.
    """
    sources = sorted({c.source for c in cases})

    def surprise(pull: float) -> float:
        """Mean loss of the clips, each under weights fitted without its source."""
        total = 0.0
        for source in sources:
            weights = _fit([c for c in cases if c.source != source], pull)
            out = [c for c in cases if c.source == source]
            total += len(out) * Choices(out).loss(weights)[0]
        return total / len(cases)

    return _fit(cases, min(PULLS, key=surprise) if len(sources) > 1 else PULLS[0])


def _fit(cases: list[Case], pull: float) -> Floats:
    """Weights of 0 or more that minimise the loss of `Choices` plus pull times their squared length.

    The pull goes towards 0, not towards equal weights: their sum says how sharply the components tell people apart,
    and a pull towards a given sum makes every choice a soft one, which raises the weights of what all lasting people
    have (size, persistence) over what fighters have.
    """
    choices = Choices(cases)

    def objective(weights: Floats) -> tuple[float, Floats]:
        """Loss with the pull, and its gradient."""
        value, gradient = choices.loss(weights)
        return value + pull * float(weights @ weights), gradient + 2 * pull * weights

    count = cases[0].components.shape[1]
    return np.asarray(minimize(objective, np.ones(count), jac=True, method="L-BFGS-B", bounds=[(0, None)] * count).x)


class Choices:
    """How likely fighters are at rank 1, and at rank 2 when the best fighter is taken out.

    Likelihood of a choice: softmax of the scores over the clip's people (Luce's choice axiom).

    Parameters
    ----------
    cases
        Clips, each with a fighter and someone else; held as one array padded to the most people.
    """

    def __init__(self, cases: list[Case]) -> None:
        people = max(len(c.fights) for c in cases)
        self._components = np.zeros((len(cases), people, cases[0].components.shape[1]))
        self._fights = np.zeros((len(cases), people), bool)
        self._open = np.zeros((len(cases), people), bool)
        for i, case in enumerate(cases):
            self._components[i, : len(case.fights)] = case.components
            self._fights[i, : len(case.fights)] = case.fights
            self._open[i, : len(case.fights)] = True

    def loss(self, weights: Floats) -> tuple[float, Floats]:
        """Mean negative log likelihood of a clip's choices, and its gradient."""
        score = self._components @ weights
        value, slope = _choice(score, self._fights, self._open)
        rest = np.ones_like(self._open)
        rest[np.arange(len(rest)), np.argmax(np.where(self._fights, score, -np.inf), axis=1)] = False
        second = self._fights.sum(1) >= 2
        more, more_slope = _choice(score[second], (self._fights & rest)[second], (self._open & rest)[second])
        slope[second] += more_slope
        return float(value.sum() + more.sum()) / len(score), np.einsum("cp,cpk->k", slope, self._components) / len(
            score
        )


def _choice(score: Floats, wanted: Flags, open_: Flags) -> tuple[Floats, Floats]:
    """Negative log probability (C,) that one of the wanted is chosen among the open ones, and its slope by (C, P)."""
    best = np.where(open_, score, -np.inf).max(axis=1, keepdims=True)
    weight = np.exp(np.where(open_, score - best, -np.inf))
    share = weight / weight.sum(axis=1, keepdims=True)
    # The floor keeps the logarithm finite where the wanted ones are hopelessly behind.
    good = np.maximum(np.where(wanted, share, 0.0).sum(axis=1), 1e-12)
    return -np.log(good), share - np.where(wanted, share, 0.0) / good[:, None]
