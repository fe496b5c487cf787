"""Clips annotated with poses of another program, by the command line and without Prefect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from flows.cli import main as cli
from tasks.annotations.format import read_annotation
from tasks.clips.failures import current_failures
from tasks.mapping.verify import verify_mapping
from tests.video_factory import plain_frames, write_video

FRAMES = 16


def mmpose(ids: tuple[int, ...]) -> list[dict]:
    """Return people side by side as MMPose's Inferencer writes them, with track IDs."""
    frames = []
    for frame in range(FRAMES):
        people = []
        for place, number in enumerate(ids):
            x, y = np.meshgrid([10 + 40 * place, 30 + 40 * place], np.linspace(10 + frame % 3, 80, 9))
            joints = np.stack([x.ravel(), y.ravel()], -1)[:17]
            box = [[float(joints[:, 0].min()), 5.0, float(joints[:, 0].max()), 90.0]]
            people.append(
                {"keypoints": joints.tolist(), "keypoint_scores": [0.8] * 17, "bbox": box, "track_id": number}
            )
        frames.append({"frame_id": frame, "instances": people})
    return frames


def test_poses_of_another_program_become_annotations_overlays_and_a_data_set(tmp_path: Path) -> None:
    """Its track IDs are kept in order, its poses to the pixel; clips without poses are counted, bad files recorded."""
    root, poses, out = tmp_path / "set", tmp_path / "poses", tmp_path / "out"
    for number, name in enumerate(("Fight/a.mp4", "Walk/a.mp4", "Walk/b.mp4", "Walk/none.mp4")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / name, plain_frames(FRAMES, width=128 + 16 * number, height=96))
        if "none" not in name:
            (poses / name).parent.mkdir(parents=True, exist_ok=True)
            (poses / name).with_suffix(".json").write_text(json.dumps(mmpose((9, 4))))
    (poses / "Walk/b.json").write_text("{}")
    arguments = ["import-poses", str(poses), str(root), "--output-root", str(out), "--json"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 1, result.output
    value = json.loads(result.stdout[result.stdout.index("{\n") :])
    assert value["annotated"] == ["set/Fight/a", "set/Walk/a"]
    assert value["failed"][0][0] == "set/Walk/b"
    assert value["without"] == ["set/Walk/none"]
    assert [failure.frame_dir for failure in current_failures(out)] == ["set/Walk/b"]
    data = read_annotation(out / "dataset.pkl")
    assert {one["frame_dir"]: one["label"] for one in data["annotations"]} == {"set/Fight/a": 1, "set/Walk/a": 0}
    (annotation,) = read_annotation(out / "set/Fight/a_enhanced_stgcn_annotation.pkl")["annotations"]
    assert sorted(annotation["track_ids"].tolist()) == [1, 2]
    row = annotation["track_ids"].tolist().index(2)
    wanted = np.array(mmpose((9,))[5]["instances"][0]["keypoints"], np.float32)
    np.testing.assert_allclose(annotation["keypoint"][row, 5], wanted, atol=1e-3)
    assert annotation["provenance"]["model"] == "imported"
    (poses / "Walk/b.json").write_text(json.dumps(mmpose((1,))))
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert verify_mapping(out, deep=True).lines() == []
