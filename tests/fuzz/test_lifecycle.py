"""Weeks in the life of an output root: sequences that lost data once, and a sample of random ones.

`make fuzz` walks thousands of random steps.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz.lifecycle import Lifecycle

TestLifecycle = Lifecycle.TestCase
# Steps are slow (videos are decoded and encoded), and a busy machine takes as long as it takes.
TestLifecycle.settings = settings(
    max_examples=4, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
)

CLIP = "Fight/a.mp4"

STORIES: dict[str, tuple[Callable[[Lifecycle], None], ...]] = {
    "strict settings, and back": (
        lambda life: life.run("strict"),
        lambda life: life.run("usual"),
        lambda life: life.verify(),
    ),
    "broken for a while, restored with its old time": (
        lambda life: life.break_clip(CLIP),
        lambda life: life.run("usual"),
        lambda life: life.restore_clip(CLIP, True),
        lambda life: life.run("usual"),
        lambda life: life.verify(),
    ),
    "excluded and taken back": (
        lambda life: life.review(CLIP, True),
        lambda life: life.apply(),
        lambda life: life.review(CLIP, False),
        lambda life: life.apply(),
        lambda life: life.verify(),
    ),
    "excluded, and annotated again under other settings": (
        lambda life: life.review(CLIP, True),
        lambda life: life.apply(),
        lambda life: life.run("one person"),
        lambda life: life.verify(),
    ),
    "replaced by a clip that is older": (
        lambda life: life.replace_by_an_older_one(CLIP, 2),
        lambda life: life.run("usual"),
        lambda life: life.verify(),
    ),
    "moved to the folder of another label": (
        lambda life: life.rename(CLIP, "NonFight/a.mp4"),
        lambda life: life.run("usual"),
        lambda life: life.verify_and_fix(True, True),
        lambda life: life.nothing_is_left_to_find(),
    ),
    "killed, and run again": (
        lambda life: life.run_and_kill("one person", 11),
        lambda life: life.run("usual"),
        lambda life: life.verify(),
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_lost_on_the_way(story):
    """Each lost annotations, moved clips between train and test, or left what nothing mended."""
    life = Lifecycle()
    try:
        life.begin()
        for step in STORIES[story]:
            step(life)
    finally:
        life.teardown()
