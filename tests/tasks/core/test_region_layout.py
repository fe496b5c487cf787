"""The regions of a frame: what is drawn and scored follows their one table, whatever it says."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.core import region_layout
from tasks.core.region_layout import LAYOUT, REGIONS, Region, best_regions, visible_borders
from tasks.overlay import panels
from tasks.overlay.canvas import Sizes
from tasks.overlay.panels import RegionGrid
from tasks.regions import scores

NINTHS = tuple(
    Region(f"r{row}{column}", column / 3, row / 3, 1 / 3, 1 / 3, 1.0, ((column + 0.5) / 3, (row + 0.5) / 3))
    for row in range(3)
    for column in range(3)
)
"""A layout of three by three, none over another."""


@pytest.mark.parametrize("layout", [LAYOUT, NINTHS])
def test_every_figure_is_drawn_in_its_own_region(layout):
    """And where no later region covers it."""
    for place, region in enumerate(layout):
        x, y = region.text
        inside = [
            one.name
            for one in layout[place:]
            if one.left < x < one.left + one.width and one.top < y < one.top + one.height
        ]
        assert inside == [region.name]
    assert len({region.name for region in layout}) == len(layout)


def test_the_five_regions_are_named_in_files_that_users_have():
    """Annotations and weight files state these names in this order."""
    assert REGIONS == ("top_left", "top_right", "bottom_left", "bottom_right", "center_overlap")


def drawn(size):
    """Return which pixels of a frame the lines touch."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    RegionGrid(np.zeros(0, np.float32), size, Sizes.for_frame(*size), 0, (0, 0, 0, 0)).draw(image)
    return image.any(axis=2)


@pytest.mark.parametrize("size", [(640, 360), (480, 640)])
def test_the_overlay_draws_the_quadrants_cross_and_the_frame_of_the_middle(size, monkeypatch):
    """The cross ends at the middle region, whose own lines are whole. Without labels, which cover some of them."""
    monkeypatch.setattr(panels, "LAYOUT", ())
    width, height = size
    lines = drawn(size)
    thick = max(1, Sizes.for_frame(*size).thin)
    expected = np.zeros((height, width), bool)
    expected[:, width // 2 : width // 2 + thick] = True
    expected[height // 2 : height // 2 + thick] = True
    expected[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = False
    for x in (width // 4, width * 3 // 4):
        expected[height // 4 : height * 3 // 4, x : x + thick] = True
    for y in (height // 4, height * 3 // 4):
        expected[y : y + thick, width // 4 : width * 3 // 4] = True
    np.testing.assert_array_equal(lines, expected)


def test_another_layout_needs_another_table_only(monkeypatch):
    """Three by three: four lines, and every point is best framed by the region whose middle is nearest."""
    monkeypatch.setattr(region_layout, "LAYOUT", NINTHS)
    lengths = {upright: sum(one.end - one.start for one in visible_borders() if one.upright == upright) for upright in
               (True, False)}  # fmt: skip
    assert lengths == {True: pytest.approx(2), False: pytest.approx(2)}
    monkeypatch.setattr(scores, "_ORIGINS", np.array([(one.left, one.top) for one in NINTHS]))
    monkeypatch.setattr(scores, "_SIZES", np.array([(one.width, one.height) for one in NINTHS]))
    monkeypatch.setattr(scores, "_OVER", np.array([one.over for one in NINTHS]))
    middles = np.array([one.text for one in NINTHS]) * (300, 300)
    found = scores.region_scores_of_points(middles + 10, 300, 300)
    np.testing.assert_array_equal(found.argmax(axis=1), np.arange(9))


def test_the_best_region_is_that_of_the_highest_weighted_score():
    """Regions that a foreign file lacks are not looked at; who scores nowhere has none."""
    breakdown = {name: [0.0, 0.0, 0.0] for name in REGIONS}
    breakdown |= {"top_left": [0.9, 0.2, 0.0], "center_overlap": [0.8, 0.3, 0.0]}
    assert best_regions(breakdown, {}) == ["top_left", "center_overlap", ""]
    assert best_regions(breakdown, {"top_left": 0.5}) == ["center_overlap", "center_overlap", ""]
    assert best_regions({"top_left": [0.1], "other": [1.0]}, {}) == ["top_left"]
    assert best_regions({}, {}) == []
