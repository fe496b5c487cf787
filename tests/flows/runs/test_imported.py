"""Clips annotated with poses of another program, by the command line and without Prefect."""

from __future__ import annotations

import json
import shlex
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import main as cli
from flows.runs.origin import mark_extracted, require_model_poses
from tasks.annotations.format import read_annotation
from tasks.clips.failures import current_failures
from tasks.core.errors import FightposeError
from tasks.core.records import Poses
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


def test_poses_of_stored_pixels_fit_clips_whose_pixels_are_not_square(tmp_path: Path) -> None:
    """Other programs decode stored pixels; what is tracked has the display's, and the annotation is to the pixel."""
    root, poses, out = tmp_path / "set", tmp_path / "poses", tmp_path / "out"
    for folder in (root, poses):
        folder.mkdir()
    write_video(root / "a.mp4", plain_frames(FRAMES, width=128, height=96), aspect=Fraction(1, 2))
    (poses / "a.json").write_text(json.dumps(mmpose((1,))))
    result = CliRunner().invoke(cli.app, ["import-poses", str(poses), str(root), "--output-root", str(out)])
    assert result.exit_code == 0, result.output
    (annotation,) = read_annotation(out / "set/a_enhanced_stgcn_annotation.pkl")["annotations"]
    assert (annotation["img_shape"], annotation["sample_aspect_ratio"]) == ((96, 128), 0.5)
    wanted = np.array(mmpose((1,))[5]["instances"][0]["keypoints"], np.float32)
    np.testing.assert_allclose(annotation["keypoint"][0, 5], wanted, atol=1e-3)
    (stored,) = (out / ".fightpose/poses").rglob("*.npz")
    tracked = Poses.load(stored)
    assert (tracked.width, tracked.height) == (128, 192)
    np.testing.assert_allclose(tracked.keypoints[5], wanted * [1, 2], atol=1e-3)
    assert tracked.fingerprint is not None


def test_the_model_is_not_run_over_imported_poses(tmp_path: Path) -> None:
    """Failed clips, and those that a check finds wrong, are imported again: one line says how."""
    root, poses, out = tmp_path / "a set", tmp_path / "poses", tmp_path / "out"
    for name in ("a", "b"):
        (root / "Fight").mkdir(parents=True, exist_ok=True)
        write_video(root / f"Fight/{name}.mp4", plain_frames(FRAMES, width=128, height=96))
    poses.mkdir()
    (poses / "a.json").write_text(json.dumps(mmpose((1,))))
    # Nobody can be in a frame twice: a file that numbers detections is refused, and the clip is a recorded failure.
    (poses / "b.json").write_text(json.dumps(mmpose((1, 1))))
    arguments = ["import-poses", str(poses), str(root), "--output-root", str(out)]
    result = CliRunner().invoke(cli.app, arguments)
    assert "track ID 1 is twice in frame 0" in result.output
    again = shlex.join(["fightpose", *arguments])
    with pytest.raises(FightposeError) as failure:
        CliRunner().invoke(cli.app, ["retry-failed", str(out)], catch_exceptions=False)
    assert again in str(failure.value)
    (out / "a set/Fight/a_enhanced_stgcn_annotation.pkl").unlink()
    with pytest.raises(FightposeError) as failure:
        CliRunner().invoke(cli.app, ["verify", str(out), "--fix"], catch_exceptions=False)
    assert again in str(failure.value)
    # A run over all clips makes the folder the model's own.
    mark_extracted(out)
    require_model_poses(out)
