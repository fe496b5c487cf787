"""The fit of the ranking benchmark, on made-up components."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from tests.benchmarks.ranking.figures import Case, Choices, Judged, cross_validate
from tests.benchmarks.ranking.rules import Ranked

NAMES = ["movement", "size"]


def make_clips(sources: int = 4) -> list[Judged]:
    """Return two clips a source of six people; the two fighters move more than most, and size says nothing."""
    rng = np.random.default_rng(0)
    roles = np.array(["fighter", "fighter", "bystander", "bystander", "unknown", "unsure"])
    clips = []
    for i in range(2 * sources):
        movement = np.where(roles == "fighter", 0.6, 0.4) + rng.normal(0, 0.1, len(roles))
        components = {"movement": movement, "size": rng.random(len(roles))}
        ranked = Ranked(np.arange(1, len(roles) + 1, dtype=np.int32), {}, components)
        clips.append(Judged(f"{i}.mp4", f"source {i // 2}", True, ranked, roles))
    return clips


def test_the_component_that_decides_gets_the_weight() -> None:
    """Fighters differ by movement alone, so that the fit gives size next to nothing."""
    _, weights = cross_validate(make_clips(), NAMES)
    assert weights["movement"] > 5 * weights["size"]


def test_a_source_is_scored_by_weights_that_never_saw_it() -> None:
    """Other labels in one source leave its own scores alone and change those of every other source."""
    clips = make_clips()
    swapped = {"fighter": "bystander", "bystander": "fighter"}
    other = [
        replace(c, roles=np.array([swapped.get(r, r) for r in c.roles])) if c.source == "source 0" else c for c in clips
    ]
    before, after = (cross_validate(some, NAMES)[0] for some in (clips, other))
    for one, two in zip(before, after, strict=True):
        same = np.array_equal(one.ranked.scores["cross_validated"], two.ranked.scores["cross_validated"])
        assert same == (one.source == "source 0")


def test_loss_of_even_choices_and_its_gradient() -> None:
    """Without weights everyone is as likely: 2 of 4, then 1 of 3; the gradient is that of small steps."""
    rng = np.random.default_rng(1)
    case = Case("a", rng.random((4, 3)), np.array([True, False, True, False]))
    # One fighter only: no second choice, and fewer people than the other clip.
    single = Case("b", rng.random((2, 3)), np.array([False, True]))
    assert Choices([case]).loss(np.zeros(3))[0] == pytest.approx(np.log(2) + np.log(3))
    assert Choices([single]).loss(np.zeros(3))[0] == pytest.approx(np.log(2))
    weights = np.array([1.0, 3.0, 0.5])
    both = Choices([case, single])
    steps = approx_fprime(weights, lambda w: both.loss(w)[0], 1e-6)
    assert both.loss(weights)[1] == pytest.approx(steps, abs=1e-5)
