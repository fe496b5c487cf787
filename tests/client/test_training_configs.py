"""The configs of `fightpose training` in mmaction2: they train and test as they are."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import main as cli
from tasks.annotations.format import write_annotation
from tests.tasks.samples import sample_annotation

pytestmark = pytest.mark.client


def test_the_configs_of_both_streams_train_two_epochs_and_test(mmaction, tmp_path):
    """On a data set of two classes whose people move at different speeds; three splits, one class rare."""
    annotations, split = [], {"train": [], "val": [], "test": []}
    for number in range(16):
        name, label = f"{'Fight' if number % 4 == 0 else 'Walk'}/{number}.mp4", int(number % 4 == 0)
        annotation = sample_annotation(2, 40 + number, name) | {"label": label}
        drift = np.arange(annotation["total_frames"], dtype=np.float32) * (3 if label else 0.2)
        annotation["keypoint"][..., 0] += np.where(annotation["keypoint_score"] > 0, drift[None, :, None], 0)
        annotations.append(annotation)
        split["train" if number < 8 else "val" if number < 12 else "test"].append(annotation["frame_dir"])
    write_annotation(tmp_path / "dataset.pkl", annotations, split, {"Walk": 0, "Fight": 1})
    result = CliRunner().invoke(cli.app, ["training", str(tmp_path)])
    assert result.exit_code == 0, result.output
    configs = sorted((tmp_path / "training").glob("mmaction2_*.py"))
    assert [path.stem for path in configs] == ["mmaction2_joint", "mmaction2_joint_motion"]
    for run in mmaction(configs=configs)["runs"]:
        assert run["epochs"] == 2
        assert 0 <= run["measured"]["acc/top1"] <= 1
