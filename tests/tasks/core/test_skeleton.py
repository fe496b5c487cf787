"""The skeleton is one thing: everything about it fits its names, and nobody else counts joints."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from tasks.core.skeleton import EXTREMITIES, KEYPOINTS, LIMBS, LINKS, NUM_KEYPOINTS, SIGMAS, UPPER_BODY

ROOT = Path(__file__).parents[3]
SOURCES = [path for top in ("tasks", "flows") for path in sorted((ROOT / top).rglob("*.py"))]

OTHER_SEVENTEENS = {"tasks/poses/export.py": 1, "tasks/report/charts.py": 1, "tasks/poses/imports/joints.py": 3}
"""How many numbers 17 a file may have that are no keypoints: ONNX's operators 17, pixels, places in other skeletons."""


def test_sigmas_are_cocos_own():
    """As pycocotools has them, in tenths."""
    tenths = [0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89]
    np.testing.assert_allclose(SIGMAS, np.array(tenths) / 10, rtol=1e-6)


def test_parts_are_what_their_names_say():
    """By the names, whatever the order."""
    assert [KEYPOINTS[place] for place in EXTREMITIES] == ["left_wrist", "right_wrist", "left_ankle", "right_ankle"]
    parts = {name.rpartition("_")[2] for name in KEYPOINTS[UPPER_BODY]}
    assert parts == {"shoulder", "elbow", "wrist", "hip"}
    assert len(KEYPOINTS[UPPER_BODY]) == 8


@pytest.mark.parametrize("pairs", [LIMBS.tolist(), LINKS])
def test_limbs_join_all_keypoints_and_both_sides_alike(pairs):
    """What is joined on the left is joined on the right."""
    named = {frozenset(KEYPOINTS[place] for place in pair) for pair in pairs}
    assert len(named) == len(pairs)
    assert {name for pair in named for name in pair} == set(KEYPOINTS)
    swap = {"left": "right", "right": "left", "nose": "nose"}
    sides = {frozenset(name.replace(name.split("_")[0], swap[name.split("_")[0]]) for name in pair) for pair in named}
    assert sides == named


def test_coco_files_join_what_is_drawn_and_the_eyes():
    """Two lists in two orders; neither may lose a limb."""
    drawn, linked = ({frozenset(pair) for pair in pairs} for pairs in (LIMBS.tolist(), LINKS))
    assert linked - drawn == {frozenset((KEYPOINTS.index("left_eye"), KEYPOINTS.index("right_eye")))}
    assert drawn < linked


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_counts_the_keypoints_itself(path):
    """Another skeleton would be wrong there and nowhere else."""
    numbers = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    counted = sum(number == NUM_KEYPOINTS and type(number) is int for number in numbers)
    assert counted == OTHER_SEVENTEENS.get(path.relative_to(ROOT).as_posix(), 0)
