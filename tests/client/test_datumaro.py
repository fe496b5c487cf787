"""The COCO export in datumaro, the reader of annotation tools: every joint of every person arrives."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tasks.annotations.convert.coco import coco_json
from tests.client.conftest import client_environment
from tests.tasks.samples import sample_annotation

pytestmark = pytest.mark.client


def test_datumaro_reads_every_joint(client_python, tmp_path):
    """It passes over people without `segmentation`, and takes images by their names."""
    annotation = sample_annotation(2, 20)
    # One joint that was never found: "absent" there.
    annotation["keypoint"][1, :, 3] = 0
    annotation["keypoint_score"][1, :, 3] = 0
    (tmp_path / "set/annotations").mkdir(parents=True)
    # It wants the folder, not the pictures.
    (tmp_path / "set/images").mkdir()
    (tmp_path / "set/annotations/person_keypoints_clip.json").write_text(coco_json(annotation))
    script = Path(__file__).with_name("datumaro_points.py")
    run = subprocess.run(
        [client_python, script, "set", "coco", "answer.json"],
        cwd=tmp_path, env=client_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads((tmp_path / "answer.json").read_text())
    assert len(found) == annotation["keypoint_score"].any(-1).sum()
    for person in found:
        frame = int(person["item"].rsplit("/", 1)[1])
        # The person is the one whose joints are nearest: the order within a frame is the reader's.
        far = np.abs(annotation["keypoint"][:, frame] - np.array(person["points"])).max(axis=(1, 2))
        assert far.min() < 0.01
        np.testing.assert_array_equal(person["seen"], annotation["keypoint_score"][far.argmin(), frame] > 0)
